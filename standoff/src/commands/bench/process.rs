//! What Linux tells of a process.

use std::time::Duration;

use anyhow::Context;

/// A size of its memory, in bytes: `VmRSS` now, `VmHWM` at most.
pub(super) fn memory(pid: u32, what: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| gone(pid))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("the system does not tell how much memory process {pid} has"))? << 10)
}

/// How long all its threads together have been on the processor, those that have ended included.
pub(super) fn on_processor(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| gone(pid))?;
    ticks(&stat)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
        .with_context(|| format!("the system does not tell how long process {pid} has been on the processor"))
}

/// In user mode and in the kernel. The fields are counted from behind the name, which may have spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn gone(pid: u32) -> String {
    format!("process {pid} is not there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_do_not_confuse() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 3 0 100 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("77 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(memory(pid, "VmHWM").unwrap() >= memory(pid, "VmRSS").unwrap() / 2);
        assert!(on_processor(pid).unwrap() < Duration::from_secs(3600));
        assert!(memory(pid, "VmNone").is_err());
    }
}
