//! `std_msgs`: headers, texts and lists of numbers.

use serde::{Deserialize, Serialize};

use super::{Time, messages};

messages! {
    StringMessage => "std_msgs/msg/String",
    Float64MultiArray => "std_msgs/msg/Float64MultiArray",
    UInt8MultiArray => "std_msgs/msg/UInt8MultiArray",
}

/// `std_msgs/msg/Header`: when and in which frame the data was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Time of capture in ROS time.
    pub stamp: Time,
    /// Coordinate frame of the data.
    pub frame_id: String,
}

/// `std_msgs/msg/String`: one text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringMessage {
    /// The text, UTF-8.
    pub data: String,
}

/// `std_msgs/msg/MultiArrayDimension`: one axis of a multi-dimensional array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiArrayDimension {
    /// Name of the axis.
    pub label: String,
    /// Number of elements along it.
    pub size: u32,
    /// Elements per step of the axis outside it.
    pub stride: u32,
}

/// `std_msgs/msg/MultiArrayLayout`: the shape of a multi-dimensional array; empty for a plain list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiArrayLayout {
    /// Axes, outermost first.
    pub dim: Vec<MultiArrayDimension>,
    /// Elements before the first.
    pub data_offset: u32,
}

/// `std_msgs/msg/Float64MultiArray`: what forward command controllers take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Float64MultiArray {
    /// Shape; empty for a plain list.
    pub layout: MultiArrayLayout,
    /// Values, in the unit of the receiver.
    pub data: Vec<f64>,
}

/// `std_msgs/msg/UInt8MultiArray`: bytes with a shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UInt8MultiArray {
    /// Shape; empty for a plain list.
    pub layout: MultiArrayLayout,
    /// Values.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl From<Vec<f64>> for Float64MultiArray {
    fn from(data: Vec<f64>) -> Self {
        Self { layout: MultiArrayLayout::default(), data }
    }
}

/// `std_msgs/msg/ColorRGBA`: a colour, each part 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColorRGBA {
    /// Red.
    pub r: f32,
    /// Green.
    pub g: f32,
    /// Blue.
    pub b: f32,
    /// Opacity.
    pub a: f32,
}
