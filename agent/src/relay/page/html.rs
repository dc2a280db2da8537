//! The status page for people.

use std::fmt::Write;

use super::{OfOtlp, Status, presence};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\n\
    <title>standoff relay</title>\n<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}\
    td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}</style>\n<h1>standoff relay</h1>\n";

/// How things are.
pub(super) fn page(upstreams: &[String], status: &Status, otlp: OfOtlp) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a text does not fail.
    write(&mut page, upstreams, status, otlp).ok();
    page
}

fn write(page: &mut String, upstreams: &[String], status: &Status, otlp: OfOtlp) -> std::fmt::Result {
    writeln!(
        page,
        "<p>{} open spans in about {} KiB, {} starts dropped, {} instances refused</p>",
        status.open_spans,
        status.open_bytes / 1024,
        status.dropped_total,
        status.refused_total
    )?;
    if let Some((receiver, sources)) = otlp {
        writeln!(
            page,
            "<p>OTLP: {} sources with {} open spans, {} requests taken, {} told to come again, {} unreadable, {} spans \
             rejected, {} open for too long",
            sources.sources,
            sources.open,
            receiver.accepted,
            receiver.refused,
            receiver.invalid,
            receiver.spans_rejected,
            sources.ended_by_max_open + sources.ended_by_missed_heartbeats
        )?;
    }
    writeln!(
        page,
        "<table><tr><th>upstream<th>state<th>instances<th>starts sent<th>ends sent<th>ends of OTLP sent<th>dropped\
         <th>probes<th>connections"
    )?;
    for (name, it) in upstreams.iter().zip(&status.upstreams) {
        let state = if it.is_connected { "connected" } else { "away" };
        writeln!(
            page,
            "<tr><td>{}<td>{state}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}",
            escape(name),
            it.channels,
            it.counts.started,
            it.counts.finished,
            it.counts.ended,
            it.counts.ended_dropped,
            it.counts.probes,
            it.counts.sessions
        )?;
    }
    writeln!(
        page,
        "</table>\n<table><tr><th>service<th>instance<th>told by<th>state<th>heard of<th>open spans<th>dropped"
    )?;
    for it in &status.instances {
        writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{:.1} s ago<td>{}<td>{}",
            escape(&it.service),
            escape(&it.instance),
            if it.cannot_be_asked { "OTLP" } else { "itself" },
            presence(it.presence),
            it.heard_ago.as_secs_f64(),
            it.open_spans,
            it.dropped
        )?;
    }
    writeln!(page, "</table></html>")
}

/// Names come from outside: they are text, whatever they hold.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
