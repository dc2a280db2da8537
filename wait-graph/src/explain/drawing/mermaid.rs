//! Deadlocks in the language of Mermaid.

use super::{Drawing, Kind};
use crate::deadlock::Deadlock;

/// A drawing of deadlocks as a Mermaid flowchart, which many wikis and code hosts show. The same deadlocks give the same
/// text.
///
/// Of very large ones only a part is drawn, cores before victims. Names are quoted, and cut where they are long.
pub fn to_mermaid(deadlocks: &[Deadlock]) -> String {
    let Drawing { figures, arrows } = Drawing::of(deadlocks);
    let mut lines = vec!["flowchart LR".to_owned()];
    for (place, figure) in figures.iter().enumerate() {
        let label = quoted(&figure.label);
        lines.push(match figure.kind {
            Kind::CoreTask => format!("    n{place}[{label}]:::core"),
            Kind::Victim => format!("    n{place}[{label}]:::victim"),
            Kind::Resource => format!("    n{place}([{label}])"),
            Kind::Rest => format!("    n{place}[{label}]:::rest"),
        });
    }
    for arrow in &arrows {
        let line = if arrow.in_core { "==>" } else { "-.->" };
        lines.push(format!(
            "    n{} {line}|{}| n{}",
            arrow.from,
            quoted(&arrow.label),
            arrow.to
        ));
    }
    lines.push("    classDef core stroke-width:3px".to_owned());
    lines.push("    classDef victim stroke-dasharray:4".to_owned());
    lines.push("    classDef rest stroke:none".to_owned());
    lines.join("\n") + "\n"
}

/// Within quotes Mermaid still reads markup, entities and directives, so whatever could begin one is written as an entity.
fn quoted(label: &str) -> String {
    let mut out = String::from('"');
    for c in label.chars() {
        if c.is_alphanumeric()
            || matches!(
                c,
                ' ' | '_' | '-' | '.' | ':' | '/' | ',' | '+' | '(' | ')' | '{' | '}' | '…'
            )
        {
            out.push(c);
        } else {
            out.push_str(&format!("#{};", u32::from(c)));
        }
    }
    out.push('"');
    out
}
