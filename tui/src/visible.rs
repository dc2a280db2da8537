//! Makes text from outside harmless: whatever would steer a terminal, reorder a line or hide in it becomes a visible
//! escape such as `\u{1b}`.
//!
//! Everything that enters `app`, and everything that is printed, has passed through here. An alert is rebuilt field by
//! field, so a field that is added to it cannot be forgotten.

use std::fmt::Write as _;

use standoff_protocol::api::{Acknowledgement, Alert, Evidence, Group, Loss, Resource, Task, Wait};

use crate::look::Charset;

/// The longest text that is kept, in characters. Four times what the collector accepts for one name, so that only a
/// summary that joins many names is ever cut.
const CHARS_MAX: usize = 4_096;

/// Whether a character must not reach a terminal as it is.
fn steers(c: char) -> bool {
    // C0, DEL and C1.
    c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Arabic letter mark, Hangul fillers, Khmer inherent vowels: invisible.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            // Mongolian variation selectors.
            | '\u{180b}'..='\u{180f}'
            // Zero-width spaces and joiners, direction marks.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators, embeddings and overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates of direction, deprecated controls.
            | '\u{2060}'..='\u{206f}'
            // Variation selectors: terminals disagree about the width they give.
            | '\u{fe00}'..='\u{fe0f}'
            // Byte order mark; interlinear annotations.
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Shorthand and musical format controls; tags and further variation selectors.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// One text, safe to draw and to print, on one line, and not longer than [`CHARS_MAX`] characters of the original.
pub(crate) fn text(raw: &str, charset: Charset) -> String {
    let mut out = String::with_capacity(raw.len().min(CHARS_MAX));
    for (index, c) in raw.chars().enumerate() {
        if index == CHARS_MAX {
            out.push_str("[cut]");
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The collector's own arrow, in summaries.
            '→' if charset == Charset::Ascii => out.push_str("->"),
            c if steers(c) || (charset == Charset::Ascii && !c.is_ascii()) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// JSON that says the same and is safe to print: what steers a terminal can occur only within its strings, where it
/// is replaced by JSON's own escapes.
pub(crate) fn json(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        if steers(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The same alert with every text made safe.
pub(crate) fn alert(raw: &Alert, charset: Charset) -> Alert {
    let text = |raw: &String| text(raw, charset);
    let tasks = |raw: &[Task]| raw.iter().map(|raw| task(raw, charset)).collect();
    Alert {
        id: text(&raw.id),
        fingerprint: text(&raw.fingerprint),
        occurrences: raw.occurrences,
        kind: raw.kind,
        pattern: text(&raw.pattern),
        state: raw.state,
        severity: raw.severity,
        confirmation: raw.confirmation,
        detected_at: raw.detected_at,
        fired_at: raw.fired_at,
        resolved_at: raw.resolved_at,
        resolution: raw.resolution,
        first_timeout_at: raw.first_timeout_at,
        summary: text(&raw.summary),
        core: tasks(&raw.core),
        core_total: raw.core_total,
        resources: raw
            .resources
            .iter()
            .map(|raw| Resource {
                name: text(&raw.name),
                capacity: raw.capacity,
                held: raw.held,
                queued: raw.queued,
            })
            .collect(),
        resources_total: raw.resources_total,
        victims: tasks(&raw.victims),
        victims_total: raw.victims_total,
        evidence: Evidence {
            events_lost: raw.evidence.events_lost,
            undecided_waits: raw.evidence.undecided_waits,
            losses: raw.evidence.losses.iter().map(|raw| loss(raw, charset)).collect(),
        },
        acknowledged: raw.acknowledged.as_ref().map(|raw| Acknowledgement {
            by: text(&raw.by),
            note: text(&raw.note),
            at: raw.at,
        }),
    }
}

fn loss(raw: &Loss, charset: Charset) -> Loss {
    Loss {
        cause: raw.cause,
        count: raw.count,
        instances: raw.instances.iter().map(|raw| text(raw, charset)).collect(),
    }
}

fn task(raw: &Task, charset: Charset) -> Task {
    let text = |raw: &String| text(raw, charset);
    Task {
        task: text(&raw.task),
        trace_id: text(&raw.trace_id),
        name: text(&raw.name),
        resources: raw.resources.iter().map(text).collect(),
        service: text(&raw.service),
        instance: text(&raw.instance),
        waits: raw
            .waits
            .iter()
            .map(|raw| Wait {
                span_id: text(&raw.span_id),
                trace_id: text(&raw.trace_id),
                name: text(&raw.name),
                target: raw.target.as_ref().map(text),
                state: raw.state,
                blocked_by: raw.blocked_by.iter().map(text).collect(),
                group: raw.group.as_ref().map(|raw| Group {
                    name: text(&raw.name),
                    needed: raw.needed,
                    size: raw.size,
                }),
                started_at: raw.started_at,
                timeout_at: raw.timeout_at,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_becomes_an_escape() {
        let check = |raw: &str, expected: &str| assert_eq!(text(raw, Charset::Unicode), expected);
        check("{:server_a, 42} → é 漢", "{:server_a, 42} → é 漢");
        // OSC 52 sets the clipboard.
        check("\x1b]52;c;aGk=\x07", r"\u{1b}]52;c;aGk=\u{7}");
        // The same as C1: OSC and ST in one character each.
        check("\u{9d}52;c;aGk=\u{9c}", r"\u{9d}52;c;aGk=\u{9c}");
        check("\u{9b}31m", r"\u{9b}31m");
        check("a\u{202e}b\u{2066}c", r"a\u{202e}b\u{2066}c");
        check("a\u{200b}b\u{feff}c\u{e0041}", r"a\u{200b}b\u{feff}c\u{e0041}");
        check("a\nb\tc\u{7f}", r"a\nb\tc\u{7f}");
    }

    #[test]
    fn ascii_only_means_ascii_only() {
        assert_eq!(text("a → é", Charset::Ascii), r"a -> \u{e9}");
    }

    #[test]
    fn a_text_without_end_is_cut() {
        assert!(text(&"x".repeat(1_000_000), Charset::Unicode).len() < CHARS_MAX + 10);
    }

    proptest! {
        #[test]
        fn json_says_the_same_without_what_steers(raw in any::<String>()) {
            let printed = json(&serde_json::to_string(&raw).unwrap());
            prop_assert!(!printed.chars().any(steers));
            prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), raw);
        }

        #[test]
        fn nothing_that_steers_remains(raw in any::<String>()) {
            prop_assert!(!text(&raw, Charset::Unicode).chars().any(steers));
            prop_assert!(text(&raw, Charset::Ascii).chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
