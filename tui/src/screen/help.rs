//! All keys, and how to read what the other screens show.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::keymap::{self, Action};
use crate::words;

/// Columns of the keys.
const KEYS_COLUMNS: usize = 16;

/// The words of the other screens.
const MEANINGS: [(&str, &str); 8] = [
    ("deadlock", "tasks none of which can ever proceed"),
    ("victim", "a task outside the cycle that cannot proceed because of it"),
    ("queued", "a call that needs a unit of a resource that others hold"),
    ("accepted", "a call whose handler is at work, and waits itself"),
    ("silent", "an instance whose lease has run out; it proves nothing"),
    ("refuted", "suspicions that the instances denied when asked"),
    ("lost", "events never delivered; a missing cycle proves nothing then"),
    ("missing", "ended unseen, or to be found again after a restart"),
];

pub(super) fn scroll_max(app: &App, body: Rect) -> usize {
    lines(app, body).len().saturating_sub(body.height.into())
}

pub(super) fn render(app: &App, scroll: usize, body: Rect, buf: &mut Buffer) {
    let lines = lines(app, body);
    super::draw_lines(&lines, scroll, super::with_margins(body), buf);
    super::draw_scrollbar(app.look, lines.len(), body.height.into(), scroll, body, buf);
}

fn lines(app: &App, body: Rect) -> Vec<Line<'static>> {
    let room = usize::from(super::with_margins(body).width);
    let mut lines = Vec::new();
    let mut entry = |term: String, meaning: &str| {
        let columns = KEYS_COLUMNS.min(room / 2);
        // A term that is too long for its column gets a line of its own.
        let fits = words::width(&term) < columns;
        if !fits {
            lines.extend(words::wrap(vec![Span::styled(term.clone(), app.look.name())], room));
        }
        let meaning = words::wrap(vec![Span::raw(meaning.to_owned())], room.saturating_sub(columns));
        for (row, mut line) in meaning.into_iter().enumerate() {
            let lead = if fits && row == 0 { term.as_str() } else { "" };
            line.spans
                .insert(0, Span::styled(format!("{lead:columns$}"), app.look.name()));
            lines.push(line);
        }
    };
    for action in Action::ALL {
        let keys: Vec<_> = keymap::labels(*action).collect();
        entry(keys.join(" "), action.meaning());
    }
    entry(String::new(), "");
    for (word, meaning) in MEANINGS {
        entry(word.to_owned(), meaning);
    }
    lines
}
