//! The collectors that are told everything: each on a stream of its own, with a channel for each instance.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use standoff_protocol::stream::{FromRelay, Hello, Loss, PROTOCOL_VERSION, RelayHeartbeat, RelayHello, from_relay};

use super::channel::{Channel, End, Said};
use super::instances::{InstanceNo, Instances};
use super::mirror::Upstreams;
use crate::backoff::Backoff;

/// Instances that are no more, of which a slow upstream is still to be told. Past that its connection is made anew. Above
/// what a new connection may begin with: those that have departed, and all others should they end at once.
const ENDING_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Upstream {
    only: Upstreams,
    pub(super) link: Option<Link>,
    /// Channels that the upstream has refused, and when to begin others.
    refused: BTreeMap<InstanceNo, Refused>,
    pub(super) counts: Counts,
}

/// What an upstream was told and asked since the relay started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections.
    pub sessions: u64,
    /// Starts sent, those in open sets included.
    pub started: u64,
    /// Ends sent.
    pub finished: u64,
    /// Ended spans of instances that cannot be asked, sent.
    pub ended: u64,
    /// Such that there was no room for until they could be sent.
    pub ended_dropped: u64,
    /// Open sets sent because the upstream asked for them.
    pub resyncs: u64,
    /// Open sets sent because too many ends were waiting.
    pub overflows: u64,
    /// Connections ended because the upstream took nothing.
    pub stuck: u64,
    /// Channels that the upstream has refused.
    pub refused: u64,
    /// Probes passed on.
    pub probes: u64,
    /// Probes that could not be passed on, or not be answered. The collector asks again.
    pub probes_dropped: u64,
}

/// What the relay says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    pub(super) instances_refused: u64,
    pub(super) losses: &'a [Loss],
}

#[derive(Debug)]
struct Refused {
    backoff: Backoff,
    retry_at: Duration,
}

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    channels: BTreeMap<u64, Channel>,
    by_instance: BTreeMap<InstanceNo, u64>,
    /// Channels that have something to say, each at most once, in the order in which they take turns.
    ready: VecDeque<u64>,
    last_channel: u64,
    has_introduced: bool,
    pub(super) is_welcome: bool,
    /// How often the upstream wants to hear of everybody.
    pub(super) heartbeat: Option<Duration>,
    heartbeat_due: bool,
    beat_at: Duration,
    pub(super) connected_at: Duration,
    /// When the upstream last had room.
    progress_at: Duration,
    ending: usize,
}

impl Upstream {
    pub(super) fn new(number: usize) -> Self {
        Self {
            only: Upstreams::only(number),
            link: None,
            refused: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn only(&self) -> Upstreams {
        self.only
    }

    pub(super) fn connect(&mut self, now: Duration) {
        self.counts.sessions += 1;
        self.refused.clear();
        self.link = Some(Link {
            channels: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            ready: VecDeque::new(),
            last_channel: 0,
            has_introduced: false,
            is_welcome: false,
            heartbeat: None,
            heartbeat_due: false,
            beat_at: now,
            connected_at: now,
            progress_at: now,
            ending: 0,
        });
    }

    /// Begins a channel for an instance, unless it has one or was refused just now.
    pub(super) fn begin(&mut self, now: Duration, no: InstanceNo, hello: &Hello) {
        let Some(link) = &mut self.link else { return };
        if link.by_instance.contains_key(&no) || self.refused.get(&no).is_some_and(|it| now < it.retry_at) {
            return;
        }
        link.begin(now, no, hello);
    }

    /// The channel of an instance.
    pub(super) fn channel(&mut self, no: InstanceNo) -> Option<&mut Channel> {
        let link = self.link.as_mut()?;
        link.channels.get_mut(link.by_instance.get(&no)?)
    }

    /// The channel of an instance has something to say.
    pub(super) fn wake(&mut self, no: InstanceNo) {
        if let Some(link) = &mut self.link
            && let Some(channel) = link.by_instance.get(&no).copied()
        {
            link.wake(channel);
        }
    }

    /// The instance is no more. Returns whether the upstream keeps up.
    pub(super) fn end(&mut self, no: InstanceNo, end: End) -> bool {
        self.refused.remove(&no);
        let Some(link) = &mut self.link else { return true };
        link.end(no, end);
        link.ending <= ENDING_MAX
    }

    /// The upstream has refused a channel.
    pub(super) fn refuse(&mut self, now: Duration, number: u64) -> Option<InstanceNo> {
        self.counts.refused += 1;
        let channel = self.link.as_mut()?.remove(number)?;
        if channel.has_ended() {
            return None;
        }
        let refused = self.refused.entry(channel.instance).or_insert_with(|| Refused {
            backoff: Backoff::default(),
            retry_at: now,
        });
        // The relay alone begins channels of this instance, so nothing is gained by chance here.
        refused.retry_at = now + refused.backoff.next(0.0);
        Some(channel.instance)
    }

    /// What to say next, if anything.
    pub(super) fn next(&mut self, now: Duration, own: Own<'_>, instances: &mut Instances) -> Option<FromRelay> {
        let only = self.only;
        let link = self.link.as_mut()?;
        link.progress_at = now;
        if !link.has_introduced {
            link.has_introduced = true;
            let hello = RelayHello {
                protocol_version: PROTOCOL_VERSION,
                name: own.name.to_owned(),
            };
            return Some(of_relay(from_relay::Message::Hello(hello)));
        }
        if std::mem::take(&mut link.heartbeat_due) {
            link.beat_at = now;
            let heartbeat = RelayHeartbeat {
                instances_refused: own.instances_refused,
                losses: own.losses.to_vec(),
            };
            return Some(of_relay(from_relay::Message::Heartbeat(heartbeat)));
        }
        let (number, message) = link.next(now, only, instances)?;
        self.counts.add(&message);
        Some(FromRelay {
            channel: number,
            message: Some(message),
        })
    }
}

fn of_relay(message: from_relay::Message) -> FromRelay {
    FromRelay {
        channel: 0,
        message: Some(message),
    }
}

impl Counts {
    fn add(&mut self, message: &from_relay::Message) {
        use standoff_protocol::stream::from_instance::Message;
        let from_relay::Message::Instance(said) = message else {
            return;
        };
        match &said.message {
            Some(Message::OpenSet(set)) => self.started += set.spans.len() as u64,
            Some(Message::Batch(batch)) => {
                self.started += batch.started.len() as u64;
                self.finished += batch.finished.len() as u64;
                self.ended += batch.ended.len() as u64;
            }
            Some(Message::Hello(_) | Message::Heartbeat(_) | Message::ProbeAnswer(_) | Message::Goodbye(_)) | None => {}
        }
    }
}

impl Link {
    fn begin(&mut self, now: Duration, no: InstanceNo, hello: &Hello) {
        self.last_channel += 1;
        let number = self.last_channel;
        self.channels.insert(number, Channel::new(no, hello.clone(), now));
        self.by_instance.insert(no, number);
        self.wake(number);
    }

    /// An instance that has ended before: it is introduced, and at once takes leave.
    pub(super) fn tell_departed(&mut self, now: Duration, no: InstanceNo, hello: &Hello, end: End) {
        self.begin(now, no, hello);
        self.end(no, end);
    }

    fn end(&mut self, no: InstanceNo, end: End) {
        let Some(number) = self.by_instance.remove(&no) else {
            return;
        };
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.end(end);
            self.ending += 1;
            self.wake(number);
        }
    }

    /// The relay ends: what is known is said, and that nobody listens to the instances any more.
    pub(super) fn leave(&mut self) {
        for number in std::mem::take(&mut self.by_instance).into_values() {
            if let Some(channel) = self.channels.get_mut(&number) {
                channel.end(End::Closed);
                self.ending += 1;
                self.wake(number);
            }
        }
    }

    pub(super) fn has_left(&self) -> bool {
        self.channels.is_empty()
    }

    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    pub(super) fn probes_in_flight(&self) -> usize {
        self.channels.values().map(Channel::probes_in_flight).sum()
    }

    pub(super) fn by_number(&mut self, number: u64) -> Option<&mut Channel> {
        self.channels.get_mut(&number)
    }

    pub(super) fn wake(&mut self, number: u64) {
        if let Some(channel) = self.channels.get_mut(&number)
            && !channel.is_ready
        {
            channel.is_ready = true;
            self.ready.push_back(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Channel> {
        let channel = self.channels.remove(&number)?;
        if channel.has_ended() {
            self.ending = self.ending.saturating_sub(1);
        }
        if self.by_instance.get(&channel.instance) == Some(&number) {
            self.by_instance.remove(&channel.instance);
        }
        Some(channel)
    }

    fn next(
        &mut self,
        now: Duration,
        only: Upstreams,
        instances: &mut Instances,
    ) -> Option<(u64, from_relay::Message)> {
        while let Some(number) = self.ready.pop_front() {
            let Some(channel) = self.channels.get_mut(&number) else {
                continue;
            };
            match channel.next(instances.get_mut(channel.instance), only, now) {
                Said::Message(message) => {
                    self.ready.push_back(number);
                    return Some((number, message));
                }
                Said::Last(message) => {
                    self.remove(number);
                    return Some((number, message));
                }
                Said::Nothing => channel.is_ready = false,
            }
        }
        None
    }

    /// Time passes.
    pub(super) fn keep_alive(&mut self, now: Duration, every: Duration) {
        let every = self.heartbeat.map_or(every, |wanted| wanted.min(every));
        if now >= self.beat_at + every {
            self.heartbeat_due = true;
        }
        let mut due = Vec::new();
        for (number, channel) in &mut self.channels {
            if channel.keep_alive(now, every) {
                due.push(*number);
            }
        }
        for number in due {
            self.wake(number);
        }
    }

    /// Whether there is something to say, and the upstream has had no room for so long.
    pub(super) fn is_stuck(&self, now: Duration, after: Duration) -> bool {
        (self.heartbeat_due || !self.ready.is_empty()) && now >= self.progress_at + after
    }

    pub(super) fn excuse(&mut self, gap: Duration) {
        self.progress_at += gap;
        self.connected_at += gap;
    }
}
