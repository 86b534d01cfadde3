//! From the pixels of a camera or a message to RGB, with every size checked before a byte is read.
//!
//! YUV is read as BT.601 in limited range (Y 16..235), with the integer arithmetic that OpenCV uses: these are the pixels
//! that `cv_bridge` gives. Bayer patterns are interpolated bilinearly, likewise.

use std::ops::Range;

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
        let columns = columns.start..columns.end.min(self.width);
        let row = self.row(y);
        let (pixels, _) = rgb.as_chunks_mut::<3>();
        match self.encoding {
            Encoding::Rgb8 => {
                let from = row.get(columns.start * 3..columns.end * 3).unwrap_or_default();
                if let Some(to) = rgb.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
            }
            Encoding::Bgr8 => packed::<3>(row, columns, pixels, |[b, g, r]| [r, g, b]),
            Encoding::Rgba8 => packed::<4>(row, columns, pixels, |[r, g, b, _]| [r, g, b]),
            Encoding::Bgra8 => packed::<4>(row, columns, pixels, |[b, g, r, _]| [r, g, b]),
            Encoding::Mono8 => packed::<1>(row, columns, pixels, |[grey]| [grey; 3]),
            Encoding::Uyvy => pairs(row, columns, pixels, |[u, y0, v, y1]| [y0, y1, u, v]),
            Encoding::Yuyv => pairs(row, columns, pixels, |[y0, u, y1, v]| [y0, y1, u, v]),
            Encoding::Nv12 | Encoding::Nv21 => {
                let colour = self.row(self.height + y / 2);
                planes(row, colour, self.encoding == Encoding::Nv12, columns, pixels);
            }
            Encoding::BayerRggb8 => self.bayer(y, columns, (0, 0), pixels),
            Encoding::BayerBggr8 => self.bayer(y, columns, (1, 1), pixels),
            Encoding::BayerGbrg8 => self.bayer(y, columns, (0, 1), pixels),
            Encoding::BayerGrbg8 => self.bayer(y, columns, (1, 0), pixels),
            Encoding::Jpeg | Encoding::Png => {}
        }
    }

    /// Bilinear interpolation of a pattern with red at column and row `red` (0 or 1 each). At the border, where neighbours
    /// are missing, a pixel takes the colour of the one next to it, as OpenCV does.
    fn bayer(&self, y: usize, columns: Range<usize>, red: (usize, usize), rgb: &mut [[u8; 3]]) {
        let y = y.clamp(1, self.height.saturating_sub(2).max(1));
        let (above, here, below) = (self.row(y - 1), self.row(y), self.row(y + 1));
        let red_row = y % 2 == red.1;
        let mean = |a: u8, b: u8| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8;
        let mean4 =
            |a: u8, b: u8, c: u8, d: u8| ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) >> 2) as u8;
        let last = self.width.saturating_sub(2).max(1);
        for (pixel, x) in rgb.iter_mut().zip(columns) {
            let x = x.clamp(1, last);
            let three = |row: &'a [u8]| row.get(x - 1..x + 2).and_then(|three| three.first_chunk::<3>());
            let (Some(&[nw, n, ne]), Some(&[w, own, e]), Some(&[sw, s, se])) =
                (three(above), three(here), three(below))
            else {
                return;
            };
            *pixel = match (red_row, x % 2 == red.0) {
                (true, true) => [own, mean4(n, s, w, e), mean4(nw, ne, sw, se)],
                (true, false) => [mean(w, e), own, mean(n, s)],
                (false, true) => [mean(n, s), own, mean(w, e)],
                (false, false) => [mean4(nw, ne, sw, se), mean4(n, s, w, e), own],
            };
        }
    }
}

/// Pixels of `N` bytes each.
fn packed<const N: usize>(row: &[u8], columns: Range<usize>, rgb: &mut [[u8; 3]], colour: impl Fn([u8; N]) -> [u8; 3]) {
    let pixels = row.as_chunks::<N>().0.get(columns).unwrap_or_default();
    for (to, &from) in rgb.iter_mut().zip(pixels) {
        *to = colour(from);
    }
}

/// Two pixels in four bytes; `order` puts them into Y Y U V.
fn pairs(row: &[u8], columns: Range<usize>, rgb: &mut [[u8; 3]], order: impl Fn([u8; 4]) -> [u8; 4]) {
    let fours = row.as_chunks::<4>().0;
    in_pairs(columns, rgb, |range| fours.get(range).unwrap_or_default().iter().map(|&four| order(four)));
}

/// Y in one plane, two bytes of colour for each pair of pixels in another.
fn planes(row: &[u8], colour: &[u8], u_first: bool, columns: Range<usize>, rgb: &mut [[u8; 3]]) {
    let (ys, colours) = (row.as_chunks::<2>().0, colour.as_chunks::<2>().0);
    let both = |range: Range<usize>| {
        ys.get(range.clone()).unwrap_or_default().iter().zip(colours.get(range).unwrap_or_default())
    };
    if u_first {
        in_pairs(columns, rgb, |range| both(range).map(|(&[y0, y1], &[u, v])| [y0, y1, u, v]));
    } else {
        in_pairs(columns, rgb, |range| both(range).map(|(&[y0, y1], &[v, u])| [y0, y1, u, v]));
    }
}

/// Pixels that share colour by twos; `quads` gives Y Y U V of a range of pairs.
fn in_pairs<I: Iterator<Item = [u8; 4]>>(
    columns: Range<usize>,
    rgb: &mut [[u8; 3]],
    quads: impl Fn(Range<usize>) -> I,
) {
    let Range { start, end } = columns;
    let Some(mut rgb) = rgb.get_mut(..end.saturating_sub(start)) else { return };
    let one = |pair: usize| quads(pair..pair + 1).next();
    if start % 2 == 1
        && let Some((first, rest)) = std::mem::take(&mut rgb).split_first_mut()
    {
        if let Some([_, y, u, v]) = one(start / 2) {
            *first = yuv(y, u, v);
        }
        rgb = rest;
    }
    let (twos, last) = rgb.as_chunks_mut::<2>();
    for (two, [y0, y1, u, v]) in twos.iter_mut().zip(quads(start.div_ceil(2)..end / 2)) {
        *two = [yuv(y0, u, v), yuv(y1, u, v)];
    }
    if let (Some(last), Some([y, _, u, v])) = (last.first_mut(), one(end / 2)) {
        *last = yuv(y, u, v);
    }
}

/// BT.601, limited range, in fixed point with 20 bits after the point.
#[inline(always)]
fn yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    const BITS: i32 = 20;
    const HALF: i32 = 1 << (BITS - 1);
    // 255/219, and 255/224 of 2(1 − Kr), 2(1 − Kb) and the shares of green; Kr = 0.299, Kb = 0.114.
    const Y: i32 = 1_220_542;
    const RED_OF_V: i32 = 1_673_527;
    const GREEN_OF_V: i32 = -852_492;
    const GREEN_OF_U: i32 = -409_993;
    const BLUE_OF_U: i32 = 2_116_026;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let y = (i32::from(y) - 16).max(0) * Y + HALF;
    [y + RED_OF_V * v, y + GREEN_OF_V * v + GREEN_OF_U * u, y + BLUE_OF_U * u]
        .map(|channel| (channel >> BITS).clamp(0, 255) as u8)
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
    fn pairs_of_pixels_may_be_cut_anywhere() {
        let data: Vec<u8> = (0..7 * 2 * 3 + 20).map(|i| (i * 37 % 251) as u8).collect();
        for encoding in [Encoding::Yuyv, Encoding::Uyvy, Encoding::Nv12] {
            let image = RawImage { width: 7, height: 2, encoding, step: 16, data: &data };
            let mut whole = Vec::new();
            to_rgb(&image, &mut whole).unwrap();
            for (start, end) in (0..=7).flat_map(|start| (start..=7).map(move |end| (start, end))) {
                let mut part = vec![0; (end - start) * 3];
                image.rows().unwrap().read(1, start..end, &mut part);
                assert_eq!(part, whole[(7 + start) * 3..(7 + end) * 3], "{encoding} {start}..{end}");
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
