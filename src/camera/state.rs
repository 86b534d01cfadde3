//! How a camera is doing, for status.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What the camera does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraState {
    /// No frame has come yet.
    #[default]
    Waiting,
    /// Frames come and are used.
    Streaming,
    /// The device is missing, busy or unplugged; it is opened anew from time to time.
    Lost,
    /// Frames come, and always the same.
    Frozen,
    /// Frames come and show nothing.
    Black,
    /// Frames come and cannot be used.
    Refused,
    /// The recording is over.
    Ended,
    /// It will not be opened again.
    GivenUp,
}

impl CameraState {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Waiting, "waiting"),
        (Self::Streaming, "streaming"),
        (Self::Lost, "camera_lost"),
        (Self::Frozen, "frozen"),
        (Self::Black, "black"),
        (Self::Refused, "refused"),
        (Self::Ended, "ended"),
        (Self::GivenUp, "given_up"),
    ];

    /// Its name in status.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

/// How a camera is doing. Written by the thread that its frames come on, read by all.
#[derive(Debug, Default)]
pub struct CameraStatus {
    state: AtomicU8,
    skipped: AtomicU64,
    lost: AtomicU64,
    clock_jumps: AtomicU64,
}

impl CameraStatus {
    /// What it does.
    pub fn state(&self) -> CameraState {
        let index = usize::from(self.state.load(Ordering::Relaxed));
        CameraState::ALL.get(index).map_or(CameraState::Waiting, |(state, _)| *state)
    }

    /// Frames that the camera took and that never came here: the source left them out for newer ones.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Times that it was lost, or that a try to open it failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Times that ROS time was found to have been set between two frames.
    pub fn clock_jumps(&self) -> u64 {
        self.clock_jumps.load(Ordering::Relaxed)
    }

    /// Says what it does now.
    pub fn set(&self, state: CameraState) {
        let index = CameraState::ALL.iter().position(|(known, _)| *known == state).unwrap_or(0);
        self.state.store(index as u8, Ordering::Relaxed);
        if state == CameraState::Lost {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts frames that were left out.
    pub fn skip(&self, frames: u64) {
        self.skipped.fetch_add(frames, Ordering::Relaxed);
    }

    /// Says how often ROS time was set so far.
    pub fn set_clock_jumps(&self, jumps: u64) {
        self.clock_jumps.store(jumps, Ordering::Relaxed);
    }
}
