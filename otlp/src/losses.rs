//! What was lost, by the causes that the native stream knows.

use standoff_protocol::stream::LossCause;

use crate::receiver::Counts;
use crate::sources::SourceCounts;

/// What a receiver and its sources have lost since they were made. `unwanted` are the starts and ends of sources that
/// whoever was told of them did not want.
pub fn losses(counts: &Counts, sources: &SourceCounts, unwanted: u64) -> [(LossCause, u64); 5] {
    [
        (LossCause::OtlpRejected, counts.spans_rejected + counts.invalid),
        (
            LossCause::OtlpSpans,
            sources.refused_spans + sources.refused_ends + unwanted,
        ),
        (LossCause::OtlpSources, sources.refused_sources),
        (LossCause::OtlpRequests, counts.refused),
        (
            LossCause::OtlpExpired,
            sources.ended_by_max_open + sources.ended_by_missed_heartbeats,
        ),
    ]
}
