//! Fits words into columns: counting, cutting and wrapping. Knows nothing of alerts.

use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::look::Glyphs;

/// `1 open call`, `2 open calls`, `1200 open calls`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut to so many columns, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize, glyphs: &Glyphs) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (head, _) = split(text, columns.saturating_sub(1));
    if columns == 0 {
        String::new()
    } else {
        format!("{head}{}", glyphs.ellipsis)
    }
}

/// The longest beginning that fits into so many columns, and the rest.
fn split(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    let fits = text.char_indices().find_map(|(at, c)| {
        used += c.width().unwrap_or(0);
        (used > columns).then_some(at)
    });
    text.split_at(fits.unwrap_or(text.len()))
}

/// The words of a text, each with the space after it. A number goes with the word that says of what, and a pointer with
/// what it says: `0.5 s`, `2 victims`, `◀ first`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let goes_with_next = |word: &str| {
        let number = word.trim_start_matches('(');
        matches!(word, "◀" | "<-") || (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = 0;
        for word in rest.split_inclusive(' ') {
            end += word.len();
            if !word.strip_suffix(' ').is_some_and(goes_with_next) {
                break;
            }
        }
        let (head, tail) = rest.split_at(end);
        rest = tail;
        (!head.is_empty()).then_some(head)
    })
}

/// Breaks styled words into lines of at most so many columns, at spaces where possible. Always gives at least one line.
pub(crate) fn wrap(spans: Vec<Span<'static>>, columns: usize) -> Vec<Line<'static>> {
    let columns = columns.max(1);
    let mut lines = vec![Line::default()];
    let mut used = 0;
    for span in spans {
        for word in words(&span.content) {
            let solid = word.trim_end_matches(' ');
            if used > 0 && used + solid.width() > columns {
                lines.push(Line::default());
                used = 0;
            }
            let mut rest = word;
            while used + rest.trim_end_matches(' ').width() > columns {
                let (head, tail) = split(rest, columns - used);
                // A character that is wider than the whole line is left out.
                let (head, tail) = if head.is_empty() {
                    ("", skip_char(tail))
                } else {
                    (head, tail)
                };
                push(&mut lines, head, &span);
                if tail.is_empty() {
                    rest = tail;
                    break;
                }
                lines.push(Line::default());
                used = 0;
                rest = tail;
            }
            push(&mut lines, rest, &span);
            used += rest.width();
        }
    }
    lines
}

fn skip_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// Appends to the last line, to its last span where the style is the same.
fn push(lines: &mut [Line<'static>], text: &str, like: &Span<'static>) {
    let Some(line) = lines.last_mut() else { return };
    if text.is_empty() {
        return;
    }
    match line.spans.last_mut() {
        Some(last) if last.style == like.style => last.content.to_mut().push_str(text),
        _ => line.spans.push(Span::styled(text.to_owned(), like.style)),
    }
}

/// Facts in one line, each with its style, and a separator between them.
pub(crate) fn joined(facts: Vec<Span<'static>>, separator: &Span<'static>) -> Vec<Span<'static>> {
    let mut spans = Vec::with_capacity(facts.len() * 2);
    for fact in facts {
        if !spans.is_empty() {
            spans.push(separator.clone());
        }
        spans.push(fact);
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::style::{Style, Stylize as _};

    use super::*;
    use crate::look::{Charset, Look};

    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        wrap(vec![Span::raw(text.to_owned())], columns)
            .iter()
            .map(|line| line.to_string().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn breaks_at_spaces_and_else_anywhere() {
        assert_eq!(wrapped("waits for one", 9), ["waits for", "one"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
        assert_eq!(wrapped("漢字漢字", 4), ["漢字", "漢字"]);
    }

    #[test]
    fn numbers_go_with_what_they_count() {
        assert_eq!(wrapped("waits 0.5 s for it", 10), ["waits", "0.5 s for", "it"]);
        assert_eq!(wrapped("in 5.0 s ◀ first", 14), ["in 5.0 s", "◀ first"]);
        assert_eq!(wrapped("service-a-2 · serve", 12), ["service-a-2", "· serve"]);
    }

    #[test]
    fn styles_survive() {
        let lines = wrap(vec![Span::raw("a "), "b c".bold()], 3);
        assert_eq!(
            lines[0].spans,
            [Span::raw("a "), Span::styled("b ", Style::new().bold())]
        );
        assert_eq!(lines[1].spans, [Span::styled("c", Style::new().bold())]);
    }

    #[test]
    fn cuts_with_an_ellipsis() {
        let glyphs = Look::new(false, Charset::Unicode).glyphs();
        assert_eq!(cut("service", 7, glyphs), "service");
        assert_eq!(cut("service", 4, glyphs), "ser…");
        assert_eq!(cut("漢字", 3, glyphs), "漢…");
        assert_eq!(cut("service", 0, glyphs), "");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_narrow_character_is_lost(text in "[a-z0 漢]{0,60}", columns in 2_usize..20) {
            let lines = wrap(vec![Span::raw(text.clone())], columns);
            for line in &lines {
                prop_assert!(line.to_string().trim_end().width() <= columns);
            }
            prop_assert_eq!(lines.iter().map(ToString::to_string).collect::<String>(), text);
        }

        #[test]
        fn any_text_at_any_width_ends(text in any::<String>(), columns in 0_usize..9) {
            prop_assert!(!wrap(vec![Span::raw(text.clone())], columns).is_empty());
            let glyphs = Look::new(false, Charset::Unicode).glyphs();
            prop_assert!(cut(&text, columns, glyphs).width() <= columns);
        }
    }
}
