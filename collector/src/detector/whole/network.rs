//! Streams between processes: in order, late, with little room, and not for ever.
//!
//! Each direction of a link is a pipe that holds few messages, as bytes, each of which arrives some time after the one
//! before it. Links know nothing of one another, so what was said on one may overtake what was said on another. A faulty
//! middle loses and repeats batches. Knows nothing of what is said beyond that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::detector::chance::Random;

/// Who takes part, by its number among its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Instance(usize),
    Relay(usize),
    Collector(usize),
}

/// A stream, numbered upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

/// Up is from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Up,
    Down,
}

impl Way {
    pub(super) fn back(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The server has accepted the stream.
    Accepted,
    Message(Vec<u8>),
    /// Nothing more comes.
    End,
}

/// How links are in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) delay_max_ms: usize,
    /// Messages that are under way in a pipe at most.
    pub(super) room: usize,
    /// In percent of batches.
    pub(super) lost: usize,
    /// In percent of batches.
    pub(super) repeated: usize,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Node,
    pub(super) server: Node,
    /// Whether each side still has its end.
    pub(super) has_client: bool,
    pub(super) has_server: bool,
    up: Pipe,
    down: Pipe,
    /// What would have arrived later than this does not arrive.
    pub(super) cut: Option<Duration>,
    /// What would have arrived before this arrives after it.
    pub(super) blocked_until: Duration,
    is_slow: bool,
    /// Channels of which the latest batch was lost, so that nobody can have noticed. A stream of its own is channel 0.
    pub(super) lost_unnoticed: BTreeSet<u64>,
}

#[derive(Debug)]
struct Pipe {
    /// With the times of their arrivals, which only grow.
    frames: VecDeque<(Duration, Frame)>,
    last: Duration,
}

/// What is to be done so that a frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) at: Duration,
    pub(super) link: LinkId,
    pub(super) way: Way,
}

/// Of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: usize,
    pub(super) lost: usize,
    pub(super) repeated: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.repeated += other.repeated;
    }
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) weather: Weather,
    random: Random,
    links: BTreeMap<LinkId, Link>,
    last: u64,
    pub(super) counts: Counts,
}

impl Network {
    pub(super) fn new(weather: Weather, random: Random) -> Self {
        Self {
            weather,
            random,
            links: BTreeMap::new(),
            last: 0,
            counts: Counts::default(),
        }
    }

    pub(super) fn open(&mut self, now: Duration, client: Node, server: Node) -> LinkId {
        self.last += 1;
        let pipe = || Pipe {
            frames: VecDeque::new(),
            last: now,
        };
        let link = Link {
            client,
            server,
            has_client: true,
            has_server: true,
            up: pipe(),
            down: pipe(),
            cut: None,
            blocked_until: now,
            is_slow: self.random.percent(25),
            lost_unnoticed: BTreeSet::new(),
        };
        self.links.insert(LinkId(self.last), link);
        LinkId(self.last)
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// All links, oldest first.
    pub(super) fn ids(&self, is_meant: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        let links = self.links.iter().filter(|(_, link)| is_meant(link));
        links.map(|(id, _)| *id).collect()
    }

    /// Whether a side can put in another message.
    pub(super) fn has_room(&self, id: LinkId, way: Way) -> bool {
        let room = self.weather.room;
        self.links
            .get(&id)
            .is_some_and(|link| link.pipe(way).frames.len() < room)
    }

    /// Puts in a message. A faulty middle may lose or repeat it, if it is a batch, of the channel given.
    pub(super) fn send(
        &mut self,
        now: Duration,
        id: LinkId,
        way: Way,
        message: Vec<u8>,
        batch: Option<u64>,
    ) -> Vec<Delivery> {
        self.counts.sent += 1;
        let is_lost = batch.is_some() && self.random.percent(self.weather.lost);
        let is_repeated = batch.is_some() && !is_lost && self.random.percent(self.weather.repeated);
        if let Some(channel) = batch
            && let Some(link) = self.links.get_mut(&id)
        {
            link.lost_unnoticed.remove(&channel);
            if is_lost {
                link.lost_unnoticed.insert(channel);
            }
        }
        if is_lost {
            self.counts.lost += 1;
            return Vec::new();
        }
        let mut deliveries = Vec::new();
        if is_repeated {
            self.counts.repeated += 1;
            deliveries.extend(self.put(now, id, way, Frame::Message(message.clone())));
        }
        deliveries.extend(self.put(now, id, way, Frame::Message(message)));
        deliveries
    }

    /// Puts in a frame, room or not.
    pub(super) fn put(&mut self, now: Duration, id: LinkId, way: Way, frame: Frame) -> Option<Delivery> {
        let delay = self.random.ms(self.weather.delay_max_ms);
        let spike = self.random.percent(2);
        let link = self.links.get_mut(&id)?;
        let times = if link.is_slow { 3 } else { 1 } * if spike { 3 } else { 1 };
        let pipe = link.pipe_mut(way);
        pipe.last = pipe.last.max(now + delay * times);
        pipe.frames.push_back((pipe.last, frame));
        Some(Delivery {
            at: pipe.last,
            link: id,
            way,
        })
    }

    /// The next frame of a pipe arrives, or is lost.
    pub(super) fn take(&mut self, id: LinkId, way: Way) -> Option<Frame> {
        let link = self.links.get_mut(&id)?;
        let cut = link.cut;
        let has_receiver = match way {
            Way::Up => link.has_server,
            Way::Down => link.has_client,
        };
        let (at, frame) = link.pipe_mut(way).frames.pop_front()?;
        let arrives = cut.is_none_or(|cut| at <= cut) && has_receiver;
        arrives.then_some(frame)
    }

    /// One side lets go of its end. What it has said still arrives, and then the end.
    pub(super) fn close(&mut self, now: Duration, id: LinkId, side: Way) -> Option<Delivery> {
        let end = self.put(now, id, side, Frame::End);
        self.abandon(id, side);
        end
    }

    /// One side is gone, without a word.
    pub(super) fn abandon(&mut self, id: LinkId, side: Way) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match side {
            Way::Up => link.has_client = false,
            Way::Down => link.has_server = false,
        }
        if !link.has_client && !link.has_server {
            self.links.remove(&id);
        }
    }
}

impl Link {
    fn pipe(&self, way: Way) -> &Pipe {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    fn pipe_mut(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// Who receives what goes this way.
    pub(super) fn receiver(&self, way: Way) -> Node {
        match way {
            Way::Up => self.server,
            Way::Down => self.client,
        }
    }

    pub(super) fn has(&self, side: Way) -> bool {
        match side {
            Way::Up => self.has_client,
            Way::Down => self.has_server,
        }
    }
}
