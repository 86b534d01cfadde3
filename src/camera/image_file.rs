//! Pictures that come as image files: `CompressedImage` messages, MJPG cameras, goal images.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

use super::decode::{FrameError, MAX_SIDE};
use super::encoding::Encoding;

/// Memory that decoding one file may take, bytes: a small file can claim to be a huge picture.
pub(super) const MAX_DECODED_BYTES: u64 = 512 << 20;

/// What a file may be.
pub(super) fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

/// Decodes a file that is said to be `encoding` into `rgb`, which is reused; answers width and height.
///
/// # Errors
/// [`FrameError::File`] when it is broken, of another format, or too large.
pub fn to_rgb(encoding: Encoding, data: &[u8], rgb: &mut Vec<u8>) -> Result<(u32, u32), FrameError> {
    let error = |error: image::ImageError| FrameError::File { encoding, message: error.to_string() };
    let format = if encoding == Encoding::Png { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut reader = ImageReader::with_format(Cursor::new(data), format);
    reader.limits(limits());
    let picture = reader.decode().map_err(error)?.into_rgb8();
    let size = picture.dimensions();
    *rgb = picture.into_raw();
    Ok(size)
}
