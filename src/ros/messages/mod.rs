//! The ROS 2 messages and services that the planner speaks, as plain structs, one file for each ROS package.
//!
//! Field order is that of the `.msg` files, because it is the order on the wire. Units are SI: metres, radians,
//! seconds, newton metres.

mod builtin;
mod control_msgs;
pub mod definitions;
mod diagnostic_msgs;
mod geometry_msgs;
mod lifecycle_msgs;
mod nav_msgs;
mod rcl_interfaces;
mod rosgraph_msgs;
mod sensor_msgs;
mod std_msgs;
mod std_srvs;
mod trajectory_msgs;
mod visualization_msgs;

use serde::{Serialize, de::DeserializeOwned};

pub use builtin::{Duration, Time};
pub use control_msgs::{
    GripperTarget, MoveGripper, MoveGripperGoal, MoveGripperResult, MoveParallelGripper, MoveParallelGripperGoal,
    MoveParallelGripperResult,
};
pub use diagnostic_msgs::{DiagnosticArray, DiagnosticStatus, KeyValue};
pub use geometry_msgs::{Point, Pose, PoseStamped, Quaternion, Twist, TwistStamped, Vector3};
pub use lifecycle_msgs::{
    ChangeState, ChangeStateRequest, ChangeStateResponse, GetAvailableStates, GetAvailableStatesResponse,
    GetAvailableTransitions, GetAvailableTransitionsResponse, GetState, GetStateResponse, LifecycleQuery,
    LifecycleState, LifecycleTransition, TransitionDescription, TransitionEvent,
};
pub use nav_msgs::Path;
pub use rcl_interfaces::{
    DescribeParameters, DescribeParametersRequest, DescribeParametersResponse, FloatingPointRange, GetParameterTypes,
    GetParameterTypesRequest, GetParameterTypesResponse, GetParameters, GetParametersRequest, GetParametersResponse,
    IntegerRange, ListParameters, ListParametersRequest, ListParametersResponse, ListParametersResult, Log, Parameter,
    ParameterDescriptor, ParameterEvent, ParameterValue, SetParameters, SetParametersAtomically,
    SetParametersAtomicallyRequest, SetParametersAtomicallyResponse, SetParametersRequest, SetParametersResponse,
    SetParametersResult,
};
pub use rosgraph_msgs::Clock;
pub use sensor_msgs::{CameraInfo, CompressedImage, Image, JointState, RegionOfInterest};
pub use std_msgs::{
    ColorRGBA, Float64MultiArray, Header, MultiArrayDimension, MultiArrayLayout, StringMessage, UInt8MultiArray,
};
pub use std_srvs::{SetBool, SetBoolRequest, SetBoolResponse, Trigger, TriggerRequest, TriggerResponse};
pub use trajectory_msgs::{JointTrajectory, JointTrajectoryPoint};
pub use visualization_msgs::{Marker, MarkerArray, MeshFile, UVCoordinate};

/// A message that a topic carries.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// Name of the type as ROS tools print it, e.g. `sensor_msgs/msg/Image`.
    const TYPE: &'static str;
}

/// An action: a goal that takes a while, and its result.
pub trait Action: 'static {
    /// Name of the type as ROS tools print it, e.g. `control_msgs/action/GripperCommand`.
    const TYPE: &'static str;
    /// What a client asks for.
    type Goal: Serialize + Send + 'static;
    /// What came of it.
    type Result: DeserializeOwned + Send + 'static;
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

/// Gives structs the names of their ROS messages.
macro_rules! messages {
    ($($name:ty => $ros:literal),* $(,)?) => {
        $(impl $crate::ros::messages::Message for $name { const TYPE: &'static str = $ros; })*
    };
}
use messages;

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
        one::<TwistStamped>(payload);
        one::<DiagnosticStatus>(payload);
        one::<DiagnosticArray>(payload);
        one::<CameraInfo>(payload);
        one::<MarkerArray>(payload);
        one::<Path>(payload);
        one::<TransitionEvent>(payload);
        one::<Log>(payload);
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
    fn arrays_of_fixed_length_have_no_count_on_the_wire() {
        let k = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let info = CameraInfo { height: 3, width: 4, k, ..CameraInfo::default() };
        let bytes = encode(&info, CameraInfo::TYPE).unwrap();
        // Header 12 + 1 (empty text with its end), 3 of padding, two sizes, text 4 + 1, 3 of padding, count of `d`.
        assert_eq!(&bytes[32..36], [0; 4], "an empty `d`");
        assert_eq!(&bytes[40..48], 1.0_f64.to_le_bytes(), "`k` follows at the next multiple of eight");
        assert_eq!(decode::<CameraInfo>(little(&bytes), CameraInfo::TYPE).unwrap(), info);
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
