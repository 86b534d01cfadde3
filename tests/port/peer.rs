//! A participant that shares no code with the adapters: Cyclone DDS in a Python process.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::PATIENCE;

pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("VJEPA_PYTHON") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(path.exists(), "{} does not exist: run `make setup`, or set VJEPA_PYTHON", path.display());
    path
}

/// The other process. Killed when dropped.
pub struct Peer {
    child: Child,
    pub lines: Receiver<serde_json::Value>,
    /// Lines that came while another event was awaited.
    passed_over: RefCell<Vec<serde_json::Value>>,
}

impl Peer {
    /// Starts a task of `tests/python/dds_peer.py` and waits until its endpoints are there.
    pub fn start(domain: u16, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/dds_peer.py");
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .args(["--domain", &domain.to_string()])
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
            .env_remove("CYCLONEDDS_URI")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python interpreter starts");
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap_or(serde_json::Value::Null)).is_err() {
                    return;
                }
            }
        });
        let peer = Self { child, lines, passed_over: RefCell::default() };
        peer.wait("ready");
        peer
    }

    /// The next line with the given event.
    pub fn wait(&self, event: &str) -> serde_json::Value {
        let mut passed_over = self.passed_over.borrow_mut();
        if let Some(at) = passed_over.iter().position(|line| line["event"] == event) {
            return passed_over.remove(at);
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line["event"] == event => return line,
                Ok(other) => passed_over.push(other),
                Err(RecvTimeoutError::Timeout) => panic!("the peer did not say {event:?} in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the peer ended before it said {event:?}; if a Python package is missing, run `make setup`")
                }
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
