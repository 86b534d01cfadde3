//! Pose composition and difference against the original's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use vjepa_planner::robot::pose::{Action, RobotState};

/// Difference of two Euler angle triples as rotations, and of all other numbers as numbers.
fn close(a: &[f64; 7], b: &[f64; 7]) {
    for i in [0, 1, 2, 6] {
        assert!((a[i] - b[i]).abs() < 1e-9, "{a:?} {b:?}");
    }
    for i in 3..6 {
        let d = (a[i] - b[i]).rem_euclid(std::f64::consts::TAU);
        assert!(d.min(std::f64::consts::TAU - d) < 1e-9, "{a:?} {b:?}");
    }
}

#[test]
fn poses_compose_and_differ_as_in_the_original() {
    for golden in common::golden_sets() {
        let poses = golden.sevens("pose_compose_pose");
        let actions = golden.sevens("pose_compose_action");
        let results = golden.sevens("pose_compose_result");
        let differences = golden.sevens("pose_diff_result");
        assert!(!poses.is_empty());
        for (((pose, action), result), difference) in poses.iter().zip(&actions).zip(&results).zip(&differences) {
            close(&RobotState(*pose).compose(&Action(*action)).0, result);
            close(&RobotState(*pose).action_to(&RobotState(*result)).0, difference);
        }
    }
}
