//! The ROS 2 messages and services that the planner speaks, as plain structs.
//!
//! Field order is that of the `.msg` files, because it is the order on the wire. Units are SI: metres, radians,
//! seconds, newton metres.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::clock::RosTime;

/// A message that a topic carries.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// Name of the type as ROS tools print it, e.g. `sensor_msgs/msg/Image`.
    const TYPE: &'static str;
}

/// A service: a request and the response to it.
pub trait Service: 'static {
    /// Name of the type as ROS tools print it, e.g. `std_srvs/srv/SetBool`.
    const TYPE: &'static str;
    /// What a client sends.
    type Request: Serialize + DeserializeOwned + Send + 'static;
    /// What it gets back.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

macro_rules! messages {
    ($($name:ty => $ros:literal),* $(,)?) => {
        $(impl Message for $name { const TYPE: &'static str = $ros; })*

        /// ROS names of all message types that the planner knows.
        pub const MESSAGE_TYPES: &[&str] = &[$($ros),*];
    };
}

messages! {
    StringMessage => "std_msgs/msg/String",
    Float64MultiArray => "std_msgs/msg/Float64MultiArray",
    Image => "sensor_msgs/msg/Image",
    CompressedImage => "sensor_msgs/msg/CompressedImage",
    JointState => "sensor_msgs/msg/JointState",
    JointTrajectory => "trajectory_msgs/msg/JointTrajectory",
    DiagnosticStatus => "diagnostic_msgs/msg/DiagnosticStatus",
    DiagnosticArray => "diagnostic_msgs/msg/DiagnosticArray",
}

/// `builtin_interfaces/msg/Time`: a point in ROS time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds since the epoch of the clock.
    pub sec: i32,
    /// Nanoseconds within the second, 0..1e9.
    pub nanosec: u32,
}

impl From<RosTime> for Time {
    fn from(time: RosTime) -> Self {
        let (sec, nanosec) = time.to_parts();
        Self { sec, nanosec }
    }
}

impl From<Time> for RosTime {
    fn from(time: Time) -> Self {
        Self::from_parts(time.sec, time.nanosec)
    }
}

/// `builtin_interfaces/msg/Duration`: a signed length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duration {
    /// Whole seconds, negative for the past.
    pub sec: i32,
    /// Nanoseconds added to `sec`, 0..1e9.
    pub nanosec: u32,
}

impl From<std::time::Duration> for Duration {
    /// Saturates at 2³¹ − 1 seconds, as the message does.
    fn from(duration: std::time::Duration) -> Self {
        Self { sec: i32::try_from(duration.as_secs()).unwrap_or(i32::MAX), nanosec: duration.subsec_nanos() }
    }
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

impl From<Vec<f64>> for Float64MultiArray {
    fn from(data: Vec<f64>) -> Self {
        Self { layout: MultiArrayLayout::default(), data }
    }
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

/// `trajectory_msgs/msg/JointTrajectoryPoint`: one point of a trajectory, each list in the order of its joint names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointTrajectoryPoint {
    /// Radians or metres.
    pub positions: Vec<f64>,
    /// Radians or metres per second; may be empty.
    pub velocities: Vec<f64>,
    /// Radians or metres per second squared; may be empty.
    pub accelerations: Vec<f64>,
    /// Newton metres or newtons; may be empty.
    pub effort: Vec<f64>,
    /// Time since the start of the trajectory.
    pub time_from_start: Duration,
}

/// `trajectory_msgs/msg/JointTrajectory`: what a joint_trajectory_controller follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointTrajectory {
    /// Start of the trajectory; stamp 0 means "now".
    pub header: Header,
    /// Joint names, the order of all values in `points`.
    pub joint_names: Vec<String>,
    /// Points with strictly increasing `time_from_start`.
    pub points: Vec<JointTrajectoryPoint>,
}

/// `diagnostic_msgs/msg/KeyValue`: one named value of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value as text.
    pub value: String,
}

impl KeyValue {
    /// A pair from anything that prints.
    pub fn new(key: impl Into<String>, value: impl ToString) -> Self {
        Self { key: key.into(), value: value.to_string() }
    }
}

/// `diagnostic_msgs/msg/DiagnosticStatus`: health of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticStatus {
    /// [`Self::OK`], [`Self::WARN`], [`Self::ERROR`] or [`Self::STALE`].
    pub level: u8,
    /// Name of the component.
    pub name: String,
    /// One line for people.
    pub message: String,
    /// Serial number or other identity of the hardware.
    pub hardware_id: String,
    /// Details.
    pub values: Vec<KeyValue>,
}

impl DiagnosticStatus {
    /// Works.
    pub const OK: u8 = 0;
    /// Works, but needs attention.
    pub const WARN: u8 = 1;
    /// Does not work.
    pub const ERROR: u8 = 2;
    /// Says nothing any more.
    pub const STALE: u8 = 3;
}

/// `diagnostic_msgs/msg/DiagnosticArray`: what `/diagnostics` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticArray {
    /// Time of the report.
    pub header: Header,
    /// One entry per component.
    pub status: Vec<DiagnosticStatus>,
}

/// `std_srvs/srv/SetBool`: switches something on or off.
#[derive(Clone, Copy, Debug)]
pub enum SetBool {}

/// Request of [`SetBool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBoolRequest {
    /// On or off.
    pub data: bool,
}

/// Response of [`SetBool`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBoolResponse {
    /// Whether it was done.
    pub success: bool,
    /// Why, for people.
    pub message: String,
}

impl Service for SetBool {
    const TYPE: &'static str = "std_srvs/srv/SetBool";
    type Request = SetBoolRequest;
    type Response = SetBoolResponse;
}

/// `std_srvs/srv/Trigger`: does something.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {}

/// Request of [`Trigger`], without content (one dummy byte on the wire, as ROS writes it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRequest {}

/// Response of [`Trigger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerResponse {
    /// Whether it was done.
    pub success: bool,
    /// Why, for people.
    pub message: String,
}

impl Service for Trigger {
    const TYPE: &'static str = "std_srvs/srv/Trigger";
    type Request = TriggerRequest;
    type Response = TriggerResponse;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros::cdr::{DecodeError, Payload, decode, encode};

    fn little(bytes: &[u8]) -> Payload<'_> {
        Payload { big_endian: false, bytes }
    }

    fn trajectory() -> JointTrajectory {
        JointTrajectory {
            header: Header { stamp: Time { sec: 3, nanosec: 4 }, frame_id: "panda_link0".into() },
            joint_names: vec!["panda_joint1".into(), "panda_joint2".into()],
            points: vec![JointTrajectoryPoint {
                positions: vec![0.1, -0.2],
                velocities: vec![0.0, 0.0],
                accelerations: vec![],
                effort: vec![],
                time_from_start: Duration { sec: 0, nanosec: 250_000_000 },
            }],
        }
    }

    /// Every message type, decoded from the same bytes: none may panic.
    fn decode_all(payload: Payload<'_>) {
        fn one<M: Message>(payload: Payload<'_>) {
            let _ = decode::<M>(payload, M::TYPE);
        }
        one::<StringMessage>(payload);
        one::<Float64MultiArray>(payload);
        one::<Image>(payload);
        one::<CompressedImage>(payload);
        one::<JointState>(payload);
        one::<JointTrajectory>(payload);
        one::<DiagnosticStatus>(payload);
        one::<DiagnosticArray>(payload);
        let _ = decode::<SetBoolRequest>(payload, SetBool::TYPE);
        let _ = decode::<TriggerResponse>(payload, Trigger::TYPE);
    }

    #[test]
    fn a_string_has_the_bytes_of_the_specification() {
        let bytes = encode(&StringMessage { data: "hi".into() }, StringMessage::TYPE).unwrap();
        assert_eq!(bytes, [3, 0, 0, 0, b'h', b'i', 0]);
        let big = Payload { big_endian: true, bytes: &[0, 0, 0, 3, b'h', b'i', 0] };
        assert_eq!(decode::<StringMessage>(big, StringMessage::TYPE).unwrap().data, "hi");
    }

    #[test]
    fn image_data_is_a_plain_sequence_of_bytes() {
        let image =
            Image { height: 1, width: 2, encoding: "mono8".into(), step: 2, data: vec![7, 9], ..Image::default() };
        let bytes = encode(&image, Image::TYPE).unwrap();
        assert_eq!(&bytes[bytes.len() - 6..], [2, 0, 0, 0, 7, 9]);
        assert_eq!(decode::<Image>(little(&bytes), Image::TYPE).unwrap(), image);
    }

    #[test]
    fn truncated_at_any_byte_is_an_error_and_padding_is_not() {
        let original = trajectory();
        let mut bytes = encode(&original, JointTrajectory::TYPE).unwrap();
        for length in 0..bytes.len() {
            assert!(
                decode::<JointTrajectory>(little(&bytes[..length]), JointTrajectory::TYPE).is_err(),
                "cut at {length}"
            );
        }
        bytes.extend([0; 3]);
        assert_eq!(decode::<JointTrajectory>(little(&bytes), JointTrajectory::TYPE).unwrap(), original);
    }

    #[test]
    fn another_type_on_the_topic_is_noticed() {
        let bytes = encode(&trajectory(), JointTrajectory::TYPE).unwrap();
        let error = decode::<Header>(little(&bytes), "std_msgs/msg/Header").unwrap_err();
        assert!(matches!(error, DecodeError::LeftOver { .. }), "{error}");
    }

    #[test]
    fn an_empty_request_is_one_dummy_byte_and_none_is_understood_too() {
        assert_eq!(encode(&TriggerRequest {}, Trigger::TYPE).unwrap(), [0]);
        assert_eq!(decode::<TriggerRequest>(little(&[0]), Trigger::TYPE).unwrap(), TriggerRequest {});
        assert_eq!(decode::<TriggerRequest>(little(&[]), Trigger::TYPE).unwrap(), TriggerRequest {});
    }

    #[test]
    fn a_length_beyond_the_payload_neither_panics_nor_allocates() {
        for big_endian in [false, true] {
            decode_all(Payload { big_endian, bytes: &[0xff; 64] });
            decode_all(Payload { big_endian, bytes: &[0x7f; 67] });
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), big_endian: bool) {
            decode_all(Payload { big_endian, bytes: &bytes });
        }

        #[test]
        fn one_flipped_byte_never_panics(at in 0_usize..200, value: u8) {
            let mut bytes = encode(&trajectory(), JointTrajectory::TYPE).unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            decode_all(little(&bytes));
        }
    }
}
