//! Is this plan worth executing?

use super::Plan;
use super::action_space::ActionSpace;
use crate::config::parameter::{parameters, runtime};

parameters! {
    /// Settings.
    #[derive(Copy)]
    pub struct ValidatorConfig {
        /// How much higher than staying the plan's predicted energy may be. Both are predictions of the same model.
        max_worse_than_staying: f64 = 0.01 => runtime().unit("energy").range(0.0..=1e6),
        /// When staying was not evaluated: how much higher than the current frame's energy the plan's may be. A prediction
        /// is compared with an observation here, so it has to cover the model's error.
        max_worse_than_now: f64 = 0.25 => runtime().unit("energy").range(0.0..=1e6),
    }
}

/// What to do with a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Execute it.
    Accept,
    /// Do not move; plan again from the next frame.
    Hold(String),
    /// Something is wrong with the planner or the model.
    Fail(String),
}

/// Judges `plan`, which was searched in `space`.
pub fn validate(plan: &Plan, space: &ActionSpace, config: &ValidatorConfig) -> Verdict {
    if !(plan.energy.is_finite() && plan.energy_now.is_finite() && plan.cost.is_finite()) {
        return Verdict::Fail(format!("energy {} or {} is not finite", plan.energy, plan.energy_now));
    }
    if plan.actions.len() != space.horizon() || !plan.actions.iter().all(|a| a.is_finite()) {
        return Verdict::Fail(format!("actions {:?} are not {} finite steps", plan.actions, space.horizon()));
    }
    if !space.contains(&plan.candidate) {
        return Verdict::Fail(format!("candidate {:?} is out of bounds", plan.candidate));
    }
    let (reference, name, bound) = match plan.energy_stay {
        Some(stay) => (stay, "staying", config.max_worse_than_staying),
        None => (plan.energy_now, "the current frame", config.max_worse_than_now),
    };
    if plan.energy > reference + bound {
        return Verdict::Hold(format!("predicted energy {:.4} is worse than {name} at {reference:.4}", plan.energy));
    }
    Verdict::Accept
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::planner::Stop;
    use crate::planner::action_space::ActionSpaceConfig;
    use crate::robot::pose::Action;

    fn plan() -> Plan {
        Plan {
            actions: [Action([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])].into_iter().collect(),
            candidate: [0.01, 0.0, 0.0, 0.5].into_iter().collect(),
            energy: 0.4,
            cost: 0.4,
            energy_now: 0.5,
            energy_stay: Some(0.45),
            predictor_calls: 33,
            batches: 3,
            excluded: 0,
            stop: Stop::Converged,
            planning_time: Duration::ZERO,
            host_time: Duration::ZERO,
        }
    }

    fn judge(change: impl Fn(&mut Plan)) -> Verdict {
        let space = ActionSpace::new(&ActionSpaceConfig::default(), 0.05, 1).unwrap();
        let mut plan = plan();
        change(&mut plan);
        validate(&plan, &space, &ValidatorConfig::default())
    }

    #[test]
    fn a_plan_that_improves_is_accepted() {
        assert_eq!(judge(|_| {}), Verdict::Accept);
    }

    #[test]
    fn a_plan_that_makes_it_worse_is_held() {
        assert!(matches!(judge(|p| p.energy = 0.47), Verdict::Hold(_)));
        assert_eq!(judge(|p| (p.energy, p.energy_stay) = (0.7, None)), Verdict::Accept);
        assert!(matches!(judge(|p| (p.energy, p.energy_stay) = (0.8, None)), Verdict::Hold(_)));
    }

    #[test]
    fn what_is_not_finite_or_out_of_bounds_fails() {
        assert!(matches!(judge(|p| p.energy = f64::NAN), Verdict::Fail(_)));
        assert!(matches!(judge(|p| p.energy_now = f64::INFINITY), Verdict::Fail(_)));
        assert!(matches!(judge(|p| p.actions[0].0[2] = f64::NAN), Verdict::Fail(_)));
        assert!(matches!(judge(|p| p.candidate[0] = 0.06), Verdict::Fail(_)));
        assert!(matches!(judge(|p| p.candidate[3] = f64::NAN), Verdict::Fail(_)));
        assert!(matches!(judge(|p| p.actions.clear()), Verdict::Fail(_)));
    }
}
