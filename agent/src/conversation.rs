//! One connection as the reporter keeps it up: what is said when, and when there is no point in going on.
//!
//! It does no I/O and reads no clock: the reporter's thread drives it in a service, and a simulation in tests.

use std::time::Duration;

use standoff_protocol::stream::{FromCollector, FromInstance, Hello, from_collector};

use crate::session::{Sent, Session};
use crate::table::OpenTable;

/// How long the collector may take to accept the stream, and then to say welcome: it may have thousands of instances to
/// welcome at once.
pub(crate) const WELCOME_WITHIN: Duration = Duration::from_secs(5);

/// Messages that wait for the connection: 8,192 spans for each flush, and 20 MB if every text is at its limit. What is
/// due beyond that stays in the open table.
pub(crate) const OUTGOING_MAX: usize = 16;

/// What the reporter does about a connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    session: Session,
    lease: Duration,
    welcomed: bool,
    welcome_by: Duration,
    /// When the connection last had room.
    progress: Duration,
}

/// The queue in front of a connection.
pub(crate) trait Outgoing {
    /// Whether it takes a message now.
    fn room(&self) -> Room;
    /// Takes a message; there is [`Room::Yes`].
    fn send(&mut self, message: FromInstance);
}

/// Whether a queue takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Yes,
    /// Not now.
    Full,
    /// Never again: the connection has ended.
    Closed,
}

/// There is no point in going on with this connection: it is closed, or has had no room for as long as the lease, or
/// nobody has said welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// What a message of the collector has led to, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The first welcome on this connection.
    Welcome,
    /// There was no room for the answer to a probe.
    ProbeDropped,
    /// Anything else.
    Other,
}

impl Conversation {
    /// Begins with a hello. `heartbeat` is how often the instance wants to be heard of.
    pub(crate) fn new(hello: Hello, heartbeat: Duration, lease: Duration, now: Duration) -> Self {
        Conversation {
            // Three times in a lease at least: one late heartbeat is no reason to be taken for silent.
            session: Session::new(hello, heartbeat.min(lease / 3), now),
            lease,
            welcomed: false,
            welcome_by: now.saturating_add(WELCOME_WITHIN),
            progress: now,
        }
    }

    /// What has been handed out so far.
    pub(crate) fn sent(&self) -> Sent {
        self.session.sent
    }

    /// The first message. The collector may wait for it before it accepts the stream at all.
    pub(crate) fn hello(&mut self, table: &OpenTable, now: Duration) -> Option<FromInstance> {
        self.next(table, now)
    }

    /// The collector has accepted the stream.
    pub(crate) fn accepted(&mut self, now: Duration) {
        self.welcome_by = now.saturating_add(WELCOME_WITHIN);
        self.progress = now;
    }

    /// Time for a flush.
    pub(crate) fn tick(&mut self, now: Duration) -> Result<(), Lost> {
        self.session.tick();
        if !self.welcomed && now >= self.welcome_by {
            return Err(Lost);
        }
        Ok(())
    }

    /// The collector says something.
    pub(crate) fn hear(&mut self, message: FromCollector, table: &OpenTable, now: Duration) -> Heard {
        match message.message {
            Some(from_collector::Message::Welcome(welcome)) => {
                self.session.welcome(&welcome);
                if !std::mem::replace(&mut self.welcomed, true) {
                    return Heard::Welcome;
                }
            }
            Some(from_collector::Message::ResyncRequest(_)) => self.session.resync(),
            Some(from_collector::Message::Probe(probe)) => {
                let is_kept = self.session.probe(&probe, table, now);
                return if is_kept { Heard::Other } else { Heard::ProbeDropped };
            }
            // A later version may say what this one does not understand.
            None => {}
        }
        Heard::Other
    }

    /// When a flush has something to do even if nothing has happened: a heartbeat, or to give up.
    #[cfg(feature = "sans-io")]
    pub(crate) fn wake_at(&self) -> Duration {
        let heartbeat = self.session.heartbeat_at();
        if self.welcomed {
            heartbeat
        } else {
            heartbeat.min(self.welcome_by)
        }
    }

    /// The instance ends.
    pub(crate) fn leave(&mut self) {
        self.session.leave();
    }

    /// Whether the instance ends.
    pub(crate) fn is_leaving(&self) -> bool {
        self.session.is_leaving()
    }

    /// Whether goodbye has been said. Nothing comes after it.
    pub(crate) fn has_left(&self) -> bool {
        self.session.has_left()
    }

    /// Moves all messages that there are to the connection, as long as it has room.
    pub(crate) fn pump(
        &mut self,
        table: &OpenTable,
        now: impl Fn() -> Duration,
        outgoing: &mut impl Outgoing,
    ) -> Result<(), Lost> {
        loop {
            match outgoing.room() {
                Room::Yes => {
                    self.progress = now();
                    match self.next(table, now()) {
                        Some(message) => outgoing.send(message),
                        None => return Ok(()),
                    }
                }
                // Without news for a lease, the collector has given us up too.
                Room::Full if now().saturating_sub(self.progress) < self.lease => return Ok(()),
                Room::Full | Room::Closed => return Err(Lost),
            }
        }
    }

    fn next(&mut self, table: &OpenTable, now: Duration) -> Option<FromInstance> {
        let message = self.session.next(table, now);
        message.map(|message| FromInstance { message: Some(message) })
    }
}

#[cfg(test)]
mod tests {
    use standoff_protocol::stream::{Welcome, from_instance};

    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    /// A queue with so much room left.
    struct Queue(Vec<FromInstance>, usize);

    impl Outgoing for Queue {
        fn room(&self) -> Room {
            if self.1 == 0 { Room::Full } else { Room::Yes }
        }

        fn send(&mut self, message: FromInstance) {
            self.1 -= 1;
            self.0.push(message);
        }
    }

    fn conversation() -> (Conversation, OpenTable) {
        let table = OpenTable::new(Duration::ZERO);
        let mut conversation = Conversation::new(Hello::default(), Duration::from_secs(1), LEASE, Duration::ZERO);
        let hello = conversation.hello(&table, Duration::ZERO).and_then(|it| it.message);
        assert!(matches!(hello, Some(from_instance::Message::Hello(_))));
        (conversation, table)
    }

    fn welcome() -> FromCollector {
        FromCollector {
            message: Some(from_collector::Message::Welcome(Welcome::default())),
        }
    }

    #[test]
    fn a_collector_that_does_not_say_welcome_is_left() {
        let (mut conversation, table) = conversation();
        let accepted = Duration::from_secs(2);
        conversation.accepted(accepted);
        let last_moment = accepted + WELCOME_WITHIN - Duration::from_nanos(1);
        assert_eq!(conversation.tick(last_moment), Ok(()));
        assert_eq!(conversation.tick(accepted + WELCOME_WITHIN), Err(Lost));
        assert_eq!(conversation.hear(welcome(), &table, accepted), Heard::Welcome);
        assert_eq!(conversation.tick(accepted + WELCOME_WITHIN), Ok(()));
        assert_eq!(conversation.hear(welcome(), &table, accepted), Heard::Other, "once");
    }

    #[test]
    fn a_connection_without_room_is_left_after_a_lease() {
        let (mut conversation, table) = conversation();
        conversation.accepted(Duration::ZERO);
        let mut queue = Queue(Vec::new(), 2);
        let second = Duration::from_secs(1);
        assert_eq!(conversation.pump(&table, || second, &mut queue), Ok(()));
        assert_eq!(queue.0.len(), 2, "the open set, and a heartbeat");
        let last_moment = second + LEASE - Duration::from_nanos(1);
        assert_eq!(conversation.pump(&table, || last_moment, &mut queue), Ok(()));
        assert_eq!(conversation.pump(&table, || second + LEASE, &mut queue), Err(Lost));
        queue.1 = 1;
        assert_eq!(conversation.pump(&table, || second + LEASE, &mut queue), Ok(()));
    }
}
