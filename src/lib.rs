//! Plans the motion of a robot arm with the world model V-JEPA 2-AC, in real time, as a ROS 2 node.

pub mod clock;
pub mod command;
pub mod robot;
pub mod safety;
