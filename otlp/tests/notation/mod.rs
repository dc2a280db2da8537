//! Signals as lines of text.

use std::fmt::Write as _;

use standoff_otlp::{Batch, Decoded, Finished, InstanceIx, Source, Started};
use standoff_protocol::stream::{Outcome, Role};

/// What a request said, a line for each signal.
pub(crate) fn describe(decoded: &Decoded) -> String {
    let mut lines = String::new();
    for finished in &decoded.batch.finished {
        lines += &finished_line(&decoded.batch, finished);
    }
    for started in &decoded.batch.started {
        lines += &started_line(&decoded.batch, started);
    }
    if decoded.rejected > 0 {
        lines += &format!("  {}\n", decoded.reason);
    }
    lines
}

fn finished_line(batch: &Batch, finished: &Finished) -> String {
    let mut line = format!("  {} {:016x} has ended", role(finished.role), finished.span_id);
    line += match finished.outcome {
        Outcome::Finished => "",
        Outcome::Error => " in an error",
        Outcome::Timeout => " in a timeout",
        Outcome::Cancelled => ", cancelled",
        Outcome::Expired => ", expired",
    };
    line += &parent(finished.parent_span_id, finished.parent_is_remote);
    if let Some(conversation) = &finished.conversation_id {
        line += &format!(", conversation {conversation}");
    }
    line += &instance(batch, finished.instance);
    line + "\n"
}

fn started_line(batch: &Batch, started: &Started) -> String {
    let span = &started.span;
    let mut line = format!(
        "  {} {:016x} \"{}\" is open",
        role(span.role()),
        span.span_id,
        span.name
    );
    line += &match started.source {
        Source::OpenSpan => String::new(),
        Source::PendingSpan => " (pending)".to_owned(),
        Source::PartialLog { heartbeat } => format!(" (every {heartbeat:?})"),
        Source::PartialTwin => " (twin)".to_owned(),
    };
    line += &parent(span.parent_span_id, span.parent_is_remote);
    let mut say = |name: &str, value: &str| {
        if !value.is_empty() {
            write!(line, ", {name} {value}").ok();
        }
    };
    say("target", &span.target);
    say("conversation", &span.conversation_id);
    say("resources", &span.resources.join("|"));
    if span.timeout_ms > 0 {
        say("timeout", &format!("{} ms", span.timeout_ms));
    }
    if let Some(code) = &started.code {
        say("code", &format!("{}{}:{}", code.function, code.file, code.line));
    }
    line += &instance(batch, started.instance);
    line + "\n"
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Structural => "span",
        Role::Call => "call",
        Role::Handle => "handle",
        Role::Hold => "hold",
        Role::Member => "member",
    }
}

fn parent(id: u64, is_remote: bool) -> String {
    match (id, is_remote) {
        (0, _) => String::new(),
        (id, true) => format!(", under {id:016x} elsewhere"),
        (id, false) => format!(", under {id:016x}"),
    }
}

fn instance(batch: &Batch, instance: InstanceIx) -> String {
    batch.instance(instance).map_or_else(
        || " of nobody".to_owned(),
        |instance| format!(" @ {}/{}", instance.service_name, instance.instance_id),
    )
}
