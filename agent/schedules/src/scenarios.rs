//! What threads of a service, the reporter and the collector may do at the same time, and what must come of it.

use std::time::Duration;

use opentelemetry::StringValue;
use opentelemetry::trace::TraceId;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use shuttle::thread;
use standoff_protocol::stream::{AcceptanceQuestion, AcceptanceState, Hello, Probe, Role};

use crate::Outcome;
use crate::mirror::Mirror;
use crate::record::{Facts, Record};
use crate::session::Session;
use crate::table::OpenTable;

/// An instance whose clock advances by one with each look at it.
struct Instance {
    table: OpenTable,
    clock: AtomicU64,
}

impl Instance {
    fn new(report_after: Duration) -> Arc<Self> {
        Arc::new(Instance {
            table: OpenTable::new(report_after),
            clock: AtomicU64::new(1_000_000_000_000),
        })
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.fetch_add(1, SeqCst))
    }

    fn start(&self, role: Role, span_id: u64, parent: u64) {
        self.start_with(role, span_id, |record| record.parent_span_id = parent);
    }

    fn start_with(&self, role: Role, span_id: u64, with: impl FnOnce(&mut Record)) {
        let mut record = Record {
            span_id,
            trace_id: TraceId::INVALID,
            parent_span_id: 0,
            parent_is_remote: false,
            facts: Facts::new(role, StringValue::from("span")),
        };
        with(&mut record);
        self.table.start(record, self.now());
    }

    /// A handler of a call in another process.
    fn serve(&self, span_id: u64, call: u64) {
        self.start_with(Role::Handle, span_id, |record| {
            (record.parent_span_id, record.parent_is_remote) = (call, true);
        });
    }

    fn end(&self, span_id: u64) {
        self.table.end_by(span_id, Outcome::Finished, || self.now());
    }
}

/// The reporter, with a collector that mirrors what it says.
struct Reporter {
    instance: Arc<Instance>,
    session: Session,
    mirror: Mirror,
}

impl Reporter {
    fn new(instance: &Arc<Instance>) -> Self {
        Reporter {
            instance: Arc::clone(instance),
            session: Session::new(Hello::default(), Duration::from_secs(1), instance.now()),
            mirror: Mirror::default(),
        }
    }

    /// Sends so many messages, or all there are.
    fn send(&mut self, messages: usize) {
        for _ in 0..messages {
            match self.session.next(&self.instance.table, self.instance.now()) {
                Some(message) => self.mirror.apply(message),
                None => return,
            }
        }
    }

    fn flush(&mut self) {
        self.session.tick();
        self.send(usize::MAX);
    }

    /// The connection breaks, and there is another one.
    fn reconnect(&mut self) {
        self.instance.table.end_session();
        *self = Reporter::new(&self.instance);
    }

    /// Something that a reporter may do at any moment.
    fn act(&mut self) {
        match thread_rng().gen_range(0..8) {
            0 => self.session.resync(),
            1 => self.reconnect(),
            2 | 3 => self.send(1),
            _ => self.flush(),
        }
    }

    fn ask(&mut self, still_open: &[u64], call: u64) {
        let probe = Probe {
            probe_id: 1,
            still_open: still_open.to_vec(),
            accepted: vec![AcceptanceQuestion {
                call_span_id: call,
                span_ids: vec![call],
                conversation_id: String::new(),
                age_ns: 1,
            }],
        };
        let now = self.instance.now();
        assert!(self.session.probe(&probe, &self.instance.table, now));
    }

    /// Goes on until the question is answered. Returns what is not open, and the state of the call.
    fn answer(&mut self) -> (Vec<u64>, AcceptanceState) {
        while self.mirror.answers.is_empty() {
            self.session.tick();
            self.send(1);
        }
        let answer = &self.mirror.answers[0];
        (answer.not_open.clone(), answer.acceptances[0].state())
    }

    /// What is open has come to the collector, and nothing else is there.
    fn settle(&mut self, open: &[u64]) {
        self.flush();
        self.flush();
        assert_eq!(self.mirror.open_ids(), open);
        assert_eq!(self.instance.table.open_count(), open.len() as u64);
        assert_eq!(self.instance.table.dropped(), Default::default());
    }
}

/// Spans start and end on two threads, within one another and across, while the reporter takes, begins anew, and takes
/// again: in the end the mirror holds what is open, whatever the order was.
pub fn the_mirror_comes_to_equal_what_is_open() {
    let instance = Instance::new(Duration::ZERO);
    let mut reporter = Reporter::new(&instance);
    let works: Vec<_> = [100, 200]
        .into_iter()
        .map(|base| {
            let instance = Arc::clone(&instance);
            thread::spawn(move || {
                instance.start(Role::Handle, base, 0);
                instance.start(Role::Call, base + 1, base);
                // Beneath the call: a structural span, by which a handler elsewhere may name it.
                instance.start(Role::Structural, base + 2, base + 1);
                instance.start(Role::Call, base + 3, base + 2);
                instance.end(base + 3);
                instance.end(base + 2);
                instance.end(base + 1);
                instance.start(Role::Member, base + 4, 0);
                instance.end(base);
            })
        })
        .collect();
    for _ in 0..3 {
        reporter.act();
    }
    works.into_iter().for_each(|work| work.join().unwrap());
    reporter.settle(&[104, 204]);
}

/// The same span ids are handed from thread to thread: one starts them, another ends them.
pub fn a_span_may_end_on_another_thread_than_it_started_on() {
    const SPANS: u64 = 3;
    let instance = Instance::new(Duration::ZERO);
    let mut reporter = Reporter::new(&instance);
    let (sent, received) = shuttle::sync::mpsc::sync_channel(1);
    let starter = Arc::clone(&instance);
    let starts = thread::spawn(move || {
        for span_id in 1..=SPANS {
            starter.start(Role::Call, span_id, 0);
            sent.send(span_id).unwrap();
        }
    });
    let ender = Arc::clone(&instance);
    let ends = thread::spawn(move || received.iter().for_each(|span_id| ender.end(span_id)));
    for _ in 0..3 {
        reporter.act();
    }
    starts.join().unwrap();
    ends.join().unwrap();
    reporter.settle(&[]);
}

/// A span that is too young to be reported becomes due while it ends, or while a session begins.
pub fn young_spans_mature_while_they_end() {
    let instance = Instance::new(Duration::from_nanos(8));
    let mut reporter = Reporter::new(&instance);
    let worker = Arc::clone(&instance);
    let work = thread::spawn(move || {
        for span_id in 1..=3 {
            worker.start(Role::Call, span_id, 0);
            worker.start(Role::Hold, 10 + span_id, span_id);
            worker.end(span_id);
        }
    });
    for _ in 0..4 {
        reporter.act();
    }
    work.join().unwrap();
    instance.clock.fetch_add(10, SeqCst);
    reporter.settle(&[11, 12, 13]);
}

/// "Did you ever accept this call?" is never denied once the handler has begun, however short it is and wherever it
/// stands; and a handler that is open by then is known to the collector before the answer.
pub fn a_call_that_was_accepted_is_never_denied() {
    const CALL: u64 = 77;
    const HANDLE: u64 = 7;
    let instance = Instance::new(Duration::from_secs(3600));
    let mut reporter = Reporter::new(&instance);
    reporter.flush();
    let (accepted, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (worker, says_accepted, says_ended) = (Arc::clone(&instance), Arc::clone(&accepted), Arc::clone(&ended));
    let ends = thread_rng().gen_bool(0.5);
    let work = thread::spawn(move || {
        worker.serve(HANDLE, CALL);
        says_accepted.store(true, SeqCst);
        if ends {
            worker.end(HANDLE);
            says_ended.store(true, SeqCst);
        }
    });
    let (was_accepted, had_ended) = (accepted.load(SeqCst), ended.load(SeqCst));
    reporter.ask(&[], CALL);
    let (_, state) = reporter.answer();
    assert!(!was_accepted || state != AcceptanceState::Never, "{state:?}");
    assert!(!had_ended || state == AcceptanceState::Ended, "{state:?}");
    // Between the question and the round that precedes the answer it may have ended.
    if was_accepted && state == AcceptanceState::Open && !ends {
        assert!(
            reporter.mirror.open.contains_key(&HANDLE),
            "the collector knows the handler by now"
        );
    }
    work.join().unwrap();
    reporter.flush();
    let open = reporter.mirror.open_ids();
    assert!(open.is_empty() || !ends, "what has ended is not open");
    let is_kept = instance.table.open_count() == 1;
    assert_eq!(is_kept, !ends);
}

/// "Is it still open?" is never affirmed of what had ended before the question, nor denied of what stays open.
pub fn what_has_ended_is_not_said_to_be_open() {
    let instance = Instance::new(Duration::ZERO);
    let mut reporter = Reporter::new(&instance);
    (1..=3).for_each(|span_id| instance.start(Role::Call, span_id, 0));
    reporter.flush();
    let ended = Arc::new(AtomicU64::new(0));
    let (worker, says) = (Arc::clone(&instance), Arc::clone(&ended));
    let work = thread::spawn(move || {
        for span_id in 1..=2 {
            worker.end(span_id);
            says.store(span_id, SeqCst);
        }
    });
    let had_ended = ended.load(SeqCst);
    reporter.ask(&[1, 2, 3], 99);
    let (not_open, state) = reporter.answer();
    assert!(
        (1..=had_ended).all(|span_id| not_open.contains(&span_id)),
        "{not_open:?}"
    );
    assert!(!not_open.contains(&3), "it stays open");
    assert_eq!(state, AcceptanceState::Never);
    // Whatever is said to be gone, the collector has heard of its end before the answer.
    assert!(
        not_open
            .iter()
            .all(|span_id| !reporter.mirror.open.contains_key(span_id))
    );
    work.join().unwrap();
    reporter.settle(&[3]);
}

/// A handler that two deliveries of one message have started, and the conversation by which it is found: both are known
/// until the last of them has ended.
pub fn handlers_of_one_call_do_not_hide_one_another() {
    const CALL: u64 = 77;
    let instance = Instance::new(Duration::ZERO);
    let mut reporter = Reporter::new(&instance);
    reporter.flush();
    let works: Vec<_> = [7, 8]
        .into_iter()
        .map(|handle| {
            let instance = Arc::clone(&instance);
            thread::spawn(move || {
                instance.serve(handle, CALL);
                if handle == 7 {
                    instance.end(handle);
                }
            })
        })
        .collect();
    reporter.act();
    works.into_iter().for_each(|work| work.join().unwrap());
    reporter.mirror.answers.clear();
    reporter.ask(&[7, 8], CALL);
    assert_eq!(reporter.answer(), (vec![7], AcceptanceState::Ended));
    reporter.settle(&[8]);
}
