//! `sensor_msgs`: pictures, what is known of their camera, and joint states.

use serde::{Deserialize, Serialize};

use super::{Header, messages};

messages! {
    Image => "sensor_msgs/msg/Image",
    CompressedImage => "sensor_msgs/msg/CompressedImage",
    CameraInfo => "sensor_msgs/msg/CameraInfo",
    JointState => "sensor_msgs/msg/JointState",
}

/// `sensor_msgs/msg/Image`: an uncompressed picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Time of capture and optical frame.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Pixel format, e.g. `rgb8`, `bgr8`, `mono8`.
    pub encoding: String,
    /// 1 when pixel values of more than one byte are big endian.
    pub is_bigendian: u8,
    /// Bytes per row, padding included.
    pub step: u32,
    /// `height` × `step` bytes.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// `sensor_msgs/msg/CompressedImage`: a picture as an image file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressedImage {
    /// Time of capture and optical frame.
    pub header: Header,
    /// Format, e.g. `jpeg`, `png`, `rgb8; jpeg compressed bgr8`.
    pub format: String,
    /// The file.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// `sensor_msgs/msg/CameraInfo`: calibration of the camera, sent with each picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Time of capture and optical frame, those of the picture.
    pub header: Header,
    /// Rows of a whole picture.
    pub height: u32,
    /// Columns of a whole picture.
    pub width: u32,
    /// Model of the lens, e.g. `plumb_bob`.
    pub distortion_model: String,
    /// Parameters of that model.
    pub d: Vec<f64>,
    /// Camera matrix, row by row, pixels.
    pub k: [f64; 9],
    /// Rectification, row by row.
    pub r: [f64; 9],
    /// Projection, row by row, pixels.
    pub p: [f64; 12],
    /// Columns that were put together to one; 0 and 1: none.
    pub binning_x: u32,
    /// Rows that were put together to one; 0 and 1: none.
    pub binning_y: u32,
    /// The part of the sensor that was sent.
    pub roi: RegionOfInterest,
}

/// `sensor_msgs/msg/RegionOfInterest`: a part of a picture; all zero for the whole of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionOfInterest {
    /// Columns left of it.
    pub x_offset: u32,
    /// Rows above it.
    pub y_offset: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Whether the whole picture has to be rectified, too.
    pub do_rectify: bool,
}

/// `sensor_msgs/msg/JointState`: measured joints; `position`, `velocity` and `effort` are as long as `name` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointState {
    /// Time of measurement.
    pub header: Header,
    /// Joint names.
    pub name: Vec<String>,
    /// Radians, or metres for prismatic joints.
    pub position: Vec<f64>,
    /// Radians or metres per second.
    pub velocity: Vec<f64>,
    /// Newton metres or newtons.
    pub effort: Vec<f64>,
}
