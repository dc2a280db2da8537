//! The lines of the log, on their way to standard error.
//!
//! A disk that is full makes writing fail, and a pipe that nobody reads makes it wait. Neither may stop detection, so a
//! thread of its own writes, and whoever logs only puts a line in its queue. What cannot be kept or written is counted, and
//! the next line that can be written says so.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written: what a storm of alerts says in some milliseconds, about a megabyte.
const LINES_MAX: usize = 4096;

/// How long the end of the process waits for the last lines. A pipe that nobody reads takes none.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// The lines of this process, once it logs.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Takes lines. Never waits, and never fails.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: SyncSender<Line>,
    /// Lines that were lost, and of which nothing has been said yet.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// Everything before it has been written once this is dropped.
    Written(SyncSender<()>),
}

impl Lines {
    /// Starts the thread.
    pub(crate) fn to_standard_error(is_json: bool) -> anyhow::Result<Self> {
        let (lines, queue) = Self::new();
        let lost = Arc::clone(&lines.lost);
        std::thread::Builder::new()
            .name("standoff-log".into())
            .spawn(move || write_all(&queue, std::io::stderr(), &lost, is_json))
            .context("cannot start the thread that writes the log")?;
        LINES.set(lines.clone()).ok();
        Ok(lines)
    }

    fn new() -> (Self, Receiver<Line>) {
        let (queue, lines) = sync_channel(LINES_MAX);
        let lost = Arc::default();
        (Self { queue, lost }, lines)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    /// The subscriber writes each line in one go.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.queue.try_send(Line::Text(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until what was logged is written, for a second at most.
pub(crate) fn finish() {
    let Some(lines) = LINES.get() else { return };
    let (written, is_written) = sync_channel(0);
    if lines.queue.try_send(Line::Written(written)).is_ok() {
        // It says nothing, and is dropped.
        is_written.recv_timeout(FINISH_WITHIN).ok();
    }
}

fn write_all(queue: &Receiver<Line>, mut out: impl Write, lost: &AtomicU64, is_json: bool) {
    for line in queue {
        match line {
            Line::Text(line) => {
                if write(&mut out, &line, lost, is_json).is_err() {
                    lost.fetch_add(1, Relaxed);
                }
            }
            Line::Written(written) => drop(written),
        }
    }
}

/// Writes a line, and before it how many were lost.
fn write(out: &mut impl Write, line: &[u8], lost: &AtomicU64, is_json: bool) -> std::io::Result<()> {
    let count = lost.load(Relaxed);
    if count > 0 {
        let note = if is_json {
            format!(
                "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"lines of this log were lost\",\"lines\":{count}}}}}\n"
            )
        } else {
            format!("WARN lines of this log were lost lines={count}\n")
        };
        out.write_all(note.as_bytes())?;
        lost.fetch_sub(count, Relaxed);
    }
    out.write_all(line)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    /// A disk that is full for so many writes.
    struct Disk {
        full_for: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.full_for > 0 {
                self.full_for -= 1;
                return Err(Error::from(ErrorKind::StorageFull));
            }
            self.written.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(lines: &Lines, queue: &Receiver<Line>, full_for: usize, is_json: bool) -> String {
        let mut disk = Disk {
            full_for,
            written: Vec::new(),
        };
        for line in queue.try_iter() {
            let Line::Text(line) = line else { continue };
            if write(&mut disk, &line, &lines.lost, is_json).is_err() {
                lines.lost.fetch_add(1, Relaxed);
            }
        }
        String::from_utf8(disk.written).unwrap()
    }

    fn log(lines: &Lines, line: &str) {
        lines.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_told_once_it_does() {
        let (lines, queue) = Lines::new();
        for line in ["a\n", "b\n", "c\n"] {
            log(&lines, line);
        }
        assert_eq!(
            written(&lines, &queue, 2, false),
            "WARN lines of this log were lost lines=2\nc\n"
        );
        log(&lines, "d\n");
        assert_eq!(written(&lines, &queue, 0, false), "d\n");
    }

    #[test]
    fn whoever_logs_does_not_wait_for_a_reader_who_does_not_read() {
        let (lines, queue) = Lines::new();
        for _ in 0..LINES_MAX + 7 {
            log(&lines, "x\n");
        }
        let written = written(&lines, &queue, 0, true);
        let mut told = written.lines();
        let note = told.next().unwrap_or_default();
        let note: serde_json::Value = serde_json::from_str(note).unwrap();
        assert_eq!(note["fields"]["lines"], 7);
        assert_eq!(told.count(), LINES_MAX);
    }

    #[test]
    fn the_thread_goes_on_after_errors_and_says_when_all_is_written() {
        let (lines, queue) = Lines::new();
        let lost = Arc::clone(&lines.lost);
        let disk = Disk {
            full_for: 1,
            written: Vec::new(),
        };
        let thread = std::thread::spawn(move || write_all(&queue, disk, &lost, false));
        log(&lines, "lost\n");
        let (written, is_written) = sync_channel(0);
        lines.queue.send(Line::Written(written)).unwrap();
        assert!(is_written.recv().is_err(), "it is dropped");
        assert_eq!(lines.lost.load(Relaxed), 1);
        drop(lines);
        thread.join().unwrap();
    }
}
