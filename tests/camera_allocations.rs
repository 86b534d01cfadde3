//! A frame takes no heap memory on its way from the camera to the model's input, once one of its size has been there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is test code")]

#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;
use std::time::Duration;

use counting::taken;
use vjepa_planner::camera::decode::RawImage;
use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::camera::framing::{Framing, Roi, Rotation};
use vjepa_planner::camera::intake;
use vjepa_planner::camera::source::{CaptureStamp, SourceFrame};
use vjepa_planner::camera::watch::WatchSettings;
use vjepa_planner::clock::{Clock as _, ManualClock};
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter};

/// Frames before counting: the slot's three buffers have been used then.
const WARM_UP: u64 = 6;

#[test]
fn frames_take_nothing_from_slot_to_model_input() {
    let framing = Framing { roi: Roi { x: 0.1, width: 0.8, ..Roi::default() }, rotation: Rotation::Right };
    let watch = WatchSettings { frozen_after: Duration::from_secs(1), black_level: 1.0 };
    for filter in [ResizeFilter::Bilinear, ResizeFilter::BilinearAntialias] {
        for (name, encoding) in Encoding::ROS_NAMES {
            let clock = Arc::new(ManualClock::default());
            clock.advance(Duration::from_secs(1));
            let (mut intake, mut newest) = intake::slot(Arc::<ManualClock>::clone(&clock), watch);
            let mut preprocessor = Preprocessor::new(64, filter).with_framing(framing);
            let mut input = vec![0.0; preprocessor.output_len()];
            let step = encoding.row_bytes(320);
            let mut data = vec![100; step * encoding.rows(240)];
            let mut most = 0;
            for number in 0..WARM_UP + 6 {
                clock.advance(Duration::from_millis(33));
                data[0] = number as u8;
                let image = RawImage { width: 320, height: 240, encoding, step: step as u32, data: &data };
                let stamp = CaptureStamp::Monotonic(clock.monotonic());
                let before = taken();
                intake.take(&SourceFrame { image, stamp, skipped: 0 }, clock.monotonic()).unwrap().publish();
                preprocessor.run_raw(&newest.newest().unwrap().picture.view(), &mut input).unwrap();
                if number >= WARM_UP {
                    most = most.max(taken() - before);
                }
            }
            assert_eq!(most, 0, "{name}, {filter:?}");
        }
    }
}
