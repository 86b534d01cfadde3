//! Recordings in place of a camera: MCAP files and rosbag2 folders, folders of images, video files.
//!
//! Pictures come when they came then, or faster, slower, all at once. They are stamped with the time at which they are
//! due now, as a camera's would be; who wants the recorded stamps plays the recording on ROS topics.

mod bag;
mod folder;
mod player;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::bag::Bag;
use self::folder::Folder;
use self::player::{Player, Reel};
use super::gstreamer::{self, Playback};
use super::source::{CameraOpener, FrameSource, SourceError};
use crate::clock::Clock;
use crate::config::parameter::{parameters, read_only};
use crate::shadow::log::METADATA_FILE;
use crate::share;

parameters! {
    /// A recording in place of a camera (`camera.source: replay`).
    pub struct ReplaySettings {
        /// An MCAP file or rosbag2 folder, a folder of JPEG and PNG images (in the order of their names), or a video file
        /// (needs a build with the Cargo feature `gstreamer`).
        path: PathBuf = PathBuf::new() => read_only(),
        /// Topic of the pictures in an MCAP file or rosbag2 folder; empty: the first that has any.
        topic: String = String::new() => read_only(),
        /// How many images of a folder make a second.
        rate_hz: f64 = 30.0 => read_only().unit("Hz").range(0.001..=10_000.0),
        /// 1: as fast as it was recorded, 2: twice as fast. 0: as fast as pictures can be read, and none is left out.
        speed: f64 = 1.0 => read_only().range(0.0..=100.0),
        /// At its end it begins anew.
        repeat: bool = false => read_only(),
    }
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Recording,
    Folder,
    Video,
}

impl Kind {
    /// Of what is there.
    fn of(path: &Path) -> std::io::Result<Self> {
        let is_recording =
            |path: &Path| path.extension().is_some_and(|extension| extension == "mcap" || extension == "db3");
        if !std::fs::metadata(path)?.is_dir() {
            let is_one = is_recording(path) || path.file_name().is_some_and(|name| name == METADATA_FILE);
            return Ok(if is_one { Self::Recording } else { Self::Video });
        }
        for entry in std::fs::read_dir(path)? {
            let entry = entry?.path();
            if is_recording(&entry) || entry.file_name().is_some_and(|name| name == METADATA_FILE) {
                return Ok(Self::Recording);
            }
        }
        Ok(Self::Folder)
    }
}

/// What opens the recording that the settings name.
///
/// # Errors
/// [`SourceError::Fatal`] when there is none, or when it is a video and this build plays none.
pub fn opener(settings: &ReplaySettings, clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    let fatal = |why: String| SourceError::Fatal(format!("camera.replay.path: {why}"));
    if settings.path.as_os_str().is_empty() {
        return Err(fatal("is empty; name a recording, a folder of images or a video file".to_owned()));
    }
    let path = share::locate(&settings.path);
    let kind = Kind::of(&path).map_err(|error| fatal(format!("{}: {error}", path.display())))?;
    if kind == Kind::Video {
        return gstreamer::video(&path, Playback { speed: settings.speed, repeat: settings.repeat }, clock);
    }
    Ok(Box::new(ReplayOpener { settings: settings.clone(), path, kind, clock: Arc::clone(clock) }))
}

/// Opens what needs no other library.
struct ReplayOpener {
    settings: ReplaySettings,
    path: PathBuf,
    kind: Kind,
    clock: Arc<dyn Clock>,
}

impl CameraOpener for ReplayOpener {
    fn describe(&self) -> String {
        format!("replay {}", self.path.display())
    }

    fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        let Self { settings, path, .. } = self;
        let reel: Box<dyn Reel> = match self.kind {
            Kind::Folder => Box::new(Folder::open(path, settings.rate_hz)?),
            _ => Box::new(Bag::open(path, &settings.topic)?),
        };
        Ok(Box::new(Player::new(reel, settings.speed, settings.repeat, Arc::clone(&self.clock))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn refusal(settings: &ReplaySettings) -> String {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        opener(settings, &clock).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(refusal(&ReplaySettings::default()).contains("camera.replay.path: is empty"));
        let settings = ReplaySettings { path: "/nowhere/at_all.mcap".into(), ..ReplaySettings::default() };
        assert!(refusal(&settings).contains("/nowhere/at_all.mcap"));
    }

    #[test]
    fn folders_tell_by_their_content_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1.jpg"), "").unwrap();
        assert_eq!(Kind::of(folder.path()).unwrap(), Kind::Folder);
        std::fs::write(folder.path().join("bag_0.mcap"), "").unwrap();
        assert_eq!(Kind::of(folder.path()).unwrap(), Kind::Recording);
        assert_eq!(Kind::of(&folder.path().join("bag_0.mcap")).unwrap(), Kind::Recording);
        assert_eq!(Kind::of(&folder.path().join("1.jpg")).unwrap(), Kind::Video);
    }

    #[cfg(not(feature = "gstreamer"))]
    #[test]
    fn a_video_names_the_feature_that_plays_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arm.mkv");
        std::fs::write(&path, "").unwrap();
        assert!(refusal(&ReplaySettings { path, ..ReplaySettings::default() }).contains("--features gstreamer"));
    }
}
