//! A picture that is kept: what lies in the slot between camera and encoder.

use super::decode::{FrameError, RawImage};
use super::encoding::Encoding;
use super::image_file;

/// Pixels as the camera gave them; image files are decoded. Colours are converted later, by who uses the frame and only
/// where it looks: of 60 frames a second, a planner uses a few, and of each some of the pixels. The memory is used again
/// for the next picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PixelBuffer {
    width: u32,
    height: u32,
    encoding: Encoding,
    step: u32,
    data: Vec<u8>,
}

impl PixelBuffer {
    /// A picture in RGB; `rgb` has `width · height · 3` bytes, which [`Self::view`]'s users check.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        Self { width, height, encoding: Encoding::Rgb8, step: width.saturating_mul(3), data: rgb }
    }

    /// Takes a picture in, checked; files are decoded.
    ///
    /// # Errors
    /// [`FrameError`]; what is in the buffer is then unspecified.
    pub fn load(&mut self, image: &RawImage<'_>) -> Result<(), FrameError> {
        if image.encoding.is_file() {
            (self.width, self.height) = image_file::to_rgb(image.encoding, image.data, &mut self.data)?;
            (self.encoding, self.step) = (Encoding::Rgb8, self.width * 3);
            return Ok(());
        }
        let bytes = image.rows()?.bytes();
        self.data.clear();
        self.data.extend_from_slice(bytes);
        (self.width, self.height) = (image.width, image.height);
        (self.encoding, self.step) = (image.encoding, image.step);
        Ok(())
    }

    /// The picture.
    pub fn view(&self) -> RawImage<'_> {
        let Self { width, height, encoding, step, ref data } = *self;
        RawImage { width, height, encoding, step, data }
    }

    /// Width, pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height, pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_kept_as_it_came_and_a_refused_one_leaves_no_trace_in_the_header() {
        let data: Vec<u8> = (0..64).collect();
        let image = RawImage { width: 4, height: 4, encoding: Encoding::Yuyv, step: 10, data: &data };
        let mut kept = PixelBuffer::default();
        kept.load(&image).unwrap();
        let view = kept.view();
        assert_eq!((view.width, view.height, view.encoding, view.step), (4, 4, Encoding::Yuyv, 10));
        assert_eq!(view.data, &data[..38], "to the last pixel");
        let before = kept.clone();
        assert!(kept.load(&RawImage { step: 3, ..image }).is_err());
        assert_eq!(kept, before);
    }
}
