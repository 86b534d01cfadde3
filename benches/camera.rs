//! What a frame costs on one core: into the slot, and from there to the model's input.
//! `cargo bench --bench camera`; `benches/camera_opencv.py` compares with OpenCV in one run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may stop")]

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use vjepa_planner::camera::decode::RawImage;
use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::camera::intake;
use vjepa_planner::camera::source::{CaptureStamp, SourceFrame};
use vjepa_planner::camera::watch::WatchSettings;
use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter};

/// Side of the model's input, px.
const MODEL_SIDE: usize = 256;
const REPETITIONS: usize = 200;

/// The quickest of the repetitions, ms: what the work takes when nobody else wants the core.
fn least_ms(clock: &SystemClock, mut body: impl FnMut()) -> f64 {
    let times = (0..REPETITIONS).map(|_| {
        let start = clock.monotonic();
        body();
        clock.monotonic().since(start)
    });
    times.min().unwrap_or_default().as_secs_f64() * 1e3
}

/// Pixels that are neither smooth nor noise.
fn pixels(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i / 7) ^ (i / 1931)) as u8).collect()
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let scene =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x / 3) as u8, (y / 2) as u8, (x ^ y) as u8]));
    let mut file = Cursor::new(Vec::new());
    scene.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    file.into_inner()
}

fn main() {
    let clock = Arc::new(SystemClock::new());
    let cases = [
        ("vga_rgb8", 640, 480, Encoding::Rgb8),
        ("vga_bgr8", 640, 480, Encoding::Bgr8),
        ("vga_yuyv", 640, 480, Encoding::Yuyv),
        ("vga_nv12", 640, 480, Encoding::Nv12),
        ("vga_bayer", 640, 480, Encoding::BayerRggb8),
        ("vga_jpeg", 640, 480, Encoding::Jpeg),
        ("1080p_rgb8", 1920, 1080, Encoding::Rgb8),
        ("1080p_yuyv", 1920, 1080, Encoding::Yuyv),
        ("1080p_nv12", 1920, 1080, Encoding::Nv12),
        ("1080p_bayer", 1920, 1080, Encoding::BayerRggb8),
        ("1080p_jpeg", 1920, 1080, Encoding::Jpeg),
    ];
    println!("{:<12} {:>12} {:>16} {:>16}", "ms", "into slot", "to input", "antialiased");
    for (name, width, height, encoding) in cases {
        let data = if encoding == Encoding::Jpeg {
            jpeg(width, height)
        } else {
            pixels(encoding.row_bytes(width as usize) * encoding.rows(height as usize))
        };
        let step = encoding.row_bytes(width as usize) as u32;
        let image = RawImage { width, height, encoding, step, data: &data };
        let watch = WatchSettings { frozen_after: Duration::from_secs(3600), black_level: 1.0 };
        let (mut intake, mut newest) = intake::slot(Arc::<SystemClock>::clone(&clock), watch);
        let slot_ms = least_ms(&clock, || {
            let stamp = CaptureStamp::Monotonic(clock.monotonic());
            intake.take(&SourceFrame { image, stamp, skipped: 0 }, clock.monotonic()).unwrap().publish();
        });
        let frame = newest.newest().unwrap();
        let [two_taps_ms, antialias_ms] = [ResizeFilter::Bilinear, ResizeFilter::BilinearAntialias].map(|filter| {
            let mut preprocessor = Preprocessor::new(MODEL_SIDE, filter);
            let mut input = vec![0.0; preprocessor.output_len()];
            least_ms(&clock, || preprocessor.run_raw(&frame.picture.view(), &mut input).unwrap())
        });
        println!("{name:<12} {slot_ms:>12.3} {two_taps_ms:>16.3} {antialias_ms:>16.3}");
    }
}
