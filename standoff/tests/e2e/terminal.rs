//! The monitor in a real terminal: bytes out, keys in.

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::support::eventually;

/// A program in a pseudo-terminal, and what its screen shows.
struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    // The terminal lives as long as this.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let (rows, cols) = (40, 120);
        let pty = native_pty_system()
            .openpty(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_standoff"));
        command.args(args);
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            NonZero::new(rows).unwrap(),
            NonZero::new(cols).unwrap(),
            0,
        )));
        let mut reader = pty.master.try_clone_reader().unwrap();
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the program has closed its end.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        let keys = pty.master.take_writer().unwrap();
        Self {
            screen,
            keys,
            child,
            _master: pty.master,
        }
    }

    async fn shows(&self, texts: &[&str]) {
        let shown = || self.screen.lock().unwrap().screen().contents();
        let what = format!("{texts:?} on the screen");
        let all = eventually(&what, async || {
            let shown = shown();
            texts.iter().all(|text| shown.contains(text)).then_some(())
        });
        all.await;
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    async fn ends(&mut self) -> u32 {
        let status = eventually("the end of the monitor", async || self.child.try_wait().unwrap()).await;
        status.exit_code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_demo_opens_the_monitor_and_shows_the_cycle() {
    let mut terminal = Terminal::start(&[
        "demo",
        "--http",
        "127.0.0.1:0",
        "--stream",
        "127.0.0.1:0",
        "--timeout",
        "20s",
    ]);
    terminal.shows(&["No deadlock"]).await;
    terminal.shows(&["FIRING", "{:server_a, 42}"]).await;
    terminal.press("\r");
    terminal
        .shows(&["{:server_a, 42}", "service-b", "{:server_b, 42}", "service-a", "waits"])
        .await;
    terminal.press("?");
    terminal
        .shows(&["this help", "tasks none of which can ever proceed"])
        .await;
    terminal.press("q");
    assert_eq!(terminal.ends().await, 0);
    assert!(
        !terminal.screen.lock().unwrap().screen().alternate_screen(),
        "the terminal is as it was"
    );
}

#[tokio::test]
async fn the_monitor_says_what_to_try_when_there_is_no_collector() {
    let nowhere = format!("http://{}", crate::support::free_address());
    let mut terminal = Terminal::start(&["tui", "--url", &nowhere]);
    terminal.shows(&[&nowhere, "standoff collector"]).await;
    terminal.press("q");
    assert_eq!(terminal.ends().await, 0);
}
