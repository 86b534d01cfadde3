//! What the world model makes of a move that was made: what it expected of it, how wrong that was, and whether that is an
//! alarm. The node judges so while it runs, and replay afterwards.

use arrayvec::ArrayVec;

use super::alarm::{OverconfidenceMonitor, Promise, SurpriseMonitor, surprise_alarm};
use super::comparison::is_still;
use super::{Alarm, AlarmKind, ShadowConfig, Surprise};
use crate::config::Mode;
use crate::robot::pose::{Action, STATE_DIM};
use crate::world_model::{Context, EnergyNorm, Latent, ModelError, Rollouts, WorldModel, latent_energy};

/// Alarms of one step: one of each kind at most.
pub const ALARMS: usize = 3;

/// What the world model expects of a move, in energy against the goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// After the move.
    pub energy: f64,
    /// After as long of standing still.
    pub energy_still: f64,
}

/// A move that was made, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MadeMove {
    /// The move.
    pub action: Action,
    /// How far the latent that came is from the predicted one ([`Judge::error`]); `None` when either is not known.
    pub error: Option<f64>,
    /// What the model expected; `None` when it was not asked.
    pub opinion: Option<Opinion>,
    /// Energy of the frame before.
    pub before: Option<f64>,
    /// Energy of the frame after.
    pub after: Option<f64>,
}

/// What is to be said of a move.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// How wrong the prediction was, and how wrong predictions usually are.
    pub surprise: Option<Surprise>,
    /// Signs that the model is not to be trusted here.
    pub alarms: ArrayVec<Alarm, ALARMS>,
}

/// Judges move by move. Takes no heap memory once it is warm, but for the calls of the model.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Whose moves they are.
    kind: AlarmKind,
    surprise: SurpriseMonitor,
    overconfidence: OverconfidenceMonitor,
    /// Of two candidates: the move that was made, and none.
    rollouts: Rollouts,
}

impl Judge {
    /// For the moves of the incumbent (`shadow`) or of the planner itself (`active`).
    pub fn new(mode: Mode) -> Self {
        let kind = match mode {
            Mode::Shadow => AlarmKind::OverconfidentIncumbent,
            Mode::Active => AlarmKind::OverconfidentPlan,
        };
        Self {
            kind,
            surprise: SurpriseMonitor::default(),
            overconfidence: OverconfidenceMonitor::default(),
            rollouts: Rollouts::default(),
        }
    }

    /// The model's energies for one step of `action` and one of standing still, both from `context`; `None` when they are
    /// not finite. [`Self::error`] is about this question then. The model has another problem afterwards.
    ///
    /// # Errors
    /// [`ModelError`], also when the model has no graph that looks one step ahead.
    pub fn ask(
        &mut self,
        model: &mut dyn WorldModel,
        context: &Context<'_>,
        goal: &Latent,
        action: &Action,
        norm: EnergyNorm,
    ) -> Result<Option<Opinion>, ModelError> {
        let mut actions = [0.0_f32; 2 * STATE_DIM];
        actions.iter_mut().zip(action.0).for_each(|(out, value)| *out = value as f32);
        model.set_problem(context, goal)?;
        model.rollout(&actions, 2, 1, true, &mut self.rollouts)?;
        let energies = match norm {
            EnergyNorm::L1 => &self.rollouts.energy_l1,
            EnergyNorm::L2 => &self.rollouts.energy_l2,
        };
        let &[energy, energy_still] = &energies[..] else { return Ok(None) };
        let finite = energy.is_finite() && energy_still.is_finite();
        Ok(finite.then_some(Opinion { energy: f64::from(energy), energy_still: f64::from(energy_still) }))
    }

    /// Mean absolute difference between the latent that [`Self::ask`] predicted for the move and the one that came.
    pub fn error(&self, came: &Latent) -> Option<f64> {
        let predicted = self.rollouts.latents.get(..came.host().len()).unwrap_or_default();
        latent_energy(predicted, came.host(), EnergyNorm::L1)
    }

    /// Judges a move by those before it, and counts it among them.
    pub fn judge(&mut self, made: &MadeMove, config: &ShadowConfig) -> Judgement {
        let alarm = &config.alarm;
        let moving = !is_still(&made.action, &config.comparison);
        let surprise = made.error.and_then(|error| self.surprise.observe(error, moving, alarm));
        let mut alarms: ArrayVec<Alarm, ALARMS> =
            surprise.as_ref().and_then(|surprise| surprise_alarm(surprise, alarm)).into_iter().collect();
        match (made.opinion, made.before, made.after) {
            (Some(opinion), Some(before), Some(after)) => {
                let (predicted, predicted_still) = (opinion.energy, opinion.energy_still);
                let promise = Promise { before, after, predicted, predicted_still };
                alarms.extend(self.overconfidence.observe(&promise, self.kind, alarm));
            }
            _ => self.new_goal(),
        }
        Judgement { surprise, alarms }
    }

    /// The next move has nothing to do with the last: another goal, a pause, a move of which nothing is known.
    pub fn new_goal(&mut self) {
        self.overconfidence.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(after: f64) -> MadeMove {
        let opinion = Some(Opinion { energy: 0.4, energy_still: 0.5 });
        MadeMove {
            action: Action([0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            error: Some(0.2),
            opinion,
            before: Some(0.5),
            after: Some(after),
        }
    }

    #[test]
    fn a_promise_that_is_not_kept_is_the_incumbents_or_our_own() {
        for (mode, kind) in
            [(Mode::Shadow, AlarmKind::OverconfidentIncumbent), (Mode::Active, AlarmKind::OverconfidentPlan)]
        {
            let (mut judge, config) = (Judge::new(mode), ShadowConfig::default());
            let judged: Vec<Judgement> = (0..8).map(|_| judge.judge(&made(0.52), &config)).collect();
            assert!(judged[..config.alarm.overconfidence_steps - 1].iter().all(|j| j.alarms.is_empty()), "{judged:?}");
            assert_eq!(judged[7].alarms[0].kind, kind);
            assert!((0..8).all(|_| Judge::new(mode).judge(&made(0.42), &config).alarms.is_empty()));
        }
    }

    #[test]
    fn a_move_of_which_nothing_is_known_interrupts_the_promises() {
        let (mut judge, config) = (Judge::new(Mode::Shadow), ShadowConfig::default());
        for _ in 0..5 {
            for _ in 0..config.alarm.overconfidence_steps - 1 {
                assert!(judge.judge(&made(0.52), &config).alarms.is_empty());
            }
            let unknown = MadeMove { after: None, ..made(0.5) };
            assert!(judge.judge(&unknown, &config).surprise.is_some(), "the prediction can be judged all the same");
        }
    }

    #[test]
    fn the_thresholds_are_those_of_the_settings() {
        let mut config = ShadowConfig::default();
        config.alarm.overconfidence_steps = 1;
        assert_eq!(Judge::new(Mode::Shadow).judge(&made(0.52), &config).alarms.len(), 1);
        config.alarm.overconfidence_fall = 0.2;
        assert!(Judge::new(Mode::Shadow).judge(&made(0.52), &config).alarms.is_empty(), "0.1 is no promise");
    }
}
