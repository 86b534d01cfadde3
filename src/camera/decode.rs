//! `sensor_msgs/Image` payloads to RGB, with every size checked before a byte is read.

/// Largest accepted width and height, pixels: beyond any camera, and small enough that sizes cannot overflow.
pub const MAX_SIDE: usize = 16_384;

/// Why a picture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The pixel format is not one that we read.
    #[error("image encoding `{encoding}` is not supported; publish one of {SUPPORTED_ENCODINGS:?}")]
    Encoding {
        /// The `encoding` field of the message.
        encoding: String,
    },
    /// Width or height is zero or absurd.
    #[error("image of {width}×{height} pixels: both sides must be 1 to {MAX_SIDE}")]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// `step` is less than a row of pixels.
    #[error("image step is {step} bytes, but a row of {width} pixels in `{encoding}` needs {needed}")]
    Step {
        /// Bytes from row to row, as given.
        step: u32,
        /// Pixels in a row.
        width: u32,
        /// The `encoding` field.
        encoding: String,
        /// Bytes that a row has.
        needed: usize,
    },
    /// The buffer ends before the last row does.
    #[error("image data is cut short: {got} bytes, {needed} needed for {height} rows of step {step}")]
    Truncated {
        /// Bytes that came.
        got: usize,
        /// Bytes that the header promises.
        needed: usize,
        /// Rows.
        height: u32,
        /// Bytes from row to row.
        step: u32,
    },
}

/// Encodings of `sensor_msgs/Image` that [`to_rgb`] reads.
pub const SUPPORTED_ENCODINGS: [&str; 5] = ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"];

/// Header of a picture as the message gives it, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RawImage<'a> {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixel format, see [`SUPPORTED_ENCODINGS`].
    pub encoding: &'a str,
    /// Bytes from one row to the next.
    pub step: u32,
    /// The pixels.
    pub data: &'a [u8],
}

/// Converts a picture to RGB without row padding into `rgb`, which is reused.
///
/// # Errors
/// [`FrameError`] when encoding, size, step or length do not fit together; `rgb` is then untouched.
pub fn to_rgb(image: &RawImage<'_>, rgb: &mut Vec<u8>) -> Result<(), FrameError> {
    /// Bytes per pixel and where red, green and blue are among them.
    const LAYOUTS: [(&str, usize, [usize; 3]); 5] = [
        ("rgb8", 3, [0, 1, 2]),
        ("bgr8", 3, [2, 1, 0]),
        ("rgba8", 4, [0, 1, 2]),
        ("bgra8", 4, [2, 1, 0]),
        ("mono8", 1, [0, 0, 0]),
    ];
    let Some(&(_, pixel_bytes, [red, green, blue])) = LAYOUTS.iter().find(|(name, ..)| *name == image.encoding) else {
        return Err(FrameError::Encoding { encoding: image.encoding.chars().take(64).collect() });
    };
    let (width, height, step) = (image.width as usize, image.height as usize, image.step as usize);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(FrameError::Size { width: image.width, height: image.height });
    }
    let row_bytes = width * pixel_bytes;
    if step < row_bytes {
        return Err(FrameError::Step {
            step: image.step,
            width: image.width,
            encoding: image.encoding.to_owned(),
            needed: row_bytes,
        });
    }
    // The last row may come without its padding. `step` is a u32 and `height` is bounded: no overflow in 64 bits.
    let needed = step * (height - 1) + row_bytes;
    if image.data.len() < needed {
        return Err(FrameError::Truncated { got: image.data.len(), needed, height: image.height, step: image.step });
    }
    rgb.clear();
    rgb.reserve(width * height * 3);
    for row in image.data.chunks(step).take(height) {
        let row = &row[..row_bytes];
        if image.encoding == "rgb8" {
            rgb.extend_from_slice(row);
        } else {
            rgb.extend(row.chunks_exact(pixel_bytes).flat_map(|p| [p[red], p[green], p[blue]]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(width: u32, height: u32, encoding: &str, step: u32, data: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut rgb = Vec::new();
        to_rgb(&RawImage { width, height, encoding, step, data }, &mut rgb).map(|()| rgb)
    }

    #[test]
    fn every_supported_encoding_gives_the_same_colour() {
        for (encoding, pixel) in [
            ("rgb8", &[10u8, 20, 30][..]),
            ("bgr8", &[30, 20, 10]),
            ("rgba8", &[10, 20, 30, 255]),
            ("bgra8", &[30, 20, 10, 255]),
        ] {
            assert_eq!(decode(1, 1, encoding, pixel.len() as u32, pixel), Ok(vec![10, 20, 30]), "{encoding}");
        }
        assert_eq!(decode(2, 1, "mono8", 2, &[7, 8]), Ok(vec![7, 7, 7, 8, 8, 8]));
    }

    #[test]
    fn row_padding_is_dropped_and_may_be_missing_after_the_last_row() {
        let data = [1, 2, 3, 99, 4, 5, 6];
        assert_eq!(decode(1, 2, "rgb8", 4, &data), Ok(vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn encodings_that_are_not_read_are_named() {
        let error = decode(1, 1, "32FC1", 4, &[0; 4]).unwrap_err();
        assert!(error.to_string().contains("32FC1") && error.to_string().contains("rgb8"), "{error}");
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        assert!(matches!(decode(0, 4, "rgb8", 0, &[]), Err(FrameError::Size { .. })));
        assert!(matches!(decode(u32::MAX, u32::MAX, "rgb8", u32::MAX, &[]), Err(FrameError::Size { .. })));
        assert!(matches!(decode(4, 1, "rgb8", 11, &[0; 12]), Err(FrameError::Step { needed: 12, .. })));
        assert!(matches!(decode(4, 2, "rgb8", 12, &[0; 23]), Err(FrameError::Truncated { needed: 24, .. })));
    }

    proptest! {
        #[test]
        fn any_header_with_any_bytes_is_a_picture_of_that_size_or_an_error(
            width in 0u32..40, height in 0u32..40, step in 0u32..200,
            encoding in prop::sample::select(vec!["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "", "yuv422"]),
            data in prop::collection::vec(any::<u8>(), 0..4000),
        ) {
            if let Ok(rgb) = decode(width, height, encoding, step, &data) {
                prop_assert_eq!(rgb.len(), (width * height * 3) as usize);
            }
        }
    }
}
