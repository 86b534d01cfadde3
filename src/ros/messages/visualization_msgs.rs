//! `visualization_msgs`: what rviz draws.

use serde::{Deserialize, Serialize};

use super::{ColorRGBA, CompressedImage, Duration, Header, Point, Pose, Vector3, messages};

messages! {
    MarkerArray => "visualization_msgs/msg/MarkerArray",
}

/// `visualization_msgs/msg/Marker`: one thing to draw. The fields for pictures and meshes stay empty here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Time, and the frame that the marker is drawn in.
    pub header: Header,
    /// Name space of `id`.
    pub ns: String,
    /// Number within `ns`; a marker replaces an earlier one of the same number.
    pub id: i32,
    /// What is drawn, such as [`Self::LINE_LIST`].
    pub r#type: i32,
    /// What is done with it, such as [`Self::ADD`].
    pub action: i32,
    /// Where its origin is.
    pub pose: Pose,
    /// Size, m; for lines x is their width.
    pub scale: Vector3,
    /// Colour, where `colors` is empty.
    pub color: ColorRGBA,
    /// How long it stays; zero: until it is replaced.
    pub lifetime: Duration,
    /// Whether it moves with its frame.
    pub frame_locked: bool,
    /// Points, m.
    pub points: Vec<Point>,
    /// A colour for each point, or none.
    pub colors: Vec<ColorRGBA>,
    /// Name of a picture; not used here.
    pub texture_resource: String,
    /// A picture; not used here.
    pub texture: CompressedImage,
    /// Places of the picture; not used here.
    pub uv_coordinates: Vec<UVCoordinate>,
    /// Text of a text marker.
    pub text: String,
    /// Name of a mesh; not used here.
    pub mesh_resource: String,
    /// A mesh; not used here.
    pub mesh_file: MeshFile,
    /// Whether the mesh brings its colours; not used here.
    pub mesh_use_embedded_materials: bool,
}

impl Marker {
    /// A line through all points.
    pub const LINE_STRIP: i32 = 4;
    /// A line between every two points.
    pub const LINE_LIST: i32 = 5;
    /// A ball at each point.
    pub const SPHERE_LIST: i32 = 7;
    /// Draw it, or replace it.
    pub const ADD: i32 = 0;
    /// Remove all markers.
    pub const DELETE_ALL: i32 = 3;
}

/// `visualization_msgs/msg/UVCoordinate`: a place in a picture, 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UVCoordinate {
    /// Across.
    pub u: f32,
    /// Down.
    pub v: f32,
}

/// `visualization_msgs/msg/MeshFile`: a mesh as a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshFile {
    /// Its name.
    pub filename: String,
    /// The file.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// `visualization_msgs/msg/MarkerArray`: several markers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MarkerArray {
    /// The markers.
    pub markers: Vec<Marker>,
}
