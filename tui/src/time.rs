//! Time as people read it. Owns no clock: every function is given the moments it compares.

use std::time::Duration;

use jiff::Timestamp;

/// From `from` to `to`; zero if `to` is earlier, since the clocks of two machines never quite agree.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// With the precision that is of use: `1.2 s`, `3 min 05 s`, `7 h 12 min`, `2 d 4 h`.
pub(crate) fn text(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs}.{} s", duration.subsec_millis() / 100),
        60..3_600 => format!("{} min {:02} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {:02} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        let check = |ms: u64, expected: &str| assert_eq!(text(Duration::from_millis(ms)), expected);
        check(0, "0.0 s");
        check(1_299, "1.2 s");
        check(59_999, "59.9 s");
        check(185_000, "3 min 05 s");
        check(25_920_000, "7 h 12 min");
        check(187_200_000, "2 d 4 h");
    }

    #[test]
    fn a_clock_that_is_behind_gives_zero() {
        let early = Timestamp::from_second(1).unwrap();
        let late = Timestamp::from_second(3).unwrap();
        assert_eq!(between(early, late), Duration::from_secs(2));
        assert_eq!(between(late, early), Duration::ZERO);
        assert_eq!(between(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        assert!(!text(between(Timestamp::MIN, Timestamp::MAX)).is_empty());
    }
}
