//! What can be set about the library, from code and from the environment, and what is accepted.

use std::time::Duration;

use standoff_protocol::ports;

/// A call is reported once it has been open for this long. A deadlock lasts, so nothing is missed, and most calls are
/// over before.
pub(crate) const REPORT_AFTER: Duration = Duration::from_millis(20);
/// How often the collector hears of the instance at least.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the instance is believed alive without news of it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// How often reports are flushed. Half of the 10 ms that the detection may take beyond [`REPORT_AFTER`].
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(5);

const UPSTREAM_VARIABLE: &str = "STANDOFF_UPSTREAM";
const REPORT_AFTER_VARIABLE: &str = "STANDOFF_REPORT_AFTER";
const HEARTBEAT_VARIABLE: &str = "STANDOFF_HEARTBEAT";
const LEASE_VARIABLE: &str = "STANDOFF_LEASE";

const URL_ACCEPTED: &str = "the URL of a collector or relay, such as `http://127.0.0.1:4381`";
const DURATION_ACCEPTED: &str = "a whole number with a unit (`ns`, `us`, `ms`, `s` or `m`), such as `20ms`, or `0`";
const POSITIVE_ACCEPTED: &str = "a whole number above 0 with a unit (`ns`, `us`, `ms`, `s` or `m`), such as `20ms`";

/// A variable of the environment that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{value}`, which is not {accepted}")]
pub struct ConfigError {
    /// The name of the variable.
    pub variable: &'static str,
    /// What it was set to.
    pub value: String,
    /// What would have been accepted.
    pub accepted: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) upstream: String,
    pub(crate) report_after: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) lease: Duration,
    pub(crate) flush_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            upstream: format!("http://{}", ports::STREAM),
            report_after: REPORT_AFTER,
            heartbeat: HEARTBEAT,
            lease: LEASE,
            flush_every: FLUSH_EVERY,
        }
    }
}

impl Settings {
    /// Overrides what `get` has a value for.
    pub(crate) fn read(&mut self, get: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        if let Some(value) = get(UPSTREAM_VARIABLE) {
            if !is_url(&value) {
                return Err(ConfigError {
                    variable: UPSTREAM_VARIABLE,
                    value,
                    accepted: URL_ACCEPTED,
                });
            }
            self.upstream = value;
        }
        let durations = [
            (REPORT_AFTER_VARIABLE, &mut self.report_after, DURATION_ACCEPTED),
            (HEARTBEAT_VARIABLE, &mut self.heartbeat, POSITIVE_ACCEPTED),
            (LEASE_VARIABLE, &mut self.lease, POSITIVE_ACCEPTED),
        ];
        for (variable, setting, accepted) in durations {
            let Some(value) = get(variable) else { continue };
            match parse_duration(&value) {
                Some(duration) if accepted == DURATION_ACCEPTED || !duration.is_zero() => *setting = duration,
                Some(_) | None => {
                    return Err(ConfigError {
                        variable,
                        value,
                        accepted,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether this is a URL that the library can connect to. TLS is not supported.
pub(crate) fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<tonic::transport::Uri>() else {
        return false;
    };
    uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ns" => Some(Duration::from_nanos(number)),
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variable: &'static str, value: &str) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        settings.read(|asked| (asked == variable).then(|| value.to_owned()))?;
        Ok(settings)
    }

    #[test]
    fn durations_have_units() {
        let cases = [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("20ms", Duration::from_millis(20)),
            ("500us", Duration::from_micros(500)),
            ("7ns", Duration::from_nanos(7)),
            ("2m", Duration::from_secs(120)),
        ];
        for (text, expected) in cases {
            assert_eq!(
                read(REPORT_AFTER_VARIABLE, text).unwrap().report_after,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn bad_durations_name_variable_value_and_what_is_accepted() {
        for bad in [
            "",
            "20",
            "ms",
            "-1s",
            "1.5s",
            "1h",
            "99999999999999999999s",
            "307445734561825861m",
            "1 s",
        ] {
            let error = read(REPORT_AFTER_VARIABLE, bad).unwrap_err();
            assert_eq!((error.variable, error.value.as_str()), (REPORT_AFTER_VARIABLE, bad));
        }
        assert_eq!(
            read(REPORT_AFTER_VARIABLE, "20").unwrap_err().to_string(),
            "STANDOFF_REPORT_AFTER is `20`, which is not a whole number with a unit (`ns`, `us`, `ms`, `s` or `m`), \
             such as `20ms`, or `0`",
        );
    }

    #[test]
    fn only_report_after_may_be_zero() {
        for variable in [HEARTBEAT_VARIABLE, LEASE_VARIABLE] {
            assert_eq!(read(variable, "0").unwrap_err().accepted, POSITIVE_ACCEPTED);
        }
    }

    #[test]
    fn the_upstream_is_a_plain_http_url() {
        assert_eq!(
            read(UPSTREAM_VARIABLE, "http://relay:4381").unwrap().upstream,
            "http://relay:4381"
        );
        for bad in ["", "relay:4381", "https://relay:4381", "http://", "ftp://relay"] {
            assert_eq!(
                read(UPSTREAM_VARIABLE, bad).unwrap_err().accepted,
                URL_ACCEPTED,
                "{bad}"
            );
        }
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        let mut settings = Settings::default();
        settings.read(|_| None).unwrap();
        assert_eq!(settings.upstream, "http://127.0.0.1:4381");
        assert_eq!(settings.report_after, REPORT_AFTER);
    }
}
