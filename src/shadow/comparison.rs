//! Planned against executed move: pure functions of end-effector states and actions.

use nalgebra::UnitQuaternion;

use super::{Difference, NotComparedReason};
use crate::config::Mode;
use crate::config::parameter::{parameters, runtime};
use crate::robot::pose::{Action, RobotState};

parameters! {
    /// From when on moves count, and when two of them agree.
    #[derive(Copy)]
    pub struct ComparisonConfig {
        /// A translation below this has no direction; a step in which the arm neither moves, turns nor grips is not compared.
        still_mm: f64 = 1.5 => runtime().unit("mm").range(0.0..=1_000.0),
        /// A rotation below this is none.
        still_deg: f64 = 1.0 => runtime().unit("deg").range(0.0..=180.0),
        /// A change of the gripper's closedness (0 open … 1 closed) below this is none.
        still_gripper: f64 = 0.1 => runtime().range(0.0..=1.0),
        /// Two translations agree when they are not farther apart than this, or point the same way.
        agree_mm: f64 = 15.0 => runtime().unit("mm").range(0.0..=1_000.0),
        /// The cosine between two translations from which they point the same way: speed alone is no disagreement.
        agree_cosine: f64 = 0.7 => runtime().range(-1.0..=1.0),
        /// Two rotations agree when they are not farther apart than this.
        agree_deg: f64 = 10.0 => runtime().unit("deg").range(0.0..=180.0),
    }
}

/// The action that leads from `before` to `after`: positions subtract, `R_after = R_action · R_before`. `None` when a number
/// is not finite.
pub fn executed_action(before: &RobotState, after: &RobotState) -> Option<Action> {
    let action = before.action_to(after);
    (before.is_finite() && after.is_finite() && action.is_finite()).then_some(action)
}

/// Whether an arm that made this move stood still.
pub fn is_still(action: &Action, config: &ComparisonConfig) -> bool {
    translation_mm(action) < config.still_mm
        && action.rotation().angle().to_degrees() < config.still_deg
        && action.gripper().abs() < config.still_gripper
}

/// How far the planned move is from the one that was made, or why that is not to be compared.
///
/// # Errors
/// [`NotComparedReason`].
pub fn compare(
    mode: Mode,
    planned: Option<&Action>,
    executed: &Action,
    config: &ComparisonConfig,
) -> Result<Difference, NotComparedReason> {
    match planned {
        _ if mode == Mode::Active => Err(NotComparedReason::OwnMove),
        None => Err(NotComparedReason::NoPlan),
        Some(_) if is_still(executed, config) => Err(NotComparedReason::IncumbentIdle),
        Some(planned) => difference(planned, executed, config).ok_or(NotComparedReason::StaleJointState),
    }
}

/// How far apart two moves from the same state are. `None` when a number is not finite.
pub fn difference(planned: &Action, executed: &Action, config: &ComparisonConfig) -> Option<Difference> {
    if !(planned.is_finite() && executed.is_finite()) {
        return None;
    }
    let (ours, theirs) = (planned.translation(), executed.translation());
    let directed = translation_mm(planned).min(translation_mm(executed)) >= config.still_mm.max(f64::MIN_POSITIVE);
    let cosine = directed.then(|| (ours.dot(&theirs) / (ours.norm() * theirs.norm())).clamp(-1.0, 1.0));
    let translation_mm = (ours - theirs).norm() * 1e3;
    let (ours, theirs): (UnitQuaternion<f64>, UnitQuaternion<f64>) =
        (planned.rotation().into(), executed.rotation().into());
    let rotation_deg = ours.angle_to(&theirs).to_degrees();
    let gripper_agrees = grip(planned, config) == grip(executed, config);
    let same_way = translation_mm <= config.agree_mm || cosine.is_some_and(|cosine| cosine >= config.agree_cosine);
    Some(Difference {
        translation_mm,
        rotation_deg,
        direction_cosine: cosine,
        gripper_agrees,
        agrees: same_way && rotation_deg <= config.agree_deg && gripper_agrees,
    })
}

fn translation_mm(action: &Action) -> f64 {
    action.translation().norm() * 1e3
}

/// 1 closes, −1 opens, 0 leaves the gripper as it is.
fn grip(action: &Action, config: &ComparisonConfig) -> i8 {
    let change = action.gripper();
    if change.abs() < config.still_gripper || change == 0.0 {
        0
    } else if change > 0.0 {
        1
    } else {
        -1
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_PI_2, PI};

    use super::*;
    use proptest::prelude::*;

    fn config() -> ComparisonConfig {
        ComparisonConfig::default()
    }

    fn moved(x: f64, y: f64, z: f64) -> Action {
        Action([x, y, z, 0.0, 0.0, 0.0, 0.0])
    }

    #[test]
    fn a_known_difference() {
        let turned = Action([0.01, 0.0, 0.0, 0.0, 0.0, FRAC_PI_2, 0.5]);
        let found = difference(&turned, &moved(0.0, 0.01, 0.0), &config()).unwrap();
        assert!((found.translation_mm - 10.0 * 2.0_f64.sqrt()).abs() < 1e-9, "{found:?}");
        assert!((found.rotation_deg - 90.0).abs() < 1e-9, "{found:?}");
        assert!(found.direction_cosine.unwrap().abs() < 1e-12, "{found:?}");
        assert!(!found.gripper_agrees && !found.agrees, "{found:?}");
    }

    #[test]
    fn another_speed_in_the_same_direction_agrees_and_another_direction_does_not() {
        let fast = moved(0.05, 0.0, 0.0);
        let slow = difference(&fast, &moved(0.01, 0.002, 0.0), &config()).unwrap();
        assert!(slow.translation_mm > config().agree_mm && slow.agrees, "{slow:?}");
        let aside = difference(&fast, &moved(0.0, 0.02, 0.0), &config()).unwrap();
        assert!(!aside.agrees, "{aside:?}");
    }

    #[test]
    fn what_hardly_moves_has_no_direction() {
        let found = difference(&moved(0.03, 0.0, 0.0), &moved(-0.001, 0.0, 0.0), &config()).unwrap();
        assert_eq!(found.direction_cosine, None);
        let never = ComparisonConfig { still_mm: 0.0, ..config() };
        assert_eq!(difference(&moved(0.0, 0.0, 0.0), &moved(0.01, 0.0, 0.0), &never).unwrap().direction_cosine, None);
    }

    #[test]
    fn an_arm_is_still_when_it_neither_moves_turns_nor_grips() {
        assert!(is_still(&moved(0.001, 0.0, 0.0), &config()));
        assert!(!is_still(&moved(0.002, 0.0, 0.0), &config()));
        assert!(!is_still(&Action([0.0, 0.0, 0.0, 0.0, 0.03, 0.0, 0.0]), &config()));
        assert!(!is_still(&Action([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.2]), &config()));
    }

    #[test]
    fn what_cannot_be_compared_has_a_reason() {
        let (move_a, still) = (moved(0.03, 0.0, 0.0), moved(0.0005, 0.0, 0.0));
        let reason = |mode, planned: Option<&Action>, executed: &Action| {
            compare(mode, planned, executed, &config()).unwrap_err()
        };
        assert_eq!(reason(Mode::Active, Some(&move_a), &move_a), NotComparedReason::OwnMove);
        assert_eq!(reason(Mode::Shadow, None, &move_a), NotComparedReason::NoPlan);
        assert_eq!(reason(Mode::Shadow, Some(&move_a), &still), NotComparedReason::IncumbentIdle);
        let unknown = moved(f64::NAN, 0.0, 0.0);
        assert_eq!(reason(Mode::Shadow, Some(&move_a), &unknown), NotComparedReason::StaleJointState);
        assert!(compare(Mode::Shadow, Some(&still), &move_a, &config()).is_ok(), "only the incumbent has to move");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for i in 0..7 {
            let mut numbers = [0.0; 7];
            numbers[i] = f64::NAN;
            let (good, bad) = (moved(0.01, 0.0, 0.0), Action(numbers));
            assert!(difference(&good, &bad, &config()).is_none() && difference(&bad, &good, &config()).is_none());
            let (from, to) = (RobotState::default(), RobotState(numbers));
            assert!(executed_action(&from, &to).is_none() && executed_action(&to, &from).is_none());
        }
    }

    prop_compose! {
        fn a_state()(p in prop::array::uniform3(-1.0..1.0), a in -PI..PI, b in -1.5..1.5, c in -PI..PI, g in 0.0..=1.0)
            -> RobotState {
            RobotState([p[0], p[1], p[2], a, b, c, g])
        }
    }

    prop_compose! {
        fn an_action()(p in prop::array::uniform3(-0.1..0.1), r in prop::array::uniform3(-1.0..1.0), g in -1.0..1.0)
            -> Action {
            Action([p[0], p[1], p[2], r[0], r[1], r[2], g])
        }
    }

    proptest! {
        #[test]
        fn the_action_between_two_states_leads_from_one_to_the_other(from in a_state(), to in a_state()) {
            let action = executed_action(&from, &to).unwrap();
            let there = from.compose(&action);
            prop_assert!((there.pose().translation.vector - to.position()).norm() < 1e-9);
            prop_assert!(there.pose().rotation.angle_to(&to.pose().rotation) < 1e-6);
            prop_assert!((there.gripper() - to.gripper()).abs() < 1e-9);
        }

        #[test]
        fn an_action_that_was_executed_does_not_differ_from_the_planned(from in a_state(), action in an_action()) {
            let action = Action([action.0[0], action.0[1], action.0[2], action.0[3], action.0[4], action.0[5], 0.0]);
            let found = executed_action(&from, &from.compose(&action)).unwrap();
            let difference = difference(&action, &found, &config()).unwrap();
            prop_assert!(difference.translation_mm < 1e-6 && difference.rotation_deg < 1e-4, "{difference:?}");
            prop_assert!(difference.agrees && difference.direction_cosine.is_none_or(|cosine| cosine > 1.0 - 1e-9));
        }

        #[test]
        fn who_is_compared_with_whom_does_not_matter(a in an_action(), b in an_action()) {
            let (ab, ba) = (difference(&a, &b, &config()).unwrap(), difference(&b, &a, &config()).unwrap());
            prop_assert!((ab.translation_mm - ba.translation_mm).abs() < 1e-9);
            prop_assert!((ab.rotation_deg - ba.rotation_deg).abs() < 1e-6);
            prop_assert_eq!(ab.direction_cosine.is_some(), ba.direction_cosine.is_some());
            prop_assert_eq!((ab.gripper_agrees, ab.agrees), (ba.gripper_agrees, ba.agrees));
        }
    }
}
