//! What is recorded, and where.

use std::path::PathBuf;

use crate::config::parameter::{choices, parameters, read_only};

parameters! {
    /// The recording of what the planner sees, plans and is told.
    pub struct RecordingConfig {
        /// Whether to record while the node is configured.
        enabled: bool = false => read_only(),
        /// Where recordings are made, each in a folder of its own that is named by the time of its beginning.
        directory: PathBuf = PathBuf::from("recordings") => read_only().not_empty(),
        /// A file of a recording ends at this size, and the next begins.
        split_mb: u64 = 1024 => read_only().unit("MB").range(1..=1_000_000),
        /// Or when it is this old.
        split_s: f64 = 600.0 => read_only().unit("s").range(1.0..=86_400.0),
        /// Recording pauses while less than this is free on the disk.
        min_free_mb: u64 = 2048 => read_only().unit("MB").range(0..=100_000_000),
        /// Whether camera pictures are recorded, whether or not the planner uses them.
        images: bool = true => read_only(),
        /// At most so many of them per second; 0: all.
        image_rate_hz: f64 = 5.0 => read_only().unit("Hz").range(0.0..=1_000.0),
        /// Quality of these as JPEG, in their full size.
        jpeg_quality: u32 = 85 => read_only().range(1..=100),
        /// Latents of frames and goals: `none`, `f16`, or `f32`, from which plans are reproduced exactly.
        latents: Latents = Latents::Off => read_only(),
    }
}

choices! {
    /// Whether latents are recorded, and as what.
    #[derive(Default)]
    pub enum Latents {
        /// Not at all.
        #[default]
        Off = "none",
        /// Half precision: half the space, and plans that nearly agree.
        F16 = "f16",
        /// As they are.
        F32 = "f32",
    }
}
