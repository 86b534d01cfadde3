//! The arm: description, kinematics and end-effector pose.

pub mod pose;
