//! From messages of the native stream to what the engine understands. Keeps no state.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::stream::{self, Malformed, Started, check_spans};
use standoff_wait_graph::{
    Call, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

/// The spans of one message, which are open at `now`.
///
/// # Errors
///
/// The sender does not keep to the protocol; none of them is to be taken in.
pub(crate) fn spans(
    instance: InstanceId,
    now: Duration,
    started: Vec<Started>,
) -> Result<impl Iterator<Item = Span>, Malformed> {
    check_spans(&started)?;
    Ok(started.into_iter().map(move |started| span(instance, now, started)))
}

/// A span that has been checked.
fn span(instance: InstanceId, now: Duration, started: Started) -> Span {
    // Without one it has no bytes.
    let trace = started
        .trace_id
        .as_slice()
        .try_into()
        .map_or(TraceId::default(), |bytes| TraceId(u128::from_be_bytes(bytes)));
    let parent = span_id(started.parent_span_id).map(|id| Parent {
        id,
        remote: started.parent_is_remote,
    });
    let resources = started.resources.iter().map(|it| it.as_str().into()).collect();
    let capacity = (started.capacity > 0).then_some(started.capacity);
    let units = started.units.max(1);
    let role = match started.role() {
        stream::Role::Structural => Role::Structural,
        stream::Role::Call => Role::Call(Call {
            target: text(&started.target),
            units,
            group: started.wait_group.as_ref().map(wait_group),
            detached: started.detached,
            timeout: (started.timeout_ms > 0).then(|| Duration::from_millis(started.timeout_ms)),
        }),
        stream::Role::Handle => Role::Handle(Handle { resources, capacity }),
        stream::Role::Hold => Role::Hold(Hold {
            resources,
            capacity,
            units,
        }),
        stream::Role::Member => Role::Member(Member { resources, units }),
    };
    Span {
        id: SpanId(started.span_id),
        trace,
        instance,
        parent,
        task: span_id(started.task_span_id),
        name: started.name.into(),
        conversation: text(&started.conversation_id),
        role,
        started_at: now.saturating_sub(Duration::from_nanos(started.age_ns)),
    }
}

fn wait_group(group: &stream::WaitGroup) -> WaitGroup {
    let quorum = (group.needed > 0 && group.size > 0).then_some(Quorum {
        needed: group.needed,
        size: group.size,
    });
    WaitGroup {
        name: group.name.as_str().into(),
        quorum,
    }
}

fn span_id(id: u64) -> Option<SpanId> {
    (id != 0).then_some(SpanId(id))
}

/// A text that is not empty.
fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: InstanceId = InstanceId(1);
    const NOW: Duration = Duration::from_secs(100);

    fn span(started: Started) -> Result<Span, Malformed> {
        Ok(spans(INSTANCE, NOW, vec![started])?.next().unwrap())
    }

    fn call() -> Started {
        Started {
            span_id: 7,
            role: stream::Role::Call.into(),
            target: "service-b".into(),
            age_ns: 2_000_000_000,
            timeout_ms: 5000,
            ..Default::default()
        }
    }

    #[test]
    fn a_call_started_as_long_ago_as_its_age_says() {
        let span = span(call()).unwrap();
        assert_eq!(span.started_at, Duration::from_secs(98));
        let Role::Call(call) = span.role else {
            panic!("not a call: {:?}", span.role)
        };
        assert_eq!(call.target.as_deref(), Some("service-b"));
        assert_eq!(call.timeout, Some(Duration::from_secs(5)));
        assert_eq!(call.units, 1);
    }

    #[test]
    fn an_age_beyond_the_epoch_is_cut() {
        let started = Started {
            age_ns: u64::MAX,
            ..call()
        };
        assert_eq!(span(started).unwrap().started_at, Duration::ZERO);
    }

    #[test]
    fn a_group_that_lacks_a_number_has_no_quorum() {
        let group = stream::WaitGroup {
            name: "g".into(),
            needed: 1,
            size: 0,
        };
        let started = Started {
            wait_group: Some(group),
            ..call()
        };
        let Role::Call(call) = span(started).unwrap().role else {
            panic!("not a call")
        };
        assert_eq!(call.group.unwrap().quorum, None);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let error = span(Started { span_id: 0, ..call() }).unwrap_err();
        assert_eq!(error.to_string(), "span 0000000000000000: a span id must not be 0");
    }
}
