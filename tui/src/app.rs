//! All state of the monitor, and the only place that changes it.
//!
//! [`App::apply`] takes one input after the other, with the time at which it came. It draws nothing, and it knows of
//! the screens only how much there is to scroll.

use crossterm::event::Event;
use jiff::Timestamp;
use ratatui::layout::{Rect, Size};
use standoff_protocol::api::{Snapshot, Stats};

use crate::board::{Board, Entry};
use crate::keymap::{self, Action};
use crate::look::Look;
use crate::update::Update;
use crate::{screen, visible};

/// Something that may change the state.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// From the user's terminal.
    Terminal(Event),
    /// The size of the terminal.
    Resized(Size),
    /// From the collector.
    Update(Update),
    /// Time has passed.
    Tick,
}

/// What an input has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing to be seen.
    None,
    /// Something to be seen.
    Draw,
    /// The user wants to leave.
    Quit,
}

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// All alerts.
    Alerts,
    /// One alert, by its id; lines above its first visible one.
    Alert { id: String, scroll: usize },
    /// All keys; lines above the first visible one.
    Help { scroll: usize },
}

/// How things stand with the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// The first attempt is under way.
    Connecting,
    /// News arrive.
    Connected,
    /// It was there, and is being looked for.
    Reconnecting { since: Timestamp, reason: String },
    /// It has never been there, or has been gone for a while.
    Unreachable { since: Timestamp, reason: String },
}

/// A collector that has been gone for as long is called unreachable. A restart takes less.
const RECONNECTING_MS_MAX: i64 = 3_000;

/// The list of alerts: what is chosen, and what is seen of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    /// The id of the chosen alert; `None` for whichever is at the top.
    chosen: Option<String>,
    /// The first row that is shown.
    pub(crate) top: usize,
}

/// The monitor.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) look: Look,
    /// Where the collector is looked for.
    pub(crate) address: String,
    /// When the last input came.
    pub(crate) now: Timestamp,
    pub(crate) connection: Connection,
    pub(crate) board: Board,
    /// What the collector said last; `None` before its first snapshot.
    pub(crate) stats: Option<Stats>,
    /// How many events this version could not read, and why not the last of them.
    pub(crate) not_understood: Option<(u64, String)>,
    pub(crate) list: List,
    /// Screens above the list of alerts; the last one is seen. At most one of each kind.
    above: Vec<Screen>,
    size: Size,
}

impl App {
    pub(crate) fn new(look: Look, address: String, now: Timestamp) -> Self {
        Self {
            look,
            address: visible::text(&address, look.charset),
            now,
            connection: Connection::Connecting,
            board: Board::default(),
            stats: None,
            not_understood: None,
            list: List::default(),
            above: Vec::new(),
            size: Size::default(),
        }
    }

    /// The screen that is seen.
    pub(crate) fn screen(&self) -> &Screen {
        self.above.last().unwrap_or(&Screen::Alerts)
    }

    /// The chosen row of the list; `None` if it is empty.
    pub(crate) fn chosen(&self) -> Option<usize> {
        let entries = self.board.entries();
        let chosen = self.list.chosen.as_ref();
        let row = chosen.and_then(|id| entries.iter().position(|entry| entry.alert.id == *id));
        (!entries.is_empty()).then(|| row.unwrap_or(0))
    }

    /// Whether anything is seen that changes by the passing of time alone.
    pub(crate) fn counts(&self) -> bool {
        !self.board.entries().is_empty() || self.connection != Connection::Connected
    }

    /// Takes in what has happened.
    pub(crate) fn apply(&mut self, input: Input, now: Timestamp) -> Change {
        self.now = now;
        let change = match input {
            Input::Terminal(Event::Key(key)) => keymap::action(key).map_or(Change::None, |action| self.act(action)),
            Input::Terminal(Event::Resize(width, height)) => self.resize(Size { width, height }),
            Input::Terminal(Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_)) => Change::None,
            Input::Resized(size) => self.resize(size),
            Input::Update(update) => self.learn(update),
            Input::Tick => self.tick(),
        };
        self.keep_in_view();
        change
    }

    fn resize(&mut self, size: Size) -> Change {
        self.size = size;
        Change::Draw
    }

    fn tick(&mut self) -> Change {
        if let Connection::Reconnecting { since, reason } = &self.connection
            && self.now.as_millisecond() - since.as_millisecond() > RECONNECTING_MS_MAX
        {
            self.connection = Connection::Unreachable {
                since: *since,
                reason: reason.clone(),
            };
        }
        Change::Draw
    }

    fn learn(&mut self, update: Update) -> Change {
        match update {
            Update::Snapshot(Snapshot { alerts, stats }) => {
                self.connection = Connection::Connected;
                let alerts = alerts
                    .iter()
                    .map(|alert| visible::alert(alert, self.look.charset))
                    .collect();
                self.board.replace(alerts, self.now);
                self.stats = Some(stats);
            }
            Update::Alert(alert) => self.board.put(visible::alert(&alert, self.look.charset)),
            Update::Stats(stats) if self.stats.as_ref() == Some(&stats) => return Change::None,
            Update::Stats(stats) => self.stats = Some(stats),
            Update::NotUnderstood(reason) => {
                let before = self.not_understood.as_ref().map_or(0, |(count, _)| *count);
                self.not_understood = Some((before + 1, visible::text(&reason, self.look.charset)));
            }
            Update::Disconnected(reason) => self.disconnected(visible::text(&reason, self.look.charset)),
        }
        Change::Draw
    }

    fn disconnected(&mut self, reason: String) {
        let now = self.now;
        self.connection = match &self.connection {
            Connection::Connecting => Connection::Unreachable { since: now, reason },
            Connection::Connected => Connection::Reconnecting { since: now, reason },
            Connection::Reconnecting { since, .. } => Connection::Reconnecting { since: *since, reason },
            Connection::Unreachable { since, .. } => Connection::Unreachable { since: *since, reason },
        };
    }

    fn act(&mut self, action: Action) -> Change {
        match action {
            Action::Quit => return Change::Quit,
            Action::Help if matches!(self.screen(), Screen::Help { .. }) => drop(self.above.pop()),
            Action::Help => self.above.push(Screen::Help { scroll: 0 }),
            Action::Back => drop(self.above.pop()),
            Action::Open => self.open(),
            Action::Next => self.choose_beside(1),
            Action::Previous => self.choose_beside(-1),
            Action::Up => self.step(-1),
            Action::Down => self.step(1),
            Action::PageUp => self.step(-self.page()),
            Action::PageDown => self.step(self.page()),
            Action::First => self.step(isize::MIN),
            Action::Last => self.step(isize::MAX),
        }
        Change::Draw
    }

    fn open(&mut self) {
        if *self.screen() != Screen::Alerts {
            return;
        }
        if let Some(row) = self.chosen() {
            self.choose(row);
            self.above
                .extend(self.list.chosen.clone().map(|id| Screen::Alert { id, scroll: 0 }));
        }
    }

    /// Chooses the next or the previous alert, from the last on to the first; also while one is being looked into.
    fn choose_beside(&mut self, by: isize) {
        let rows = self.board.entries().len();
        let Some(from) = self.chosen() else { return };
        let row = from.checked_add_signed(by).unwrap_or(rows - 1) % rows;
        match self.above.last_mut() {
            None => self.choose(row),
            Some(Screen::Alert { id, scroll }) => {
                id.clone_from(&self.board.entries()[row].alert.id);
                *scroll = 0;
                self.choose(row);
            }
            Some(Screen::Help { .. } | Screen::Alerts) => {}
        }
    }

    fn choose(&mut self, row: usize) {
        self.list.chosen = self.board.entries().get(row).map(|entry| entry.alert.id.clone());
    }

    /// Moves by so many rows: what is chosen in the list, or what is seen of a text.
    fn step(&mut self, by: isize) {
        match self.above.last_mut() {
            Some(Screen::Alert { scroll, .. } | Screen::Help { scroll }) => *scroll = scroll.saturating_add_signed(by),
            Some(Screen::Alerts) | None => {
                let Some(row) = self.chosen() else { return };
                let last = self.board.entries().len() - 1;
                self.choose(row.saturating_add_signed(by).min(last));
                // At the top one wants to see whatever comes in on top.
                if by == isize::MIN {
                    self.list.chosen = None;
                }
            }
        }
    }

    /// What a page up or down moves by: all that is seen but one.
    fn page(&self) -> isize {
        let body = screen::body(self, self.area());
        let seen = match self.screen() {
            Screen::Alerts => screen::alerts::fitting(self, body),
            Screen::Alert { .. } | Screen::Help { .. } => body.height.into(),
        };
        isize::try_from(seen.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn area(&self) -> Rect {
        Rect::from((ratatui::layout::Position::ORIGIN, self.size))
    }

    /// Whatever has changed, what is scrolled stays within what there is, and the chosen row is seen.
    fn keep_in_view(&mut self) {
        let body = screen::body(self, self.area());
        let scroll_max = screen::scroll_max(self, body);
        match self.above.last_mut() {
            Some(Screen::Alert { scroll, .. } | Screen::Help { scroll }) => *scroll = (*scroll).min(scroll_max),
            Some(Screen::Alerts) | None => {
                let fitting = screen::alerts::fitting(self, body);
                let row = self.chosen().unwrap_or(0);
                self.list.top = self
                    .list
                    .top
                    .min(scroll_max)
                    .clamp((row + 1).saturating_sub(fitting), row);
            }
        }
    }

    /// The alert that is looked into, if it is still known.
    pub(crate) fn entry(&self, id: &str) -> Option<&Entry> {
        self.board.get(id)
    }
}
