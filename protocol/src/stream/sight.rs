//! Whether a process of this host still lives. Knows nothing of other hosts, and says so.

use std::fs;
use std::io::ErrorKind;
use std::sync::LazyLock;

use super::Process;
use super::process::{Stat, this_host};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What can be seen of a process from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    Alive,
    /// It was on this host, and is no more.
    Dead,
    /// It is elsewhere, or this host does not tell.
    Unknown,
}

/// Asked for once: it cannot change, and looking must not fail for want of a file descriptor.
static THIS_HOST: LazyLock<Option<String>> = LazyLock::new(this_host);

/// Looks a process up.
pub fn look(process: &Process) -> Sight {
    if process.host.is_empty() || THIS_HOST.as_ref() != Some(&process.host) {
        return Sight::Unknown;
    }
    match fs::read_to_string(format!("/proc/{}/stat", process.pid)) {
        Ok(stat) => judge(&stat, process.start_ticks),
        // It ended between opening and reading.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Sight::Dead,
        Err(error) if error.kind() == ErrorKind::NotFound => unlisted(process.pid),
        // It is there; what stood in the way is ours, and will pass.
        Err(_) => Sight::Alive,
    }
}

/// `/proc` may hide the processes of other users (`hidepid`), but no process hides from signals.
fn unlisted(pid: u32) -> Sight {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Sight::Unknown;
    };
    match test_kill_process(pid) {
        Err(Errno::SRCH) => Sight::Dead,
        Ok(()) | Err(_) => Sight::Unknown,
    }
}

/// Another start time is another process.
fn judge(stat: &str, start_ticks: u64) -> Sight {
    match Stat::parse(stat) {
        None => Sight::Unknown,
        Some(stat) if stat.has_ended || stat.start_ticks != start_ticks => Sight::Dead,
        Some(_) => Sight::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 777 1000 10 18446744073709551615";

    #[test]
    fn a_process_is_the_one_that_started_then() {
        assert_eq!(judge(STAT, 777), Sight::Alive);
        assert_eq!(judge(STAT, 778), Sight::Dead);
        assert_eq!(judge(&STAT.replace(") S ", ") Z "), 777), Sight::Dead);
        assert_eq!(judge("nonsense", 777), Sight::Unknown);
    }

    #[test]
    fn this_process_lives_and_a_foreign_host_is_unknown() {
        let me = Process::this().unwrap();
        assert_eq!(look(&me), Sight::Alive);
        let earlier = Process {
            start_ticks: me.start_ticks + 1,
            ..me.clone()
        };
        assert_eq!(look(&earlier), Sight::Dead);
        let elsewhere = Process {
            host: "elsewhere".into(),
            ..me
        };
        assert_eq!(look(&elsewhere), Sight::Unknown);
    }

    #[test]
    fn a_process_that_was_waited_for_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Process {
            pid: child.id(),
            ..Process::this().unwrap()
        };
        child.wait().unwrap();
        assert_eq!(look(&process), Sight::Dead);
        assert_eq!(unlisted(std::process::id()), Sight::Unknown, "it is there, and hidden");
    }
}
