//! Pictures that arrive on time and show nothing: a camera that hangs and repeats one picture, and one in the dark.

use std::time::Duration;

use super::decode::{FrameError, RawImage};
use crate::clock::MonotonicTime;

/// Rows that the brightness is taken from.
const SAMPLED_ROWS: usize = 32;

/// What is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PictureFault {
    /// It has not changed for too long.
    #[error("the picture has not changed for {for_s:.1} s (the same bytes, or the same stamp): the camera hangs")]
    Frozen {
        /// How long, s.
        for_s: f64,
    },
    /// There is no light.
    #[error("the picture is black (mean level {level:.1} of 255): lens covered, no light, or no exposure")]
    Black {
        /// Mean of all channels, 0 to 255.
        level: f64,
    },
}

/// Settings of [`PictureWatch`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WatchSettings {
    /// A picture that has not changed for this long is frozen; zero: not watched.
    pub frozen_after: Duration,
    /// Mean level up to which a picture is black, 0 to 255; negative: not watched.
    pub black_level: f64,
}

impl WatchSettings {
    /// Watches nothing.
    pub const OFF: Self = Self { frozen_after: Duration::ZERO, black_level: -1.0 };
}

/// Looks at every picture of one camera.
#[derive(Debug)]
pub struct PictureWatch {
    settings: WatchSettings,
    /// Checksum of the last picture, and when that was first seen.
    last: Option<(u32, MonotonicTime)>,
    /// Some pixels in RGB.
    row: Vec<u8>,
}

impl PictureWatch {
    /// Nothing seen yet.
    pub fn new(settings: WatchSettings) -> Self {
        Self { settings, last: None, row: Vec::new() }
    }

    /// Forgets the last picture: the camera was opened anew.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Judges a picture that was taken at `taken`; `Ok(None)` when nothing is wrong with it.
    ///
    /// # Errors
    /// [`FrameError`] when the header and the bytes do not fit together.
    pub fn look(&mut self, image: &RawImage<'_>, taken: MonotonicTime) -> Result<Option<PictureFault>, FrameError> {
        let rows = image.rows()?;
        if !self.settings.frozen_after.is_zero() {
            let sum = crc32fast::hash(rows.bytes());
            match self.last {
                Some((last, since)) if last == sum => {
                    let unchanged = taken.since(since);
                    if unchanged >= self.settings.frozen_after {
                        return Ok(Some(PictureFault::Frozen { for_s: unchanged.as_secs_f64() }));
                    }
                }
                _ => self.last = Some((sum, taken)),
            }
        }
        if self.settings.black_level >= 0.0 {
            let step = rows.height().div_ceil(SAMPLED_ROWS);
            self.row.resize(rows.width() * 3, 0);
            let (mut sum, mut count) = (0_u64, 0_u64);
            for y in (step / 2..rows.height()).step_by(step) {
                rows.read(y, 0..rows.width(), &mut self.row);
                sum += self.row.iter().map(|&level| u64::from(level)).sum::<u64>();
                count += self.row.len() as u64;
            }
            let level = sum as f64 / count.max(1) as f64;
            if level <= self.settings.black_level {
                return Ok(Some(PictureFault::Black { level }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::encoding::Encoding;

    const SETTINGS: WatchSettings = WatchSettings { frozen_after: Duration::from_secs(2), black_level: 2.0 };

    fn look(watch: &mut PictureWatch, data: &[u8], ms: u64) -> Option<PictureFault> {
        let image = RawImage { width: 8, height: 4, encoding: Encoding::Mono8, step: 8, data };
        watch.look(&image, MonotonicTime(ms * 1_000_000)).unwrap()
    }

    #[test]
    fn a_picture_that_does_not_change_is_frozen_after_a_while_and_one_changed_byte_ends_that() {
        let mut watch = PictureWatch::new(SETTINGS);
        let mut data = [100; 32];
        for ms in (0..2000).step_by(33) {
            assert_eq!(look(&mut watch, &data, ms), None);
        }
        assert_eq!(look(&mut watch, &data, 2000), Some(PictureFault::Frozen { for_s: 2.0 }));
        data[31] += 1;
        assert_eq!(look(&mut watch, &data, 2033), None);
        assert_eq!(look(&mut watch, &data, 4032), None);
        assert!(look(&mut watch, &data, 4033).is_some());
        watch.reset();
        assert_eq!(look(&mut watch, &data, 4066), None);
    }

    #[test]
    fn a_dark_picture_is_told_by_its_mean() {
        let mut watch = PictureWatch::new(SETTINGS);
        assert!(matches!(look(&mut watch, &[1; 32], 0), Some(PictureFault::Black { level }) if level == 1.0));
        assert_eq!(look(&mut watch, &[3; 32], 33), None);
    }

    #[test]
    fn black_is_black_in_limited_range_too() {
        let mut watch = PictureWatch::new(SETTINGS);
        let image = RawImage { width: 2, height: 1, encoding: Encoding::Yuyv, step: 4, data: &[16, 128, 16, 128] };
        assert!(matches!(watch.look(&image, MonotonicTime(0)), Ok(Some(PictureFault::Black { .. }))));
    }

    #[test]
    fn what_is_not_watched_is_not_found() {
        let mut watch = PictureWatch::new(WatchSettings::OFF);
        assert!((0..100).all(|s| look(&mut watch, &[0; 32], s * 1000).is_none()));
    }
}
