//! Definitions of message types as text, which recordings carry so that other programs can read them.
//!
//! The fields are those of the ROS interfaces, types of all packages with their package's name.

/// Type, and its fields in order.
const DEFINITIONS: &[(&str, &str)] = &[
    ("builtin_interfaces/Duration", "int32 sec\nuint32 nanosec\n"),
    ("builtin_interfaces/Time", "int32 sec\nuint32 nanosec\n"),
    (
        "diagnostic_msgs/DiagnosticStatus",
        "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\nbyte level\nstring name\nstring message\nstring hardware_id\n\
         diagnostic_msgs/KeyValue[] values\n",
    ),
    ("diagnostic_msgs/KeyValue", "string key\nstring value\n"),
    ("geometry_msgs/Point", "float64 x\nfloat64 y\nfloat64 z\n"),
    ("geometry_msgs/Pose", "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n"),
    ("geometry_msgs/PoseStamped", "std_msgs/Header header\ngeometry_msgs/Pose pose\n"),
    ("geometry_msgs/Quaternion", "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"),
    ("geometry_msgs/Twist", "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n"),
    ("geometry_msgs/TwistStamped", "std_msgs/Header header\ngeometry_msgs/Twist twist\n"),
    ("geometry_msgs/Vector3", "float64 x\nfloat64 y\nfloat64 z\n"),
    ("nav_msgs/Path", "std_msgs/Header header\ngeometry_msgs/PoseStamped[] poses\n"),
    (
        "sensor_msgs/CameraInfo",
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\n\
         float64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\nsensor_msgs/RegionOfInterest roi\n",
    ),
    ("sensor_msgs/CompressedImage", "std_msgs/Header header\nstring format\nuint8[] data\n"),
    (
        "sensor_msgs/Image",
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n",
    ),
    (
        "sensor_msgs/JointState",
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
    ),
    (
        "sensor_msgs/RegionOfInterest",
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    ),
    ("std_msgs/Float64MultiArray", "std_msgs/MultiArrayLayout layout\nfloat64[] data\n"),
    ("std_msgs/Header", "builtin_interfaces/Time stamp\nstring frame_id\n"),
    ("std_msgs/MultiArrayDimension", "string label\nuint32 size\nuint32 stride\n"),
    ("std_msgs/MultiArrayLayout", "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset\n"),
    ("std_msgs/String", "string data\n"),
    ("std_msgs/UInt8MultiArray", "std_msgs/MultiArrayLayout layout\nuint8[] data\n"),
    (
        "trajectory_msgs/JointTrajectory",
        "std_msgs/Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint[] points\n",
    ),
    (
        "trajectory_msgs/JointTrajectoryPoint",
        "float64[] positions\nfloat64[] velocities\nfloat64[] accelerations\nfloat64[] effort\n\
         builtin_interfaces/Duration time_from_start\n",
    ),
];

/// Line between the definitions of a type and of those that it is made of.
const SEPARATOR: &str = "================================================================================";

/// The definition of a type (as in `std_msgs/msg/String`) with those of all types that it is made of, in the form
/// `ros2msg` of MCAP. `None` for a type that is not known here.
pub fn ros2msg(type_name: &str) -> Option<String> {
    let root = type_name.replacen("/msg/", "/", 1);
    let mut parts = vec![root.as_str()];
    let mut text = String::new();
    let mut next = 0;
    while let Some(&name) = parts.get(next) {
        let fields = fields(name)?;
        if next > 0 {
            text.push_str(&format!("{SEPARATOR}\nMSG: {name}\n"));
        }
        text.push_str(fields);
        for line in fields.lines() {
            let part = line.split([' ', '[']).next().unwrap_or_default();
            if part.contains('/') && !parts.contains(&part) {
                parts.push(part);
            }
        }
        next += 1;
    }
    Some(text)
}

fn fields(name: &str) -> Option<&'static str> {
    DEFINITIONS.iter().find(|(known, _)| *known == name).map(|(_, fields)| *fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_complete() {
        for (name, _) in DEFINITIONS {
            assert!(ros2msg(&name.replacen('/', "/msg/", 1)).is_some(), "{name}");
        }
        assert_eq!(ros2msg("std_msgs/msg/Colour"), None);
    }

    #[test]
    fn each_part_comes_once_after_the_whole() {
        let text = ros2msg("nav_msgs/msg/Path").unwrap();
        assert!(text.starts_with("std_msgs/Header header\ngeometry_msgs/PoseStamped[] poses\n====="));
        for part in ["std_msgs/Header", "builtin_interfaces/Time", "geometry_msgs/Quaternion"] {
            assert_eq!(text.matches(&format!("MSG: {part}\n")).count(), 1, "{part}");
        }
    }
}
