//! From a camera picture to the model's input: centre crop to a square, resize to S×S, RGB in 0..255.
//!
//! Nothing is rounded after resizing, as in the original. Colour normalisation is inside the encoder graph.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// The picture has no pixels.
    #[error("picture of {width}×{height} px has no pixels")]
    Empty {
        /// Columns, px.
        width: u32,
        /// Rows, px.
        height: u32,
    },
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
    /// The resizer refused.
    #[error("resizing failed: {0}")]
    Resize(String),
}

/// Crops and resizes pictures of any size; keeps its working memory between calls.
pub struct Preprocessor {
    size: u32,
    resizer: Resizer,
    options: ResizeOptions,
    /// The square crop; one row after the other.
    square: Vec<F32x3>,
    resized: Vec<F32x3>,
}

impl std::fmt::Debug for Preprocessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preprocessor").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Preprocessor {
    /// For pictures of `size`×`size` px made with `filter`.
    pub fn new(size: usize, filter: ResizeFilter) -> Self {
        let algorithm = match filter {
            ResizeFilter::BilinearAntialias => ResizeAlg::Convolution(FilterType::Bilinear),
            ResizeFilter::Bilinear => ResizeAlg::Interpolation(FilterType::Bilinear),
        };
        Self {
            size: u32::try_from(size).unwrap_or(u32::MAX),
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(algorithm).use_alpha(false),
            square: Vec::new(),
            resized: vec![F32x3::new([0.0; 3]); size * size],
        }
    }

    /// Numbers of one model input: S·S·3.
    pub fn output_len(&self) -> usize {
        let size = self.size as usize;
        size * size * 3
    }

    /// Writes the model input for `picture` to `out` ([S,S,3], RGB in 0..255, unrounded).
    ///
    /// # Errors
    /// [`PreprocessError`] for an empty picture or a buffer of the wrong length; `out` is then unspecified.
    pub fn run(&mut self, picture: RgbView<'_>, out: &mut [f32]) -> Result<(), PreprocessError> {
        let RgbView { width, height, data } = picture;
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty { width, height });
        }
        let expected = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(3);
        if u64::try_from(data.len()) != Ok(expected) {
            return Err(PreprocessError::InputLength { width, height, expected, found: data.len() });
        }
        if out.len() != self.output_len() {
            return Err(PreprocessError::OutputLength { expected: self.output_len(), found: out.len() });
        }
        let side = width.min(height);
        let (left, top) = ((width - side) as usize / 2, (height - side) as usize / 2);
        // The filter sees the square alone: the model was trained on nothing else.
        self.square.clear();
        for row in data.chunks_exact(width as usize * 3).skip(top).take(side as usize) {
            let (pixels, _) = row.as_chunks::<3>();
            self.square.extend(pixels.iter().skip(left).take(side as usize).map(|p| F32x3::new(p.map(f32::from))));
        }
        let resize = |e: &dyn std::fmt::Display| PreprocessError::Resize(e.to_string());
        let square = TypedImageRef::new(side, side, &self.square).map_err(|e| resize(&e))?;
        let mut target =
            TypedImage::from_pixels_slice(self.size, self.size, &mut self.resized).map_err(|e| resize(&e))?;
        self.resizer.resize_typed(&square, &mut target, &self.options).map_err(|e| resize(&e))?;
        for (to, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(&self.resized) {
            *to = from.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(matches!(p.run(empty, &mut out), Err(PreprocessError::Empty { .. })));
        let huge = RgbView { width: u32::MAX, height: u32::MAX, data: &[] };
        assert!(p.run(huge, &mut out).is_err());
        let fine = RgbView { width: 1, height: 7, data: &[9; 21] };
        assert!(p.run(fine, &mut out[1..]).is_err());
        p.run(fine, &mut out).unwrap();
        assert!(out.iter().all(|v| (v - 9.0).abs() < 1e-5));
    }
}
