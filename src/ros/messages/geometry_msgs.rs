//! `geometry_msgs`: points, rotations and poses.

use nalgebra::Isometry3;
use serde::{Deserialize, Serialize};

use super::{Header, messages};

messages! {
    TwistStamped => "geometry_msgs/msg/TwistStamped",
}

/// `geometry_msgs/msg/Point`: a position, m.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Along x, m.
    pub x: f64,
    /// Along y, m.
    pub y: f64,
    /// Along z, m.
    pub z: f64,
}

/// `geometry_msgs/msg/Vector3`: three numbers, for instance the size of a marker, m.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vector3 {
    /// Along x.
    pub x: f64,
    /// Along y.
    pub y: f64,
    /// Along z.
    pub z: f64,
}

/// `geometry_msgs/msg/Quaternion`: a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quaternion {
    /// Imaginary part, i.
    pub x: f64,
    /// Imaginary part, j.
    pub y: f64,
    /// Imaginary part, k.
    pub z: f64,
    /// Real part.
    pub w: f64,
}

impl Default for Quaternion {
    /// No rotation.
    fn default() -> Self {
        Self { x: 0.0, y: 0.0, z: 0.0, w: 1.0 }
    }
}

/// `geometry_msgs/msg/Pose`: where something is and how it is turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// Position, m.
    pub position: Point,
    /// Rotation.
    pub orientation: Quaternion,
}

impl From<Isometry3<f64>> for Pose {
    fn from(pose: Isometry3<f64>) -> Self {
        let t = pose.translation.vector;
        let q = pose.rotation.coords;
        Self { position: Point { x: t.x, y: t.y, z: t.z }, orientation: Quaternion { x: q.x, y: q.y, z: q.z, w: q.w } }
    }
}

/// `geometry_msgs/msg/PoseStamped`: a pose with its frame and time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoseStamped {
    /// Time, and the frame that the pose is given in.
    pub header: Header,
    /// The pose.
    pub pose: Pose,
}

impl From<nalgebra::Vector3<f64>> for Vector3 {
    fn from(vector: nalgebra::Vector3<f64>) -> Self {
        Self { x: vector.x, y: vector.y, z: vector.z }
    }
}

/// `geometry_msgs/msg/Twist`: a velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Twist {
    /// m/s.
    pub linear: Vector3,
    /// rad/s.
    pub angular: Vector3,
}

/// `geometry_msgs/msg/TwistStamped`: a velocity with its frame and time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TwistStamped {
    /// When, and in which frame.
    pub header: Header,
    /// How fast.
    pub twist: Twist,
}
