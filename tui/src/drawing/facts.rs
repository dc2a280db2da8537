//! What is known about an alert beside its cycle: victims, resources, and how far to trust it.

use ratatui::text::{Line, Span};
use standoff_protocol::api::{Loss, Resource, Task};

use super::{Drawing, place, timeout, trust, wait_short};
use crate::{time, words};

/// Victims, resources and evidence, one after the other.
pub(crate) fn facts(drawing: Drawing<'_>) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    victims(drawing, &mut out);
    resources(drawing, &mut out);
    evidence(drawing, &mut out);
    out
}

fn heading(drawing: Drawing<'_>, out: &mut Vec<Line<'static>>, name: &str, remark: &str) {
    if !out.is_empty() {
        out.push(Line::default());
    }
    let spans = vec![
        Span::styled(name.to_owned(), drawing.look.name()),
        Span::styled(remark.to_owned(), drawing.look.dim()),
    ];
    out.extend(words::wrap(spans, drawing.width));
}

/// A point of a list, its further lines indented.
fn point(drawing: Drawing<'_>, out: &mut Vec<Line<'static>>, spans: Vec<Span<'static>>) {
    for (row, mut line) in words::wrap(spans, drawing.width.saturating_sub(2))
        .into_iter()
        .enumerate()
    {
        let lead = if row == 0 {
            format!("{} ", drawing.look.glyphs().dot)
        } else {
            "  ".to_owned()
        };
        line.spans.insert(0, Span::styled(lead, drawing.look.line()));
        out.push(line);
    }
}

fn victims(drawing: Drawing<'_>, out: &mut Vec<Line<'static>>) {
    let alert = drawing.alert();
    if alert.victims_total == 0 && alert.victims.is_empty() {
        return;
    }
    let remark = if drawing.is_over() {
        " were stuck behind it"
    } else {
        " stuck behind it"
    };
    heading(drawing, out, &words::count(alert.victims_total, "victim"), remark);
    for task in &alert.victims {
        point(drawing, out, victim(drawing, task));
    }
    let named = alert.victims.len() as u64;
    if alert.victims_total > named {
        point(
            drawing,
            out,
            vec![Span::raw(format!("and {} more", alert.victims_total - named))],
        );
    }
}

/// `runner-1 · request 42: waits 1.3 s for service-a, times out in 3.7 s`
fn victim(drawing: Drawing<'_>, task: &Task) -> Vec<Span<'static>> {
    let mut spans = vec![Span::styled(place(task), drawing.look.name()), drawing.dot()];
    spans.push(Span::raw(format!("{}: ", task.name)));
    for (nth, call) in task.waits.iter().enumerate() {
        if nth > 0 {
            spans.push(Span::raw("; "));
        }
        spans.extend(wait_short(drawing, call));
        if let Some(timeout) = timeout(drawing, call) {
            spans.push(Span::raw(", "));
            spans.push(timeout);
        }
    }
    spans
}

fn resources(drawing: Drawing<'_>, out: &mut Vec<Line<'static>>) {
    let resources = &drawing.alert().resources;
    if resources.is_empty() {
        return;
    }
    heading(drawing, out, "Resources", "");
    for resource in resources {
        let Resource {
            name,
            capacity,
            held,
            queued,
        } = resource;
        let mut facts = match capacity {
            Some(capacity) => format!(": {held} of {capacity} held"),
            None => format!(": {held} held, capacity unknown"),
        };
        if *queued > 0 {
            facts.push_str(&format!(", {queued} queued"));
        }
        point(
            drawing,
            out,
            vec![Span::styled(name.clone(), drawing.look.name()), Span::raw(facts)],
        );
    }
    let listed = resources.len() as u64;
    if drawing.alert().resources_total > listed {
        let more = drawing.alert().resources_total - listed;
        point(drawing, out, vec![Span::raw(format!("and {more} more"))]);
    }
}

fn evidence(drawing: Drawing<'_>, out: &mut Vec<Line<'static>>) {
    let (alert, look) = (drawing.alert(), drawing.look);
    heading(drawing, out, "How far to trust it", "");
    point(drawing, out, vec![Span::raw(trust(alert))]);
    let mut seen = format!("seen {}", words::count(alert.occurrences, "time"));
    if let Some(fired_at) = alert.fired_at {
        let took = time::between(alert.detected_at, fired_at);
        let took = if took.as_secs() == 0 {
            format!("{} ms", took.as_millis())
        } else {
            time::text(took)
        };
        seen.push_str(&format!(
            "; this time since {:.3}, confirmed within {took}",
            alert.detected_at
        ));
    }
    point(drawing, out, vec![Span::raw(seen)]);
    if alert.evidence.events_lost > 0 {
        let lost = words::count(alert.evidence.events_lost, "event");
        let spans = vec![
            Span::styled(format!("{lost} lost"), look.alarm()),
            Span::raw(": a missing cycle proves nothing"),
        ];
        point(drawing, out, spans);
    }
    if !alert.evidence.losses.is_empty() {
        let of = |loss: &Loss| match &*loss.instances.join(", ") {
            "" => format!("{} {}", loss.cause, loss.count),
            most_of_it => format!("{} {} ({most_of_it})", loss.cause, loss.count),
        };
        let losses: Vec<String> = alert.evidence.losses.iter().map(of).collect();
        point(drawing, out, vec![Span::raw(format!("lost: {}", losses.join(", ")))]);
    }
    if alert.evidence.undecided_waits > 0 {
        let waits = words::count(alert.evidence.undecided_waits, "wait");
        point(
            drawing,
            out,
            vec![Span::raw(format!(
                "{waits} undecided: nothing is known about the target"
            ))],
        );
    }
    if let Some(acknowledged) = &alert.acknowledged {
        let note = if acknowledged.note.is_empty() {
            String::new()
        } else {
            format!(": {}", acknowledged.note)
        };
        point(
            drawing,
            out,
            vec![Span::raw(format!("acknowledged by {}{note}", acknowledged.by))],
        );
    }
    point(
        drawing,
        out,
        vec![Span::styled(
            format!("alert {}, fingerprint {}", alert.id, alert.fingerprint),
            look.dim(),
        )],
    );
}
