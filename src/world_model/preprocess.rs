//! From a camera picture to the model's input: region of interest, rotation, centre crop to a square, resize to S×S, RGB
//! in 0..255.
//!
//! Nothing is rounded after resizing, as in the original. Colour normalisation is inside the encoder graph. Of pictures in
//! other encodings than RGB, only rows and columns that the resizing looks at are converted.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::camera::decode::{FrameError, RawImage, Rows};
use crate::camera::encoding::Encoding;
use crate::camera::framing::{Framing, Rotation, Square};

/// How the square crop is brought to the model's size. A network sees the difference, so the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// Triangle filter as wide as the scale demands (Pillow's `BILINEAR`).
    BilinearAntialias,
    /// Two taps per axis whatever the scale, half-pixel centres; what the original V-JEPA 2-AC code does.
    Bilinear,
}

/// A borrowed 8-bit RGB picture, rows packed without padding.
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    /// Columns, px.
    pub width: u32,
    /// Rows, px.
    pub height: u32,
    /// `height · width · 3` bytes, R G B.
    pub data: &'a [u8],
}

/// Why a picture cannot be used.
#[derive(Debug, Error)]
pub enum PreprocessError {
    /// The picture's header and its bytes do not fit together.
    #[error(transparent)]
    Picture(#[from] FrameError),
    /// The buffer does not hold the picture.
    #[error("RGB picture of {width}×{height} px needs {expected} bytes, but has {found}")]
    InputLength {
        /// Columns, px.
        width: u32,
        /// Rows, px.
        height: u32,
        /// Bytes for three channels.
        expected: u64,
        /// Bytes present.
        found: usize,
    },
    /// The output buffer has the wrong length.
    #[error("model input buffer has {found} numbers, needs {expected}")]
    OutputLength {
        /// S·S·3.
        expected: usize,
        /// Numbers present.
        found: usize,
    },
}

/// Crops, turns and resizes pictures of any size; keeps its working memory between calls.
pub struct Preprocessor {
    size: usize,
    framing: Framing,
    way: Way,
}

/// Working memory of the two filters.
enum Way {
    Antialias(Antialias),
    TwoTaps(TwoTaps),
}

impl std::fmt::Debug for Preprocessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preprocessor").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Preprocessor {
    /// For pictures of `size`×`size` px made with `filter`.
    pub fn new(size: usize, filter: ResizeFilter) -> Self {
        let way = match filter {
            ResizeFilter::BilinearAntialias => Way::Antialias(Antialias::new(size)),
            ResizeFilter::Bilinear => Way::TwoTaps(TwoTaps::new(size)),
        };
        Self { size, framing: Framing::default(), way }
    }

    /// Looks at another part of the pictures, or turns them.
    #[must_use]
    pub fn with_framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// Numbers of one model input: S·S·3.
    pub fn output_len(&self) -> usize {
        self.size * self.size * 3
    }

    /// Writes the model input for an RGB picture to `out` ([S,S,3], RGB in 0..255, unrounded).
    ///
    /// # Errors
    /// [`PreprocessError`] for an empty picture or a buffer of the wrong length; `out` is then unspecified.
    pub fn run(&mut self, picture: RgbView<'_>, out: &mut [f32]) -> Result<(), PreprocessError> {
        let RgbView { width, height, data } = picture;
        let expected = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(3);
        if u64::try_from(data.len()) != Ok(expected) {
            return Err(PreprocessError::InputLength { width, height, expected, found: data.len() });
        }
        let image = RawImage { width, height, encoding: Encoding::Rgb8, step: width.saturating_mul(3), data };
        self.run_raw(&image, out)
    }

    /// Writes the model input for a picture as it came from a camera, but no image file, to `out` ([S,S,3], RGB in 0..255,
    /// unrounded). Takes no heap memory for a picture of the size of the one before.
    ///
    /// # Errors
    /// [`PreprocessError`] for a picture whose sizes do not fit together or a buffer of the wrong length; `out` is then
    /// unspecified.
    pub fn run_raw(&mut self, image: &RawImage<'_>, out: &mut [f32]) -> Result<(), PreprocessError> {
        let rows = image.rows()?;
        let found = out.len();
        if found != self.output_len() {
            return Err(PreprocessError::OutputLength { expected: self.output_len(), found });
        }
        // The filters see the square alone: the model was trained on nothing else.
        let square = self.framing.square(rows.width(), rows.height());
        let out = out.as_chunks_mut::<3>().0;
        match &mut self.way {
            Way::Antialias(antialias) => antialias.run(&rows, square, out),
            Way::TwoTaps(two_taps) => two_taps.run(&rows, square, out),
        }
        // Turning commutes with resizing, and there is less to turn now.
        turn(out, self.size, self.framing.rotation);
        Ok(())
    }
}

/// Turns a picture of `size`×`size` pixels in place.
fn turn(picture: &mut [[f32; 3]], size: usize, rotation: Rotation) {
    let transpose = |picture: &mut [[f32; 3]]| {
        for (x, y) in (0..size).flat_map(|y| (0..y).map(move |x| (x, y))) {
            picture.swap(y * size + x, x * size + y);
        }
    };
    match rotation {
        Rotation::None => {}
        Rotation::Half => picture.reverse(),
        Rotation::Right => {
            transpose(picture);
            picture.chunks_exact_mut(size.max(1)).for_each(<[_]>::reverse);
        }
        Rotation::Left => {
            picture.chunks_exact_mut(size.max(1)).for_each(<[_]>::reverse);
            transpose(picture);
        }
    }
}

/// A triangle filter as wide as the scale demands: down first, because whole rows are quickly added up, then across.
struct Antialias {
    size: usize,
    /// Where the filter of each pixel begins, and where its weights begin and end in `weights`, for a square of `side`.
    taps: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<f32>,
    side: usize,
    /// The last rows of the square in RGB, row `y` in place `y` modulo their number.
    rows: Vec<u8>,
    /// One row of the result, as wide as the square.
    sum: Vec<[f32; 3]>,
}

impl Antialias {
    fn new(size: usize) -> Self {
        let taps = Vec::with_capacity(size);
        Self { size, taps, weights: Vec::new(), side: 0, rows: Vec::new(), sum: Vec::new() }
    }

    /// Half-pixel centres; the filter ends at the border, and its weights always add up to 1.
    fn aim(&mut self, side: usize) {
        if self.side == side {
            return;
        }
        let scale = side as f64 / self.size as f64;
        let support = scale.max(1.0);
        self.taps.clear();
        self.weights.clear();
        for o in 0..self.size {
            let centre = (o as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(side);
            let weight = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / support).abs()).max(0.0);
            let sum: f64 = (first..last).map(weight).sum();
            let begin = self.weights.len();
            self.weights.extend((first..last).map(|x| (weight(x) / sum) as f32));
            self.taps.push((first, begin..self.weights.len()));
        }
        let kept = self.taps.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        self.rows.clear();
        self.rows.resize(kept * side * 3, 0);
        self.sum.clear();
        self.sum.resize(side, [0.0; 3]);
        self.side = side;
    }

    fn run(&mut self, rows: &Rows<'_>, square: Square, out: &mut [[f32; 3]]) {
        self.aim(square.side);
        let Self { taps, weights, rows: kept, sum, .. } = self;
        let row_bytes = square.side * 3;
        let places = kept.len() / row_bytes.max(1);
        let mut read = 0;
        for ((first, of), to) in taps.iter().zip(out.chunks_exact_mut(self.size.max(1))) {
            let mine = weights.get(of.clone()).unwrap_or_default();
            for y in read.max(*first)..first + mine.len() {
                if let Some(row) = kept.chunks_exact_mut(row_bytes).nth(y % places) {
                    rows.read(square.top + y, square.left..square.left + square.side, row);
                }
                read = y + 1;
            }
            sum.fill([0.0; 3]);
            for (y, weight) in (*first..).zip(mine) {
                let row = kept.chunks_exact(row_bytes).nth(y % places).unwrap_or_default();
                add(*weight, row, sum.as_flattened_mut());
            }
            for (to, (first, of)) in to.iter_mut().zip(taps.iter()) {
                let mine = weights.get(of.clone()).unwrap_or_default();
                let mut pixel = [0.0; 3];
                for (from, weight) in sum.get(*first..).unwrap_or_default().iter().zip(mine) {
                    for (pixel, level) in pixel.iter_mut().zip(from) {
                        *pixel += weight * level;
                    }
                }
                *to = pixel;
            }
        }
    }
}

/// Adds a weighted row in RGB.
#[multiversion(targets("x86_64+avx2"))]
fn add(weight: f32, row: &[u8], sum: &mut [f32]) {
    for (sum, &level) in sum.iter_mut().zip(row) {
        *sum += weight * f32::from(level);
    }
}

/// Two taps per axis: of a large picture, most rows are not looked at. Down first, over whole rows, which the processor does
/// many numbers at a time; then across.
struct TwoTaps {
    size: usize,
    /// Where each pixel of a row lies between two of the source, for a square of this side.
    taps: Vec<Tap>,
    side: usize,
    /// Rows of the square above and below the row that is being made.
    rows: [Row; 2],
    /// The row that is being made, as wide as the square, and [`BEYOND`] numbers more.
    blended: Vec<f32>,
}

/// Numbers that a row has beyond its end; finite, and they do not count.
const BEYOND: usize = 4;

/// A point between two pixels.
#[derive(Clone, Copy, Debug)]
struct Tap {
    first: usize,
    /// The one after it, or at the border the same, with no weight.
    second: usize,
    /// Share of the second.
    weight: f32,
}

/// A row of the square in RGB.
#[derive(Default)]
struct Row {
    rgb: Vec<u8>,
    /// Which it is, when it is one of this picture.
    y: Option<usize>,
}

impl TwoTaps {
    fn new(size: usize) -> Self {
        Self { size, taps: Vec::with_capacity(size), side: 0, rows: Default::default(), blended: Vec::new() }
    }

    /// Half-pixel centres; beyond the border, the border's pixel.
    fn aim(&mut self, side: usize) {
        if self.side == side {
            return;
        }
        let scale = side as f64 / self.size as f64;
        let last = side.saturating_sub(1);
        self.taps.clear();
        self.taps.extend((0..self.size).map(|o| {
            let at = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let first = at as usize;
            Tap { first, second: (first + 1).min(last), weight: (at - first as f64) as f32 }
        }));
        for row in &mut self.rows {
            row.rgb.resize(side * 3, 0);
        }
        self.blended.resize(side * 3 + BEYOND, 0.0);
        self.side = side;
    }

    fn run(&mut self, rows: &Rows<'_>, square: Square, out: &mut [[f32; 3]]) {
        self.aim(square.side);
        let Self { taps, rows: [above, below], blended, .. } = self;
        (above.y, below.y) = (None, None);
        for (tap, to) in taps.iter().zip(out.chunks_exact_mut(self.size.max(1))) {
            if below.y == Some(tap.first) {
                std::mem::swap(above, below);
            }
            above.read(rows, square, tap.first);
            below.read(rows, square, tap.second);
            down(&above.rgb, &below.rgb, tap.weight, blended);
            across(blended, taps, to);
        }
    }
}

impl Row {
    fn read(&mut self, rows: &Rows<'_>, square: Square, y: usize) {
        if self.y != Some(y) {
            self.y = Some(y);
            rows.read(square.top + y, square.left..square.left + square.side, &mut self.rgb);
        }
    }
}

/// Blends two rows in RGB.
#[multiversion(targets("x86_64+avx2"))]
fn down(above: &[u8], below: &[u8], share_below: f32, blended: &mut [f32]) {
    for ((to, &a), &b) in blended.iter_mut().zip(above).zip(below) {
        *to = between(f32::from(a), f32::from(b), share_below);
    }
}

/// Narrows a row in RGB, which [`BEYOND`] numbers follow. Two pixels are taken at once, with one number more, so that they
/// are two vectors of four of which three count. At the border the second pixel is beyond it, with no weight.
#[multiversion(targets("x86_64+avx2"))]
fn across(row: &[f32], taps: &[Tap], out: &mut [[f32; 3]]) {
    for (to, tap) in out.iter_mut().zip(taps) {
        let Some(two) = row.get(tap.first * 3..).and_then(|rest| rest.first_chunk::<7>()) else { return };
        let [red, green, blue, _] = std::array::from_fn(|c| between(two[c], two[c + 3], tap.weight));
        *to = [red, green, blue];
    }
}

#[inline(always)]
fn between(a: f32, b: f32, share_of_b: f32) -> f32 {
    a + (b - a) * share_of_b
}

#[cfg(test)]
mod tests {
    use super::*;
    use fast_image_resize::images::{TypedImage, TypedImageRef};
    use fast_image_resize::pixels::F32x3;
    use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

    use crate::camera::decode::to_rgb;
    use crate::camera::framing::Roi;
    use proptest::prelude::*;

    /// Pillow's BILINEAR without its rounding: horizontal pass, vertical pass.
    fn pillow(data: &[u8], width: usize, left: usize, top: usize, side: usize, size: usize) -> Vec<f64> {
        let scale = side as f64 / size as f64;
        let support = scale.max(1.0);
        let taps: Vec<(usize, Vec<f64>)> = (0..size)
            .map(|o| {
                let center = (o as f64 + 0.5) * scale;
                let first = (center - support + 0.5).max(0.0) as usize;
                let last = ((center + support + 0.5) as usize).min(side);
                let w: Vec<f64> =
                    (first..last).map(|x| (1.0 - ((x as f64 - center + 0.5) / support).abs()).max(0.0)).collect();
                let sum: f64 = w.iter().sum();
                (first, w.into_iter().map(|v| v / sum).collect())
            })
            .collect();
        let mut rows = vec![0.0; side * size * 3];
        for y in 0..side {
            for (o, (first, w)) in taps.iter().enumerate() {
                for c in 0..3 {
                    let v: f64 = w
                        .iter()
                        .enumerate()
                        .map(|(i, w)| w * f64::from(data[((top + y) * width + left + first + i) * 3 + c]))
                        .sum();
                    rows[(y * size + o) * 3 + c] = v;
                }
            }
        }
        let mut out = vec![0.0; size * size * 3];
        for (o, (first, w)) in taps.iter().enumerate() {
            for x in 0..size * 3 {
                let v: f64 = w.iter().enumerate().map(|(i, w)| w * rows[(first + i) * size * 3 + x]).sum();
                out[o * size * 3 + x] = v;
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn antialiased_bilinear_is_pillows_without_its_rounding(
            width in 8_usize..150, height in 8_usize..150, size in 8_usize..40, seed in any::<u32>()
        ) {
            let mut x = seed | 1;
            let data: Vec<u8> = (0..width * height * 3)
                .map(|_| { x ^= x << 13; x ^= x >> 17; x ^= x << 5; (x >> 11) as u8 })
                .collect();
            let mut out = vec![0.0; size * size * 3];
            Preprocessor::new(size, ResizeFilter::BilinearAntialias)
                .run(RgbView { width: width as u32, height: height as u32, data: &data }, &mut out)
                .unwrap();
            let side = width.min(height);
            let expected = pillow(&data, width, (width - side) / 2, (height - side) / 2, side, size);
            for (found, expected) in out.iter().zip(&expected) {
                prop_assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} {expected}");
            }
        }
    }

    /// A picture with something in it, from a linear congruence.
    fn noise(len: usize) -> Vec<u8> {
        let mut x = 7_u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn two_tap_bilinear_is_that_of_the_resizing_library(
            width in 2_usize..90, height in 2_usize..90, size in 2_usize..40
        ) {
            let data = noise(width * height * 3);
            let mut out = vec![0.0; size * size * 3];
            let picture = RgbView { width: width as u32, height: height as u32, data: &data };
            Preprocessor::new(size, ResizeFilter::Bilinear).run(picture, &mut out).unwrap();
            let Square { left, top, side } = Framing::default().square(width, height);
            let pixels: Vec<F32x3> = (0..side * side)
                .map(|i| ((top + i / side) * width + left + i % side) * 3)
                .map(|at| F32x3::new([0, 1, 2].map(|c| f32::from(data[at + c]))))
                .collect();
            let from = TypedImageRef::new(side as u32, side as u32, &pixels).unwrap();
            let mut to = TypedImage::<F32x3>::new(size as u32, size as u32);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
            Resizer::new().resize_typed(&from, &mut to, &options.use_alpha(false)).unwrap();
            for (found, expected) in out.as_chunks::<3>().0.iter().zip(to.pixels()) {
                for c in 0..3 {
                    prop_assert!((found[c] - expected.0[c]).abs() < 1e-2, "{found:?} {expected:?}");
                }
            }
        }
    }

    #[test]
    fn every_encoding_gives_the_input_of_its_rgb_picture() {
        for filter in [ResizeFilter::Bilinear, ResizeFilter::BilinearAntialias] {
            for (name, encoding) in Encoding::ROS_NAMES {
                let (width, height, step) = (50, 38, encoding.row_bytes(50) + 6);
                let data = noise(step * encoding.rows(height));
                let image = RawImage { width, height: height as u32, encoding, step: step as u32, data: &data };
                let mut rgb = Vec::new();
                to_rgb(&image, &mut rgb).unwrap();
                let mut preprocessor = Preprocessor::new(16, filter);
                let (mut raw, mut converted) = (vec![0.0; 16 * 16 * 3], vec![0.0; 16 * 16 * 3]);
                preprocessor.run_raw(&image, &mut raw).unwrap();
                let view = RgbView { width, height: height as u32, data: &rgb };
                preprocessor.run(view, &mut converted).unwrap();
                assert_eq!(raw, converted, "{name}");
            }
        }
    }

    #[test]
    fn a_part_that_is_turned_is_what_was_cut_out_and_turned_beforehand() {
        let (width, height) = (60, 40);
        let data = noise(width * height * 3);
        let pixel = |x: usize, y: usize| data[(y * width + x) * 3..][..3].to_vec();
        let roi = Roi { x: 0.1, y: 0.25, width: 0.5, height: 0.5 };
        let (left, top, columns, rows) = (6, 10, 30, 20);
        for filter in [ResizeFilter::Bilinear, ResizeFilter::BilinearAntialias] {
            for degrees in [0, 90, 180, 270] {
                let turned = |x: usize, y: usize| match degrees {
                    0 => pixel(left + x, top + y),
                    90 => pixel(left + y, top + rows - 1 - x),
                    180 => pixel(left + columns - 1 - x, top + rows - 1 - y),
                    _ => pixel(left + columns - 1 - y, top + x),
                };
                let (w, h) = if degrees % 180 == 0 { (columns, rows) } else { (rows, columns) };
                let cut: Vec<u8> = (0..w * h).flat_map(|i| turned(i % w, i / w)).collect();
                let mut expected = vec![0.0; 12 * 12 * 3];
                Preprocessor::new(12, filter)
                    .run(RgbView { width: w as u32, height: h as u32, data: &cut }, &mut expected)
                    .unwrap();
                let framing = Framing { roi, rotation: Rotation::from_degrees(degrees).unwrap() };
                let mut found = vec![0.0; 12 * 12 * 3];
                Preprocessor::new(12, filter)
                    .with_framing(framing)
                    .run(RgbView { width: width as u32, height: height as u32, data: &data }, &mut found)
                    .unwrap();
                let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-3, "{filter:?} {degrees}: {error}");
            }
        }
    }

    #[test]
    fn two_tap_bilinear_takes_the_middle_two_pixels_at_scale_four() {
        let data: Vec<u8> = (0..8 * 8).flat_map(|i| [(i * 3) as u8; 3]).collect();
        let mut out = vec![0.0; 2 * 2 * 3];
        Preprocessor::new(2, ResizeFilter::Bilinear)
            .run(RgbView { width: 8, height: 8, data: &data }, &mut out)
            .unwrap();
        let at = |x: usize, y: usize| f64::from(data[(y * 8 + x) * 3]);
        for (i, (x, y)) in [(1, 1), (5, 1), (1, 5), (5, 5)].into_iter().enumerate() {
            let expected = (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4.0;
            assert!((f64::from(out[i * 3]) - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let mut p = Preprocessor::new(16, ResizeFilter::BilinearAntialias);
        let mut out = vec![0.0; p.output_len()];
        let short = RgbView { width: 10, height: 10, data: &[0; 299] };
        assert!(matches!(p.run(short, &mut out), Err(PreprocessError::InputLength { expected: 300, .. })));
        let empty = RgbView { width: 0, height: 10, data: &[] };
        assert!(matches!(p.run(empty, &mut out), Err(PreprocessError::Picture(FrameError::Size { .. }))));
        let huge = RgbView { width: u32::MAX, height: u32::MAX, data: &[] };
        assert!(p.run(huge, &mut out).is_err());
        let fine = RgbView { width: 1, height: 7, data: &[9; 21] };
        assert!(p.run(fine, &mut out[1..]).is_err());
        p.run(fine, &mut out).unwrap();
        assert!(out.iter().all(|v| (v - 9.0).abs() < 1e-5));
    }
}
