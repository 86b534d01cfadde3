//! Plans the motion of a robot arm with the world model V-JEPA 2-AC, in real time, as a ROS 2 node.

pub mod camera;
pub mod clock;
pub mod command;
pub mod config;
pub mod node;
pub mod planner;
pub mod robot;
pub mod ros;
pub mod safety;
pub mod shadow;
pub mod share;
mod threads;
pub mod window;
pub mod world_model;
