//! What is fuzzed: from the bytes of a message on the wire to RGB and to the model's input. Nothing may panic, and what
//! is accepted has the size that it says. Included by the fuzz targets here and by `tests/camera_fuzz.rs`.

use vjepa_planner::camera::decode::{RawImage, to_rgb};
use vjepa_planner::camera::image_file;
use vjepa_planner::camera::pixels::PixelBuffer;
use vjepa_planner::camera::watch::{PictureWatch, WatchSettings};
use vjepa_planner::clock::MonotonicTime;
use vjepa_planner::ros::cdr::{Payload, decode};
use vjepa_planner::ros::messages::{CompressedImage, Image, Message as _};
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter};

/// The first byte tells the byte order, as on the wire.
fn payload(data: &[u8]) -> Option<Payload<'_>> {
    data.split_first().map(|(first, bytes)| Payload { big_endian: first & 1 == 0, bytes })
}

/// A `sensor_msgs/Image`.
pub fn image_message(data: &[u8]) {
    let Some(payload) = payload(data) else { return };
    let Ok(message) = decode::<Image>(payload, Image::TYPE) else { return };
    let Ok(image) = RawImage::try_from(&message) else { return };
    let mut rgb = Vec::new();
    let decoded = to_rgb(&image, &mut rgb);
    let mut kept = PixelBuffer::default();
    assert_eq!(decoded.is_ok(), kept.load(&image).is_ok(), "the slot takes what can be converted");
    let Ok((width, height)) = decoded else { return };
    assert_eq!(rgb.len(), width as usize * height as usize * 3);
    let settings = WatchSettings { frozen_after: std::time::Duration::from_secs(1), black_level: 1.0 };
    assert!(PictureWatch::new(settings).look(&kept.view(), MonotonicTime(0)).is_ok());
    for filter in [ResizeFilter::Bilinear, ResizeFilter::BilinearAntialias] {
        let mut preprocessor = Preprocessor::new(8, filter);
        let mut input = vec![f32::NAN; preprocessor.output_len()];
        preprocessor.run_raw(&kept.view(), &mut input).expect("a checked picture can be resized");
        assert!(input.iter().all(|value| (-0.5..=255.5).contains(value)), "every pixel is written");
    }
}

/// A `sensor_msgs/CompressedImage`.
pub fn compressed_image(data: &[u8]) {
    let Some(payload) = payload(data) else { return };
    let Ok(message) = decode::<CompressedImage>(payload, CompressedImage::TYPE) else { return };
    let Some(encoding) = image_file::detect(&message.data) else { return };
    let mut rgb = Vec::new();
    if let Ok((width, height)) = to_rgb(&RawImage::file(encoding, &message.data), &mut rgb) {
        assert_eq!(rgb.len(), width as usize * height as usize * 3);
        assert!(rgb.len() <= image_file::MAX_PIXELS * 3);
    }
}
