//! Histories from any bytes: what a fuzzer plays with.
//!
//! Every byte string is a history, and a longer one never a shorter history. Few ids, instances and names, so that they
//! meet, and of every number also what no sane program would send.

use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Limits, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

use crate::history::{History, Input, Step};

/// The oracle looks at everything after every step, so that much more would only be slow.
const STEPS_MAX: usize = 300;
const IDS: u8 = 40;
const INSTANCES: u8 = 6;
const NAMES: u8 = 7;
/// Of a span that names several resources.
const RESOURCES_MAX: u8 = 4;
/// Longer than any name that is inlined, cut, padded, or nothing odd.
const LONG_NAME: usize = 5000;

/// Longer than anything is remembered. The engine keeps times in 64 bits, which is six hundred of these; what is said to
/// be later is told to it alone, in a test that asks for no more than that it goes on.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// The history that these bytes say, until they end.
pub(crate) fn history(bytes: &[u8]) -> History {
    let mut bytes = Bytes(bytes);
    let limits = bytes.limits().unwrap_or_default();
    let steps = std::iter::from_fn(|| bytes.step()).take(STEPS_MAX).collect();
    History { limits, steps }
}

/// What is left of them. Everything answers `None` at their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, limit: u8) -> Option<u8> {
        Some(self.byte()? % limit)
    }

    /// True once in so many.
    fn once_in(&mut self, chances: u8) -> Option<bool> {
        Some(self.below(chances)? == chances - 1)
    }

    /// Mostly small.
    fn number(&mut self) -> Option<u32> {
        Some(match self.byte()? {
            255 => u32::MAX,
            254 => 1 << 31,
            byte @ 240.. => byte.into(),
            byte => u32::from(byte % 5),
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        if self.byte()? % 2 == 0 {
            return Some(Limits::default());
        }
        let mut limit = |default: usize| {
            let byte = self.byte()?;
            Some(if byte < 128 { default } else { usize::from(byte % 32) })
        };
        let all = Limits::default();
        Some(Limits {
            open_spans: limit(all.open_spans)?,
            ended_spans: limit(all.ended_spans)?,
            early_finishes: limit(all.early_finishes)?,
            answered: limit(all.answered)?,
            served: limit(all.served)?,
            pools: limit(all.pools)?,
            instances: limit(all.instances)?,
            refused: limit(all.refused)?,
            conversation_pairs: limit(all.conversation_pairs)?,
        })
    }

    fn step(&mut self) -> Option<Step> {
        let after = match self.byte()? {
            255 => YEAR,
            254 => Duration::from_secs(60),
            253 => Duration::from_secs(1),
            byte => Duration::from_millis((u64::from(byte) + 1) % 12),
        };
        let input = match self.below(24)? {
            0..12 => Input::Event(Event::Started(self.span()?)),
            12..17 => Input::Event(Event::Finished(self.id()?)),
            17 => Input::Event(Event::Answered(self.id()?)),
            18 => Input::Event(Event::InstanceSilent(self.instance()?)),
            19 => Input::Event(Event::InstanceBack(self.instance()?)),
            20 => Input::Event(Event::InstanceGone(self.instance()?)),
            21 => Input::Describe(self.instance()?, self.name()?),
            _ => Input::Expire,
        };
        Some(Step { after, input })
    }

    fn span(&mut self) -> Option<Span> {
        Some(Span {
            id: self.id()?,
            trace: TraceId(self.below(2)?.into()),
            instance: self.instance()?,
            parent: match self.below(4)? {
                0 => None,
                how => Some(Parent {
                    id: self.id()?,
                    remote: how == 1,
                }),
            },
            task: if self.once_in(8)? { Some(self.id()?) } else { None },
            name: self.name()?,
            conversation: if self.once_in(8)? { Some(self.name()?) } else { None },
            role: self.role()?,
            started_at: match self.byte()? {
                255 => YEAR,
                byte => Duration::from_millis(byte.into()),
            },
        })
    }

    fn role(&mut self) -> Option<Role> {
        Some(match self.below(12)? {
            0..6 => Role::Call(Call {
                target: if self.once_in(8)? { None } else { Some(self.name()?) },
                units: self.units()?,
                group: if self.once_in(5)? { Some(self.group()?) } else { None },
                detached: self.once_in(12)?,
                timeout: if self.once_in(12)? { Some(YEAR) } else { None },
            }),
            6..9 => Role::Handle(Handle {
                resources: self.names()?,
                capacity: self.capacity()?,
            }),
            9 => Role::Hold(Hold {
                resources: self.names()?,
                capacity: self.capacity()?,
                units: self.units()?,
            }),
            10 => Role::Member(Member {
                resources: self.names()?,
                units: self.units()?,
            }),
            _ => Role::Structural,
        })
    }

    fn group(&mut self) -> Option<WaitGroup> {
        Some(WaitGroup {
            name: self.name()?,
            quorum: match self.once_in(8)? {
                true => None,
                false => Some(Quorum {
                    needed: self.number()?,
                    size: self.number()?,
                }),
            },
        })
    }

    /// Mostly one.
    fn units(&mut self) -> Option<u32> {
        if self.once_in(6)? { self.number() } else { Some(1) }
    }

    fn capacity(&mut self) -> Option<Option<u32>> {
        Some(if self.once_in(4)? { Some(self.number()?) } else { None })
    }

    fn id(&mut self) -> Option<SpanId> {
        Some(match self.below(IDS)? {
            0 => SpanId(u64::MAX),
            id => SpanId(u64::from(id) - 1),
        })
    }

    fn instance(&mut self) -> Option<InstanceId> {
        Some(match self.below(INSTANCES)? {
            0 => InstanceId(u64::MAX),
            id => InstanceId(id.into()),
        })
    }

    fn names(&mut self) -> Option<Vec<Arc<str>>> {
        let count = if self.once_in(4)? {
            self.below(RESOURCES_MAX)?
        } else {
            1
        };
        (0..count).map(|_| self.name()).collect()
    }

    fn name(&mut self) -> Option<Arc<str>> {
        Some(match self.byte()? {
            255 => "x".repeat(LONG_NAME).into(),
            byte @ 240.. => {
                let length = usize::from(byte - 240).min(self.0.len());
                let (name, rest) = self.0.split_at(length);
                self.0 = rest;
                String::from_utf8_lossy(name).into()
            }
            byte => format!("name-{}", byte % NAMES).into(),
        })
    }
}
