//! An alert as plain text, for people without a terminal to look into: logs, tickets, a pager.

use jiff::Timestamp;
use standoff_protocol::api::Alert;

use crate::board::Entry;
use crate::drawing::{self, Drawing};
use crate::look::{Charset, Look};
use crate::visible;

/// Columns of the text: what fits everywhere.
const COLUMNS: usize = 80;

/// The alert as it stands at `now`. Ends with a line feed.
pub(crate) fn alert(alert: &Alert, now: Timestamp, charset: Charset) -> String {
    let look = Look::new(false, charset);
    let entry = Entry {
        alert: visible::alert(alert, charset),
        missed_at: None,
    };
    let drawing = Drawing {
        entry: &entry,
        look,
        now,
        width: COLUMNS,
    };

    let state = drawing::standing(entry.standing(), look);
    let countdown = drawing::countdown(&entry, look, now);
    let mut lines = vec![
        format!(
            "{state} {}, {countdown}; {}",
            drawing::lasting(&entry, now),
            drawing::extent(&entry.alert)
        ),
        entry.alert.summary.clone(),
        String::new(),
    ];
    lines.extend(drawing::cycle(drawing).iter().map(ToString::to_string));
    lines.push(String::new());
    lines.extend(drawing::facts(drawing).iter().map(ToString::to_string));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use standoff_protocol::api::Resolution;

    use super::*;
    use crate::sample;

    #[test]
    fn a_ring() {
        insta::assert_snapshot!(alert(&sample::ring(), sample::now(), Charset::Unicode));
    }

    #[test]
    fn a_ring_in_ascii() {
        let text = alert(&sample::ring(), sample::now(), Charset::Ascii);
        assert!(text.is_ascii());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_knot() {
        insta::assert_snapshot!(alert(&sample::knot(), sample::now(), Charset::Unicode));
    }

    #[test]
    fn what_is_not_listed_is_counted() {
        let mut large = sample::ring();
        large.core_total = 5000;
        large.resources_total = 5000;
        let text = alert(&large, sample::now(), Charset::Unicode);
        assert!(text.contains("; 5000 tasks, 2 victims"), "{text}");
        assert!(text.contains("\nand 4996 more tasks\n"), "{text}");
        assert!(text.contains(" and 4996 more\n"), "{text}");

        let one = large.core[0].clone();
        large.core.extend(vec![one; 996]);
        let text = alert(&large, sample::now(), Charset::Unicode);
        let more = "\nand 4800 more tasks (800 of them: GET /api/v1/alerts/3c59dc048e885024)\n";
        assert!(text.contains(more), "{text}");
    }

    #[test]
    fn what_has_ended_stands_still() {
        let over = sample::resolved(sample::ring(), Resolution::Timeout);
        let later = sample::now() + std::time::Duration::from_secs(60);
        insta::assert_snapshot!(alert(&over, later, Charset::Unicode));
    }

    #[test]
    fn what_steers_a_terminal_does_not_get_out() {
        let mut evil = sample::ring();
        evil.summary = "\x1b]52;c;aGk=\x07".to_owned();
        evil.core[0].resources = vec!["\u{9b}31m".to_owned()];
        evil.core[1].instance = "a\u{202e}b".to_owned();
        evil.core[2].waits[0].target = Some("a\nb\u{200b}".to_owned());
        let text = alert(&evil, sample::now(), Charset::Unicode);
        for escaped in [r"\u{1b}]52;c;aGk=\u{7}", r"\u{9b}31m", r"a\u{202e}b", r"a\nb\u{200b}"] {
            assert!(text.contains(escaped), "{escaped} is missing in\n{text}");
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
}
