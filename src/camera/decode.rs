//! From the pixels of a camera or a message to RGB, with every size checked before a byte is read.
//!
//! YUV is read as BT.601 in limited range (Y 16..235), with the integer arithmetic that OpenCV uses: these are the pixels
//! that `cv_bridge` gives. Bayer patterns are interpolated bilinearly, likewise.

use std::ops::Range;

use super::colour::{self, BayerRows};
use super::encoding::Encoding;
use super::image_file;
use crate::ros::messages::Image;

/// Largest accepted width and height, pixels: beyond any camera, and small enough that sizes cannot overflow.
pub const MAX_SIDE: usize = 16_384;

/// Why a picture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The pixel format is not one that we read.
    #[error("image encoding `{encoding}` is not supported; publish one of {}", encodings())]
    Encoding {
        /// The `encoding` field of the message.
        encoding: String,
    },
    /// Width or height is zero or absurd.
    #[error("image of {width}×{height} pixels in `{encoding}`: both sides must be {least} to {MAX_SIDE}")]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// How the pixels lie.
        encoding: Encoding,
        /// Smallest side that the encoding allows.
        least: usize,
    },
    /// `step` is less than a row of pixels.
    #[error("image step is {step} bytes, but a row of {width} pixels in `{encoding}` needs {needed}")]
    Step {
        /// Bytes from row to row, as given.
        step: u32,
        /// Pixels in a row.
        width: u32,
        /// How the pixels lie.
        encoding: Encoding,
        /// Bytes that a row has.
        needed: usize,
    },
    /// The buffer ends before the last row does.
    #[error("image data is cut short: {got} bytes, {needed} needed for {rows} rows of step {step}")]
    Truncated {
        /// Bytes that came.
        got: usize,
        /// Bytes that the header promises.
        needed: usize,
        /// Rows, of all planes.
        rows: usize,
        /// Bytes from row to row.
        step: u32,
    },
    /// A compressed picture cannot be decoded.
    #[error("{encoding} image cannot be decoded: {message}")]
    File {
        /// Its format.
        encoding: Encoding,
        /// What the decoder says.
        message: String,
    },
}

fn encodings() -> String {
    Encoding::ROS_NAMES.map(|(name, _)| name).join(", ")
}

/// A picture as a camera or a message gives it, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RawImage<'a> {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// How the pixels lie.
    pub encoding: Encoding,
    /// Bytes from one row to the next.
    pub step: u32,
    /// The pixels, or the file.
    pub data: &'a [u8],
}

impl<'a> TryFrom<&'a Image> for RawImage<'a> {
    type Error = FrameError;

    fn try_from(message: &'a Image) -> Result<Self, FrameError> {
        let Image { width, height, step, ref encoding, ref data, .. } = *message;
        Ok(Self { width, height, encoding: Encoding::from_ros(encoding)?, step, data })
    }
}

impl<'a> RawImage<'a> {
    /// An image file; its size is in it.
    pub fn file(encoding: Encoding, data: &'a [u8]) -> Self {
        Self { width: 0, height: 0, encoding, step: 0, data }
    }

    /// Rows that can be read; not for files.
    ///
    /// # Errors
    /// [`FrameError`] when size, step and length do not fit together.
    pub fn rows(&self) -> Result<Rows<'a>, FrameError> {
        let Self { width, height, encoding, step, data } = *self;
        let (columns, lines, stride) = (width as usize, height as usize, step as usize);
        let least = encoding.least_side();
        let allowed = least..=MAX_SIDE;
        if encoding.is_file() || !allowed.contains(&columns) || !allowed.contains(&lines) {
            return Err(FrameError::Size { width, height, encoding, least });
        }
        let row_bytes = encoding.row_bytes(columns);
        if stride < row_bytes {
            return Err(FrameError::Step { step, width, encoding, needed: row_bytes });
        }
        // The last row may come without its padding. `step` is a u32 and the rows are bounded: no overflow in 64 bits.
        let rows = encoding.rows(lines);
        let needed = stride * (rows - 1) + row_bytes;
        let Some(data) = data.get(..needed) else {
            return Err(FrameError::Truncated { got: data.len(), needed, rows, step });
        };
        Ok(Rows { width: columns, height: lines, encoding, stride, row_bytes, data })
    }
}

/// A picture whose sizes are checked; gives parts of its rows in RGB.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    width: usize,
    height: usize,
    encoding: Encoding,
    stride: usize,
    row_bytes: usize,
    data: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes from the first pixel to the last.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Row `y` of the buffer without padding; empty beyond its end.
    fn row(&self, y: usize) -> &'a [u8] {
        self.data.get(y * self.stride..).and_then(|rest| rest.get(..self.row_bytes)).unwrap_or_default()
    }

    /// Writes `columns` of row `y` in RGB, three bytes each; what lies outside the picture is left alone.
    pub fn read(&self, y: usize, columns: Range<usize>, rgb: &mut [u8]) {
        let pixels = rgb.as_chunks_mut::<3>().0;
        let length = columns.end.min(self.width).saturating_sub(columns.start).min(pixels.len());
        let (columns, pixels) = (columns.start..columns.start + length, &mut pixels[..length]);
        let Some(red) = self.encoding.bayer_red() else {
            // Two rows of pixels share one of colour, where that is a plane of its own.
            let colour = if self.encoding.rows(2) > 2 { self.row(self.height + y / 2) } else { &[] };
            return colour::convert(self.encoding, self.row(y), colour, columns, pixels);
        };
        // The first and the last row have the colours of those beside them, as OpenCV has it.
        let y = y.clamp(1, self.height.saturating_sub(2).max(1));
        let rows = BayerRows {
            above: self.row(y - 1),
            here: self.row(y),
            below: self.row(y + 1),
            red: y % 2 == red.1,
            odd_green: (y % 2 == red.1) == (red.0 == 0),
        };
        colour::convert_bayer(&rows, columns, pixels);
    }
}

/// Converts a picture to RGB without row padding into `rgb`, which is reused; answers its width and height.
///
/// # Errors
/// [`FrameError`] when encoding, size, step or length do not fit together; `rgb` is then unspecified.
pub fn to_rgb(image: &RawImage<'_>, rgb: &mut Vec<u8>) -> Result<(u32, u32), FrameError> {
    if image.encoding.is_file() {
        return image_file::to_rgb(image.encoding, image.data, rgb);
    }
    let rows = image.rows()?;
    let row_bytes = rows.width() * 3;
    rgb.resize(row_bytes * rows.height(), 0);
    for (y, row) in rgb.chunks_exact_mut(row_bytes).enumerate() {
        rows.read(y, 0..rows.width(), row);
    }
    Ok((image.width, image.height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(width: u32, height: u32, encoding: &str, step: u32, data: &[u8]) -> Result<Vec<u8>, FrameError> {
        let encoding = Encoding::from_ros(encoding)?;
        let mut rgb = Vec::new();
        to_rgb(&RawImage { width, height, encoding, step, data }, &mut rgb).map(|_size| rgb)
    }

    #[test]
    fn encodings_with_all_colours_in_each_pixel_give_the_same_colour() {
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
    fn limited_range_has_black_at_16_and_white_at_235() {
        for (y, grey) in [(0, 0), (16, 0), (126, 128), (235, 255), (255, 255)] {
            let grey = vec![grey; 6];
            assert_eq!(decode(2, 1, "yuv422_yuy2", 4, &[y, 128, y, 128]).as_ref(), Ok(&grey));
            assert_eq!(decode(2, 1, "yuv422", 4, &[128, y, 128, y]).as_ref(), Ok(&grey));
            assert_eq!(decode(2, 1, "nv12", 2, &[y, y, 128, 128]).as_ref(), Ok(&grey));
        }
        let red = decode(2, 1, "yuyv", 4, &[81, 90, 81, 240]).unwrap();
        assert_eq!(red, [254, 0, 0, 254, 0, 0], "BT.601's red");
        assert_eq!(decode(2, 1, "nv21", 2, &[81, 81, 240, 90]).unwrap(), red);
    }

    #[test]
    fn blocks_of_pixels_are_the_same_as_one_by_one_wherever_a_row_is_cut() {
        let (width, height) = (75, 5);
        let data: Vec<u8> = (0_u32..4 * 80 * 8).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (name, encoding) in Encoding::ROS_NAMES {
            let image = RawImage { width, height, encoding, step: encoding.row_bytes(80) as u32, data: &data };
            let rows = image.rows().unwrap();
            let width = rows.width();
            for y in 0..rows.height() {
                let mut single = vec![0; width * 3];
                for (x, pixel) in single.chunks_exact_mut(3).enumerate() {
                    rows.read(y, x..x + 1, pixel);
                }
                for (start, end) in (0..4).chain([32, 33, 70]).flat_map(|s| [(s, width), (s, width - 2), (s, s + 3)]) {
                    let mut part = vec![0; (end - start) * 3];
                    rows.read(y, start..end, &mut part);
                    assert_eq!(part, single[start * 3..end * 3], "{name}, row {y}, {start}..{end}");
                }
                // A place that is too long or too short for what is asked.
                let mut long = vec![9; (width + 40) * 3];
                rows.read(y, 1..width + 40, &mut long);
                assert_eq!(long[..(width - 1) * 3], single[3..], "{name}");
                assert!(long[(width - 1) * 3..].iter().all(|&byte| byte == 9), "{name}: beyond the row");
                let mut short = vec![0; 40 * 3];
                rows.read(y, 0..width, &mut short);
                assert_eq!(short, single[..40 * 3], "{name}");
            }
        }
    }

    #[test]
    fn a_plain_colour_comes_through_every_bayer_pattern() {
        for (encoding, tile) in [
            ("bayer_rggb8", [[200, 90], [90, 30]]),
            ("bayer_bggr8", [[30, 90], [90, 200]]),
            ("bayer_gbrg8", [[90, 30], [200, 90]]),
            ("bayer_grbg8", [[90, 200], [30, 90]]),
        ] {
            let data: Vec<u8> = (0..5 * 5).map(|i| tile[i / 5 % 2][i % 5 % 2]).collect();
            let rgb = decode(5, 5, encoding, 5, &data).unwrap();
            assert!(rgb.chunks(3).all(|pixel| pixel == [200, 90, 30]), "{encoding}: {rgb:?}");
        }
    }

    #[test]
    fn row_padding_is_dropped_and_may_be_missing_after_the_last_row() {
        let data = [1, 2, 3, 99, 4, 5, 6];
        assert_eq!(decode(1, 2, "rgb8", 4, &data), Ok(vec![1, 2, 3, 4, 5, 6]));
        let (padded, packed) = ([16, 16, 99, 235, 235, 99, 128, 128], [16, 16, 235, 235, 128, 128]);
        assert_eq!(decode(2, 2, "nv12", 3, &padded), decode(2, 2, "nv12", 2, &packed));
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
        assert!(matches!(decode(u32::MAX, 1, "mono8", u32::MAX, &[0; 64]), Err(FrameError::Size { .. })));
        assert!(matches!(decode(2, 9, "bayer_rggb8", 2, &[0; 18]), Err(FrameError::Size { least: 3, .. })));
        assert!(matches!(decode(4, 1, "rgb8", 11, &[0; 12]), Err(FrameError::Step { needed: 12, .. })));
        assert!(matches!(decode(4, 2, "rgb8", 12, &[0; 23]), Err(FrameError::Truncated { needed: 24, .. })));
        assert!(matches!(decode(4, 2, "yuyv", 8, &[0; 15]), Err(FrameError::Truncated { needed: 16, .. })));
        assert!(matches!(decode(4, 2, "nv12", 4, &[0; 11]), Err(FrameError::Truncated { needed: 12, .. })));
        let claims = RawImage { width: 4, height: 4, encoding: Encoding::Jpeg, step: 4, data: &[0; 64] };
        assert!(matches!(claims.rows(), Err(FrameError::Size { .. })), "a file has no rows");
    }

    proptest! {
        #[test]
        fn any_header_with_any_bytes_is_a_picture_of_that_size_or_an_error(
            width in 0u32..40, height in 0u32..40, step in 0u32..200,
            encoding in prop::sample::select(
                Encoding::ROS_NAMES.map(|(name, _)| name).into_iter().chain(["", "16UC1"]).collect::<Vec<_>>()
            ),
            data in prop::collection::vec(any::<u8>(), 0..4000),
        ) {
            if let Ok(rgb) = decode(width, height, encoding, step, &data) {
                prop_assert_eq!(rgb.len(), (width * height * 3) as usize);
            }
        }
    }
}
