//! Preprocessing against the original's: `pixels` are normalised with the mean and deviation of ImageNet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter, RgbView};

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

#[test]
fn frames_become_the_originals_pixels() {
    for golden in common::golden_sets() {
        let (shape, frames) = golden.bytes("frames_u8");
        let (pixel_shape, pixels) = golden.f32s("pixels");
        let [count, height, width, 3] = shape[..] else { panic!("{shape:?}") };
        let [_, 3, size, _] = pixel_shape[..] else { panic!("{pixel_shape:?}") };
        let mut preprocessor = Preprocessor::new(size, ResizeFilter::Bilinear);
        let mut out = vec![0.0; preprocessor.output_len()];
        for i in 0..count {
            let data = &frames[i * height * width * 3..(i + 1) * height * width * 3];
            preprocessor.run(RgbView { width: width as u32, height: height as u32, data }, &mut out).unwrap();
            let planes = &pixels[i * 3 * size * size..(i + 1) * 3 * size * size];
            for (p, rgb) in out.chunks_exact(3).enumerate() {
                for c in 0..3 {
                    let found = (rgb[c] / 255.0 - MEAN[c]) / DEVIATION[c];
                    let expected = planes[c * size * size + p];
                    assert!((found - expected).abs() < 1e-4, "{} frame {i}: {found} {expected}", golden.name);
                }
            }
        }
    }
}
