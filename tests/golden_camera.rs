//! Pixel formats against OpenCV, byte by byte (`tests/camera/opencv.py` makes the file).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is test code")]

use std::collections::BTreeMap;

use serde::Deserialize;
use vjepa_planner::camera::decode::{RawImage, to_rgb};
use vjepa_planner::camera::encoding::Encoding;

#[derive(Deserialize)]
struct File {
    width: u32,
    height: u32,
    pictures: BTreeMap<String, Picture>,
}

#[derive(Deserialize)]
struct Picture {
    step: u32,
    raw: String,
    rgb: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_encoding_gives_opencvs_pixels() {
    let file: File = serde_json::from_str(include_str!("camera/opencv.json")).unwrap();
    for (name, picture) in &file.pictures {
        let (raw, expected) = (bytes(&picture.raw), bytes(&picture.rgb));
        let (width, height, step) = (file.width, file.height, picture.step);
        let image = RawImage { width, height, encoding: Encoding::from_ros(name).unwrap(), step, data: &raw };
        let mut rgb = Vec::new();
        to_rgb(&image, &mut rgb).unwrap();
        assert_eq!(rgb, expected, "{name}");
    }
    let read = Encoding::ROS_NAMES.iter().map(|(_, encoding)| *encoding);
    let compared: Vec<Encoding> = file.pictures.keys().map(|name| Encoding::from_ros(name).unwrap()).collect();
    assert!(read.into_iter().all(|encoding| compared.contains(&encoding)), "all encodings are compared");
}
