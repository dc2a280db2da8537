//! Real keys against a terminal in memory, through the real event loop.

use std::io;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use futures_util::stream;
use proptest::prelude::*;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Color;
use standoff_protocol::api::{Alert, Loss, LossCause, Resolution, Snapshot, Stats};

use super::render;
use crate::app::{App, Change, Input};
use crate::event_loop;
use crate::keymap::{Action, labels};
use crate::look::{Charset, Look};
use crate::sample;
use crate::update::Update;

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);

fn app(charset: Charset) -> App {
    App::new(
        Look::new(true, charset),
        "http://127.0.0.1:4380".to_owned(),
        sample::now(),
    )
}

fn snapshot(alerts: Vec<Alert>) -> Update {
    Update::Snapshot(sample::snapshot(alerts))
}

/// The news of a monitor that has seen a bit of everything.
fn eventful() -> Vec<Update> {
    let over = Alert {
        id: "over".to_owned(),
        ..sample::resolved(sample::ring(), Resolution::Timeout)
    };
    vec![
        snapshot(vec![sample::ring(), sample::knot()]),
        Update::Alert(Box::new(over)),
    ]
}

fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(text: &str) -> Vec<Event> {
    text.chars().map(|c| key(KeyCode::Char(c))).collect()
}

const ENTER: KeyCode = KeyCode::Enter;

/// What is on the terminal after this news and then these keys.
fn screen_of(app: App, (width, height): (u16, u16), updates: Vec<Update>, keys: Vec<Event>) -> TestBackend {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let keys = stream::iter(keys.into_iter().map(io::Result::Ok));
    let run = event_loop::run(
        TestBackend::new(width, height),
        app,
        keys,
        stream::iter(updates),
        sample::now,
    );
    runtime.block_on(run).unwrap().backend().clone()
}

fn screen(size: (u16, u16), updates: Vec<Update>, keys: Vec<Event>) -> TestBackend {
    screen_of(app(Charset::Unicode), size, updates, keys)
}

fn text(backend: &TestBackend) -> String {
    backend
        .buffer()
        .content()
        .iter()
        .map(ratatui::buffer::Cell::symbol)
        .collect()
}

#[test]
fn connecting() {
    insta::assert_snapshot!(screen(SMALL, vec![], vec![]));
}

#[test]
fn unreachable() {
    let gone = Update::Disconnected("connection refused".to_owned());
    insta::assert_snapshot!("unreachable_80x24", screen(SMALL, vec![gone.clone()], vec![]));
    insta::assert_snapshot!("unreachable_120x40", screen(LARGE, vec![gone], vec![]));
}

#[test]
fn no_deadlock() {
    insta::assert_snapshot!("no_deadlock_80x24", screen(SMALL, vec![snapshot(vec![])], vec![]));
    insta::assert_snapshot!("no_deadlock_120x40", screen(LARGE, vec![snapshot(vec![])], vec![]));
}

#[test]
fn alerts() {
    insta::assert_snapshot!("alerts_80x24", screen(SMALL, eventful(), vec![]));
    insta::assert_snapshot!("alerts_120x40", screen(LARGE, eventful(), vec![]));
}

#[test]
fn a_ring() {
    let ring = || vec![snapshot(vec![sample::ring()])];
    insta::assert_snapshot!("ring_80x24", screen(SMALL, ring(), vec![key(ENTER)]));
    insta::assert_snapshot!("ring_120x40", screen(LARGE, ring(), vec![key(ENTER)]));
    insta::assert_snapshot!(
        "ring_80x24_end",
        screen(SMALL, ring(), vec![key(ENTER), key(KeyCode::End)])
    );
    insta::assert_snapshot!("ring_34x12", screen((34, 12), ring(), vec![key(ENTER)]));
}

#[test]
fn what_was_lost_is_said_by_cause_and_by_whom() {
    let loss = |cause, count, instances: &[&str]| Loss {
        cause,
        count,
        instances: instances.iter().map(ToString::to_string).collect(),
    };
    let mut alert = sample::ring();
    alert.evidence.losses = vec![
        loss(LossCause::LibrarySpans, 12, &["a-1", "b-\u{1b}[31m1"]),
        loss(LossCause::GraphMemory, 3, &[]),
    ];
    let shown = text(&screen(LARGE, vec![snapshot(vec![alert])], vec![key(ENTER)]));
    assert!(shown.contains("lost: library_spans 12 (a-1,"), "{shown}");
    assert!(shown.contains(", graph_memory 3"), "{shown}");
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn a_ring_in_ascii() {
    let screen = screen_of(
        app(Charset::Ascii),
        SMALL,
        vec![snapshot(vec![sample::ring()])],
        vec![key(ENTER)],
    );
    assert!(text(&screen).is_ascii());
    insta::assert_snapshot!(screen);
}

#[test]
fn a_knot() {
    let knot = || vec![snapshot(vec![sample::knot()])];
    insta::assert_snapshot!("knot_80x24", screen(SMALL, knot(), vec![key(ENTER)]));
    insta::assert_snapshot!("knot_120x40", screen(LARGE, knot(), vec![key(ENTER)]));
}

#[test]
fn a_task_that_waits_for_itself() {
    let mut alert = sample::ring();
    alert.core.truncate(1);
    alert.core_total = 1;
    alert.core[0].waits[0].blocked_by = vec![alert.core[0].task.clone()];
    insta::assert_snapshot!(screen(SMALL, vec![snapshot(vec![alert])], vec![key(ENTER)]));
}

#[test]
fn a_ring_that_is_over() {
    let over = Update::Alert(Box::new(sample::resolved(sample::ring(), Resolution::Timeout)));
    insta::assert_snapshot!(screen(
        SMALL,
        vec![snapshot(vec![sample::ring()]), over],
        vec![key(ENTER)]
    ));
}

#[test]
fn help() {
    insta::assert_snapshot!("help_80x24", screen(SMALL, eventful(), keys("?")));
    insta::assert_snapshot!("help_120x40", screen(LARGE, eventful(), keys("?")));
}

#[test]
fn help_lists_every_action_with_every_key() {
    let screen = text(&screen((200, 60), vec![], keys("?")));
    for action in Action::ALL {
        assert!(
            screen.contains(action.meaning()),
            "the help does not say: {}",
            action.meaning()
        );
        let keys: Vec<_> = labels(*action).collect();
        assert!(screen.contains(&keys.join(" ")), "the help lacks a key of {action:?}");
    }
}

#[test]
fn a_lost_connection_is_said_above_what_was_known() {
    let updates = vec![
        snapshot(vec![sample::ring()]),
        Update::Disconnected("connection refused".to_owned()),
    ];
    insta::assert_snapshot!(screen(SMALL, updates, vec![]));
}

#[test]
fn without_a_connection_nobody_claims_that_all_is_well() {
    let updates = vec![snapshot(vec![]), Update::Disconnected("connection refused".to_owned())];
    insta::assert_snapshot!(screen(SMALL, updates, vec![]));
}

#[test]
fn without_instances_neither() {
    let stats = Stats {
        instances: 0,
        instances_silent: 0,
        ..sample::stats()
    };
    let updates = vec![Update::Snapshot(Snapshot { alerts: vec![], stats })];
    insta::assert_snapshot!(screen(SMALL, updates, vec![]));
}

#[test]
fn a_collector_that_stays_away_becomes_unreachable_and_comes_back() {
    let mut app = app(Charset::Unicode);
    let now = sample::now();
    let seconds = |s: u64| now + std::time::Duration::from_secs(s);
    app.apply(Input::Resized(Size::new(80, 24)), now);
    app.apply(Input::Update(snapshot(vec![sample::ring()])), now);
    app.apply(
        Input::Update(Update::Disconnected("connection refused".to_owned())),
        now,
    );
    let shown = |app: &App| {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        render(app, buffer.area, &mut buffer);
        buffer
            .content()
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    };
    app.apply(Input::Tick, seconds(2));
    assert!(shown(&app).contains("○ reconnecting"));
    app.apply(Input::Tick, seconds(4));
    assert!(shown(&app).contains("✗ unreachable"));
    assert!(shown(&app).contains("as of 4.0 s ago: connection refused; does `standoff collector` run there?"));
    // It has forgotten the alert, or the alert has ended meanwhile: nobody can tell.
    app.apply(Input::Update(snapshot(vec![])), seconds(5));
    assert!(shown(&app).contains("● connected"));
    assert!(shown(&app).contains("? MISSING"));
    assert!(shown(&app).contains("✓ none firing"));
}

#[test]
fn lost_events_are_red_and_named() {
    let stats = Stats {
        events_lost: 12,
        ..sample::stats()
    };
    let updates = vec![Update::Snapshot(Snapshot { alerts: vec![], stats })];
    let screen = screen(SMALL, updates, vec![]);
    assert!(text(&screen).contains("✗ 12 events lost"));
    let buffer = screen.buffer();
    let red = buffer
        .content()
        .iter()
        .filter(|cell| cell.fg == Color::Red)
        .map(ratatui::buffer::Cell::symbol);
    assert_eq!(red.collect::<String>(), "✗ 12 events lost");
}

#[test]
fn without_colour_nothing_is_coloured() {
    let app = App::new(
        Look::new(false, Charset::Unicode),
        "http://127.0.0.1:4380".to_owned(),
        sample::now(),
    );
    let screen = screen_of(app, SMALL, eventful(), vec![]);
    assert!(
        screen
            .buffer()
            .content()
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn what_cannot_be_understood_is_said() {
    let updates = vec![
        snapshot(vec![]),
        Update::NotUnderstood("event alert: unknown variant `livelock`".to_owned()),
    ];
    assert!(text(&screen(SMALL, updates, vec![])).contains("1 event not understood, is the collector newer?"));
}

#[test]
fn keys_move_the_choice_and_open_it() {
    // The state and the beginning of the summary of the row that is marked.
    let chosen = |presses: &[Event]| {
        let screen = screen(SMALL, eventful(), presses.to_vec()).to_string();
        let marked: String = screen.lines().filter_map(|line| line.strip_prefix("\"▌")).collect();
        let words: Vec<_> = marked.split([' ', '"']).filter(|word| !word.is_empty()).collect();
        let summary = words.iter().position(|word| word.ends_with('×')).unwrap() + 1;
        words[1].to_owned() + words[summary]
    };
    let (newest, older, over) = ("FIRINGworkers", "FIRINGservice-a", "RESOLVEDservice-a");
    assert_eq!(chosen(&[]), newest);
    assert_eq!(chosen(&keys("j")), older);
    assert_eq!(chosen(&[key(KeyCode::Down)]), older);
    assert_eq!(chosen(&keys("jjjjj")), over);
    assert_eq!(chosen(&keys("jjk")), older);
    assert_eq!(chosen(&keys("G")), over);
    assert_eq!(chosen(&keys("Gg")), newest);
    assert_eq!(chosen(&[key(KeyCode::PageDown)]), over);
    assert_eq!(chosen(&[key(KeyCode::PageDown), key(KeyCode::PageUp)]), newest);
    assert_eq!(chosen(&[key(KeyCode::Tab)]), older);
    assert_eq!(chosen(&[key(KeyCode::BackTab)]), over);
    // There and back again.
    assert_eq!(chosen(&[key(ENTER), key(KeyCode::Esc)]), newest);
    assert_eq!(chosen(&[key(KeyCode::Right), key(KeyCode::Left)]), newest);
    assert_eq!(chosen(&keys("jlh")), older);
    assert_eq!(chosen(&keys("??")), newest);
    assert_eq!(chosen(&[key(KeyCode::Esc), key(KeyCode::Esc)]), newest);
    // Looking into one alert after the other moves the choice along.
    assert_eq!(chosen(&[key(ENTER), key(KeyCode::Tab), key(KeyCode::Esc)]), older);
}

#[test]
fn the_choice_stays_with_its_alert() {
    let mut app = app(Charset::Unicode);
    let now = sample::now();
    app.apply(Input::Resized(Size::new(80, 24)), now);
    app.apply(Input::Update(snapshot(vec![sample::ring()])), now);
    app.apply(Input::Update(Update::Alert(Box::new(sample::knot()))), now);
    assert_eq!(app.chosen(), Some(0), "untouched, it is whatever is on top");
    app.apply(Input::Terminal(key(KeyCode::Down)), now);
    let newer = Alert {
        id: "newer".to_owned(),
        fired_at: Some(now),
        ..sample::knot()
    };
    app.apply(Input::Update(Update::Alert(Box::new(newer))), now);
    assert_eq!(app.chosen(), Some(2));
    assert_eq!(app.board.entries()[2].alert.id, sample::ring().id);
}

#[test]
fn both_keys_quit_everywhere() {
    let ctrl_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    for way in [vec![], vec![key(ENTER)], keys("?")] {
        for quit in [key(KeyCode::Char('q')), ctrl_c.clone()] {
            let mut app = app(Charset::Unicode);
            app.apply(Input::Update(snapshot(vec![sample::ring()])), sample::now());
            for press in &way {
                app.apply(Input::Terminal(press.clone()), sample::now());
            }
            assert_eq!(app.apply(Input::Terminal(quit), sample::now()), Change::Quit);
        }
    }
}

#[test]
fn scrolling_back_from_beyond_the_end_works_at_once() {
    let down = vec![KeyCode::Down; 100];
    let presses = |codes: Vec<KeyCode>| [vec![ENTER], codes].concat().into_iter().map(key).collect::<Vec<_>>();
    let ring = || vec![snapshot(vec![sample::ring()])];
    let end = screen((80, 15), ring(), presses(vec![KeyCode::End]));
    let beyond = screen((80, 15), ring(), presses(down.clone()));
    assert_eq!(end.buffer(), beyond.buffer());
    let back = screen((80, 15), ring(), presses([down, vec![KeyCode::Up]].concat()));
    assert_ne!(end.buffer(), back.buffer());
}

#[test]
fn unchanged_figures_draw_nothing() {
    let mut app = app(Charset::Unicode);
    app.apply(Input::Update(snapshot(vec![])), sample::now());
    assert_eq!(
        app.apply(Input::Update(Update::Stats(sample::stats())), sample::now()),
        Change::None
    );
    assert!(!app.counts(), "a calm screen needs no ticking");
}

#[test]
fn a_small_terminal_says_so() {
    insta::assert_snapshot!(screen((19, 5), eventful(), vec![]));
}

#[test]
fn every_size_can_be_drawn_on_every_screen() {
    let sizes = (0..=40).flat_map(|width| (0..=12).map(move |height| (width, height)));
    let large = [
        (60, 20),
        (80, 24),
        (111, 30),
        (112, 30),
        (120, 40),
        (300, 100),
        (20, 500),
        (500, 5),
        (1_000, 60),
    ];
    let ways = [
        vec![],
        vec![key(ENTER)],
        vec![key(KeyCode::Tab), key(ENTER), key(KeyCode::End)],
        keys("?"),
        keys("?G"),
    ];
    let news = [
        vec![],
        vec![Update::Disconnected("no answer".to_owned())],
        vec![snapshot(vec![])],
        eventful(),
    ];
    for (width, height) in sizes.chain(large) {
        for way in &ways {
            for news in &news {
                let mut app = app(Charset::Unicode);
                let resized = Input::Terminal(Event::Resize(width, height));
                let news = news.iter().cloned().map(Input::Update);
                let way = way.iter().cloned().map(Input::Terminal);
                for input in std::iter::once(resized).chain(news).chain(way) {
                    app.apply(input, sample::now());
                }
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                render(&app, buffer.area, &mut buffer);
                // The terminal may have been resized just now, and the event be still on its way.
                let mut other = Buffer::empty(Rect::new(0, 0, height, width));
                render(&app, other.area, &mut other);
            }
        }
    }
}

/// Every text of the alert, replaced.
fn with_texts(alert: Alert, text: &str) -> Alert {
    let mut alert = alert;
    alert.summary = text.to_owned();
    for task in alert.core.iter_mut().chain(&mut alert.victims) {
        task.name = text.to_owned();
        task.service = text.to_owned();
        task.instance = text.to_owned();
        task.resources.iter_mut().for_each(|name| *name = text.to_owned());
        for wait in &mut task.waits {
            wait.name = text.to_owned();
            wait.target = Some(text.to_owned());
            wait.group.iter_mut().for_each(|group| group.name = text.to_owned());
        }
    }
    alert
        .resources
        .iter_mut()
        .for_each(|resource| resource.name = text.to_owned());
    alert
}

fn dangerous() -> impl Strategy<Value = String> {
    let steering = prop_oneof![
        Just("\x1b]52;c;aGk=\x07".to_owned()),
        Just("\u{9d}52;c;aGk=\u{9c}".to_owned()),
        Just("\u{202e}\u{2066}\u{200f}".to_owned()),
        Just("a\u{200b}\u{200d}\u{feff}b\r\n\t\u{7f}".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(steering, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_from_outside_steers_the_terminal(text in dangerous(), ascii in any::<bool>(), open in any::<bool>()) {
        let charset = if ascii { Charset::Ascii } else { Charset::Unicode };
        let mut app = App::new(Look::new(true, charset), text.clone(), sample::now());
        app.apply(Input::Resized(Size::new(80, 60)), sample::now());
        for alert in [sample::ring(), sample::knot()] {
            let news = Update::Alert(Box::new(with_texts(alert, &text)));
            app.apply(Input::Update(news), sample::now());
        }
        app.apply(Input::Update(Update::NotUnderstood(text.clone())), sample::now());
        app.apply(Input::Update(Update::Disconnected(text)), sample::now());
        if open {
            app.apply(Input::Terminal(key(ENTER)), sample::now());
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 60));
        render(&app, buffer.area, &mut buffer);
        for cell in buffer.content() {
            let harmless = cell.symbol() == crate::visible::text(cell.symbol(), charset);
            prop_assert!(harmless, "{:?} reached the terminal", cell.symbol());
        }
    }
}
