//! What one upstream is told of one instance.
//!
//! Nothing is made before it can be sent. What is to be told waits as ids; a span that starts and ends meanwhile is never
//! sent. A start is sent only once every end that is known has been sent, so that what the upstream sees has been so, and
//! an answer only once everything has been sent that the instance said before it. Of an instance that cannot be asked, that
//! holds for spans of which only the end is known, too.

use std::collections::VecDeque;
use std::time::Duration;

use standoff_protocol::stream::from_instance::Message;
use standoff_protocol::stream::{
    Batch, ChannelClosed, Finished, FromInstance, Goodbye, Hello, OpenSet, ProbeAnswer, SPANS_PER_MESSAGE_MAX,
    from_relay,
};

use super::endings::Endings;
use super::instances::{Instance, InstanceNo};
use super::mirror::{Filling, Mirror, Upstreams};

/// The most ends that wait for one upstream, at 16 bytes. Past that the open set is sent instead, which says the same.
const FINISHED_MAX: usize = 1 << 16;

/// How long a queue of starts may be whatever is open. Beyond it, and beyond twice of what is open, the starts of what has
/// ended are taken out. An empty queue that was longer gives its memory back.
const DUE_MIN: usize = 1024;

/// The most probes of one channel that the instance has not answered, and the most answers that wait to be sent. A
/// collector has one in flight for each instance; the rest is slack for those that it has given up on.
pub(super) const PROBES_PER_CHANNEL_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) instance: InstanceNo,
    /// `None` once said.
    hello: Option<Box<Hello>>,
    stage: Stage,
    due: VecDeque<Due>,
    /// Whether the upstream is to be told again what has ended of an instance that cannot be asked.
    repeats_endings: bool,
    /// Ends of spans that the upstream has been told of.
    finished: VecDeque<Finished>,
    /// The number of the last batch.
    sequence: u64,
    answers: usize,
    /// Probes that the instance is to answer: the relay's number, and the upstream's.
    probes: VecDeque<(u64, u64)>,
    heartbeat_due: bool,
    /// Whether the instance was heard of since the upstream was told anything of it.
    heard: bool,
    said_at: Duration,
    end: Option<End>,
    /// Whether the channel is among those that have something to say.
    pub(super) is_ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The upstream knows nothing, or too little.
    Unknown,
    /// It is being told what is open.
    Set {
        /// The next span to tell, in the order of their ids. `None` if all that was open when the set began was told.
        next: Option<u64>,
    },
    Mirrored,
}

/// What is to be told, in the order in which it happened.
#[derive(Debug)]
enum Due {
    Start(u64),
    /// The endings before this number.
    Endings(u64),
    /// All that the instance has open has been named.
    Complete,
    Answer(Box<ProbeAnswer>),
}

/// How a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Goodbye,
    Died,
    /// The instance may come back.
    Closed,
}

/// What a channel has to say next.
#[derive(Debug)]
pub(super) enum Said {
    Message(from_relay::Message),
    /// The same, and there will be nothing more.
    Last(from_relay::Message),
    Nothing,
}

/// Whether there was room for an end that is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Yes,
    /// There was none; the open set will be sent instead.
    Overflow,
}

impl Channel {
    pub(super) fn new(instance: InstanceNo, hello: Hello, now: Duration) -> Self {
        Self {
            instance,
            hello: Some(Box::new(hello)),
            stage: Stage::Unknown,
            due: VecDeque::new(),
            repeats_endings: true,
            finished: VecDeque::new(),
            sequence: 0,
            answers: 0,
            probes: VecDeque::new(),
            heartbeat_due: false,
            heard: false,
            said_at: now,
            end: None,
            is_ready: false,
        }
    }

    /// A span has started.
    pub(super) fn start(&mut self, span_id: u64, mirror: &mut Mirror, upstream: Upstreams) {
        if self.stage == Stage::Unknown || !mirror.queue(span_id, upstream) {
            return;
        }
        if self.due.len() >= DUE_MIN + 2 * mirror.len() {
            self.compact(mirror, upstream);
        }
        self.due.push_back(Due::Start(span_id));
    }

    /// Takes out the starts of what has ended. The marks in the mirror see to it that none is kept twice.
    fn compact(&mut self, mirror: &mut Mirror, upstream: Upstreams) {
        for due in std::mem::take(&mut self.due) {
            match due {
                Due::Start(id) if !mirror.unqueue(id, upstream) => {}
                Due::Endings(end) => self.endings(end),
                Due::Start(_) | Due::Complete | Due::Answer(_) => self.due.push_back(due),
            }
        }
        for due in &self.due {
            if let Due::Start(id) = due {
                mirror.queue(*id, upstream);
            }
        }
    }

    /// A span has ended that the upstream was told of.
    pub(super) fn finish(&mut self, finished: Finished) -> Noted {
        if self.stage == Stage::Unknown {
            return Noted::Yes;
        }
        if self.finished.len() >= FINISHED_MAX {
            self.resync();
            return Noted::Overflow;
        }
        self.finished.push_back(finished);
        Noted::Yes
    }

    /// Spans have ended of an instance that cannot be asked; those before this number come before what starts from now on.
    pub(super) fn endings(&mut self, end: u64) {
        match self.due.back_mut() {
            _ if self.stage == Stage::Unknown => {}
            Some(Due::Endings(before)) => *before = end,
            Some(Due::Start(_) | Due::Complete | Due::Answer(_)) | None => self.due.push_back(Due::Endings(end)),
        }
    }

    /// All that the instance has open has been heard of.
    pub(super) fn complete(&mut self) {
        let is_there = self.due.iter().any(|due| matches!(due, Due::Complete));
        if matches!(self.stage, Stage::Set { .. }) && !is_there {
            self.due.push_back(Due::Complete);
        }
    }

    /// The upstream has lost track.
    pub(super) fn resync(&mut self) {
        self.stage = Stage::Unknown;
        self.finished = VecDeque::new();
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().filter(|due| matches!(due, Due::Answer(_))).collect();
    }

    /// The upstream says that it has lost track: of what has ended as well.
    pub(super) fn repeat(&mut self) {
        self.resync();
        self.repeats_endings = true;
    }

    /// The instance was heard of.
    pub(super) fn hear(&mut self) {
        self.heard = true;
    }

    /// The instance has sent a heartbeat.
    pub(super) fn beat(&mut self) {
        self.heartbeat_due = true;
    }

    /// Time passes: an instance that says much, but sends no heartbeats, is alive too. Returns whether there is one to send.
    pub(super) fn keep_alive(&mut self, now: Duration, every: Duration) -> bool {
        if self.heard && now >= self.said_at + every {
            self.heartbeat_due = true;
        }
        self.heartbeat_due
    }

    /// The upstream asks. Returns whether there is room for the question.
    pub(super) fn probe(&mut self, number: u64, theirs: u64) -> bool {
        if self.answers >= PROBES_PER_CHANNEL_MAX {
            return false;
        }
        if self.probes.len() >= PROBES_PER_CHANNEL_MAX {
            // Who asks anew has given up on the oldest.
            self.probes.pop_front();
        }
        self.probes.push_back((number, theirs));
        true
    }

    /// The instance will not answer what it has been asked.
    pub(super) fn forget_probes(&mut self) {
        self.probes.clear();
    }

    /// The probe with this number of the relay will not be answered. Returns whether it was one of this channel.
    pub(super) fn forget_probe(&mut self, number: u64) -> bool {
        let before = self.probes.len();
        self.probes.retain(|(ours, _)| *ours != number);
        self.probes.len() < before
    }

    #[cfg(test)]
    pub(super) fn due_len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn probes_in_flight(&self) -> usize {
        self.probes.len()
    }

    /// The instance answers the probe with this number of the relay, if it was one of this channel.
    pub(super) fn answer(&mut self, answer: &ProbeAnswer) -> bool {
        let Some(index) = self.probes.iter().position(|(number, _)| *number == answer.probe_id) else {
            return false;
        };
        if let Some((_, theirs)) = self.probes.remove(index) {
            let answer = ProbeAnswer {
                probe_id: theirs,
                ..answer.clone()
            };
            self.due.push_back(Due::Answer(Box::new(answer)));
            self.answers += 1;
        }
        true
    }

    /// Nothing more is to be said than what waits already.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What to say next. The instance is `None` if it is no more.
    pub(super) fn next(&mut self, instance: Option<&mut Instance>, upstream: Upstreams, now: Duration) -> Said {
        if let Some(hello) = self.hello.take() {
            return self.say(now, Message::Hello(*hello));
        }
        let Some(instance) = instance else {
            return self.last(now);
        };
        if self.end.is_some() && self.stage != Stage::Mirrored {
            return self.last(now);
        }
        // Of who cannot be asked, a sign of life says that there was nothing else to say.
        let beats_last = instance.hello.cannot_be_asked;
        if !beats_last && self.takes_heartbeat(instance, now) {
            return self.say(now, Message::Heartbeat(instance.heartbeat(upstream)));
        }
        if self.stage == Stage::Unknown {
            instance.mirror.forget_told(upstream);
            if std::mem::take(&mut self.repeats_endings) {
                instance.endings.forget_told(upstream);
            }
            if instance.is_whole() {
                self.due.push_front(Due::Complete);
            }
            self.sequence = 0;
            self.stage = Stage::Set { next: Some(0) };
        }
        let message = match self.stage {
            Stage::Unknown => None,
            Stage::Set { next } => self.part(next, instance, upstream, now),
            Stage::Mirrored => self.batch(&mut instance.mirror, &mut instance.endings, upstream, now),
        };
        match message {
            Some(message) => self.say(now, message),
            None if self.end.is_some() => self.last(now),
            None if beats_last && self.takes_heartbeat(instance, now) => {
                self.say(now, Message::Heartbeat(instance.heartbeat(upstream)))
            }
            None => Said::Nothing,
        }
    }

    /// Whether there is a sign of life to give, which is then given.
    fn takes_heartbeat(&mut self, instance: &Instance, now: Duration) -> bool {
        std::mem::take(&mut self.heartbeat_due) && instance.is_present(now)
    }

    /// The next part of the open set, unless everything known has been told.
    fn part(
        &mut self,
        next: Option<u64>,
        instance: &mut Instance,
        upstream: Upstreams,
        now: Duration,
    ) -> Option<Message> {
        let mirror = &mut instance.mirror;
        let mut filling = Filling::default();
        let next = next.and_then(|from| mirror.sweep(from, upstream, now, &mut filling));
        self.stage = Stage::Set { next };
        let mut complete = false;
        while next.is_none() && !complete && !filling.is_full() {
            match self.due.front() {
                Some(Due::Start(id)) => mirror.tell(*id, upstream, now, &mut filling),
                Some(Due::Complete) => complete = true,
                // They follow the set.
                Some(Due::Endings(_)) => {}
                Some(Due::Answer(_)) if filling.spans.is_empty() => return self.take_answer(),
                Some(Due::Answer(_)) | None => break,
            }
            self.due.pop_front();
        }
        if complete {
            self.stage = Stage::Mirrored;
            if instance.endings.waiting(upstream) > 0 {
                self.due.push_front(Due::Endings(instance.endings.end()));
            }
        }
        (complete || !filling.spans.is_empty()).then_some(Message::OpenSet(OpenSet {
            spans: filling.spans,
            complete,
        }))
    }

    /// The next batch, or an answer whose turn it is.
    fn batch(
        &mut self,
        mirror: &mut Mirror,
        endings: &mut Endings,
        upstream: Upstreams,
        now: Duration,
    ) -> Option<Message> {
        let finished = self.take_finished();
        let mut filling = Filling::beside(finished.len());
        while self.finished.is_empty() && !filling.is_full() {
            match self.due.front() {
                Some(Due::Start(id)) => mirror.tell(*id, upstream, now, &mut filling),
                Some(Due::Endings(end)) if !endings.tell(*end, upstream, &mut filling) => break,
                Some(Due::Endings(_) | Due::Complete) => {}
                Some(Due::Answer(_)) if filling.is_empty() => return self.take_answer(),
                Some(Due::Answer(_)) | None => break,
            }
            self.due.pop_front();
        }
        if self.due.is_empty() && self.due.capacity() > DUE_MIN {
            self.due = VecDeque::new();
        }
        if filling.is_empty() {
            return None;
        }
        self.sequence += 1;
        Some(Message::Batch(Batch {
            sequence: self.sequence,
            started: filling.spans,
            finished,
            ended: filling.ended,
        }))
    }

    fn take_finished(&mut self) -> Vec<Finished> {
        let count = self.finished.len().min(SPANS_PER_MESSAGE_MAX);
        let finished = self.finished.drain(..count).collect();
        if self.finished.is_empty() && self.finished.capacity() > DUE_MIN {
            self.finished = VecDeque::new();
        }
        finished
    }

    fn take_answer(&mut self) -> Option<Message> {
        let Some(Due::Answer(answer)) = self.due.pop_front() else {
            return None;
        };
        self.answers -= 1;
        Some(Message::ProbeAnswer(*answer))
    }

    /// The end, and before it how the spans of the instance have ended.
    fn last(&mut self, now: Duration) -> Said {
        if self.stage == Stage::Mirrored && !self.finished.is_empty() {
            self.sequence += 1;
            let batch = Batch {
                sequence: self.sequence,
                started: Vec::new(),
                finished: self.take_finished(),
                ended: Vec::new(),
            };
            return self.say(now, Message::Batch(batch));
        }
        let closed = |process_died| from_relay::Message::Closed(ChannelClosed { process_died });
        Said::Last(match self.end {
            Some(End::Goodbye) => from_relay::Message::Instance(FromInstance {
                message: Some(Message::Goodbye(Goodbye {})),
            }),
            Some(End::Died) => closed(true),
            Some(End::Closed) | None => closed(false),
        })
    }

    fn say(&mut self, now: Duration, message: Message) -> Said {
        self.said_at = now;
        self.heard = false;
        Said::Message(from_relay::Message::Instance(FromInstance { message: Some(message) }))
    }
}
