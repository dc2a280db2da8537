//! How a process is named so that others on its host can see whether it still lives.
//!
//! Both sides need the same words: the process that names itself, and whoever looks it up. Where the operating system
//! does not say, there is no name.

use std::fs;

use super::Process;

/// What the operating system says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// It has ended; at most its parent has not looked yet.
    pub has_ended: bool,
    /// [`Process::start_ticks`].
    pub start_ticks: u64,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn this() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Some(Self {
            host: this_host()?,
            pid: std::process::id(),
            start_ticks: Stat::parse(&stat)?.start_ticks,
        })
    }
}

/// [`Process::host`] of this process and of all that it can look up: the boot id, and the inode of the process-id
/// namespace.
#[must_use]
pub fn this_host() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}:{}", boot.trim(), inode(namespace.to_str()?)?))
}

/// The inode of a namespace, from a link such as `pid:[4026531836]`.
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

impl Stat {
    /// Reads `/proc/PID/stat`. The name in its second field may hold anything, so fields count from its closing
    /// parenthesis: the third is the state, the twenty-second the start time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        let start_ticks = fields.nth(22 - 3 - 1)?.parse().ok()?;
        Some(Self {
            has_ended: matches!(state, "Z" | "X"),
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 98765 20 21";
        for name in ["(service)", "(a b)", "(a) b)", "((()"] {
            for (state, has_ended) in [("S", false), ("R", false), ("Z", true), ("X", true)] {
                let stat = Stat::parse(&format!("42 {name} {state} {fields}"));
                let expected = Stat {
                    has_ended,
                    start_ticks: 98765,
                };
                assert_eq!(stat, Some(expected), "{name} {state}");
            }
        }
        assert_eq!(Stat::parse("42 (service) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_namespace_is_its_inode() {
        assert_eq!(inode("pid:[4026531836]"), Some(4_026_531_836));
        assert_eq!(inode("net:[1]"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_names_itself_alike_each_time() {
        let process = Process::this().unwrap();
        assert_eq!(Some(&process), Process::this().as_ref());
        assert_eq!(Some(process.host), this_host());
        assert_eq!(process.pid, std::process::id());
        assert!(process.start_ticks > 0);
    }
}
