//! A task: goal images in order, when each counts as reached, and what happens when one is not.
//!
//! Reading is [`Task::load`]; deciding is [`GoalSequence`], which does no I/O.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Why a task is refused.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The task file cannot be read.
    #[error("task file {path} cannot be read: {source}")]
    Read {
        /// The task file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The task file is not YAML of the expected form.
    #[error("{path} is not a task: {reason}")]
    Parse {
        /// The task file.
        path: PathBuf,
        /// Line, column and what was expected.
        reason: String,
    },
    /// A field has a value that makes no sense.
    #[error("{path}: field `{field}`: {reason}")]
    Field {
        /// The task file.
        path: PathBuf,
        /// The field, dotted, with the goal's name where it belongs to one.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// When a goal counts as reached: the energy of the current frame is low and does not change any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Switch {
    /// Energy below which the goal may count as reached.
    pub energy_below: f64,
    /// Steps over which the energy has to be settled; 0: the threshold alone decides.
    pub settle_steps: usize,
    /// Largest difference between the energies of the last `settle_steps` steps and now.
    pub settle_change: f64,
}

impl Default for Switch {
    fn default() -> Self {
        Self { energy_below: 0.30, settle_steps: 2, settle_change: 0.01 }
    }
}

/// What happens when a goal is not reached within its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// Go on with the next goal.
    #[default]
    Next,
    /// Try the same goal again, up to `max_retries` times, then give up.
    Retry,
    /// Give up.
    Abort,
}

/// A goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Its name, unique in the task.
    pub name: String,
    /// The image file.
    pub image: PathBuf,
    /// Actions allowed towards it.
    pub max_steps: u32,
    /// When it counts as reached.
    pub switch: Switch,
}

/// A task, as its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Goals in order; at least one.
    pub goals: Vec<Goal>,
    /// What happens when a goal is not reached.
    pub on_timeout: OnTimeout,
    /// Retries of one goal with [`OnTimeout::Retry`].
    pub max_retries: u32,
}

/// `switch` in the file; what is absent comes from the task's, then from the defaults.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SwitchFields {
    energy_below: Option<f64>,
    settle_steps: Option<usize>,
    settle_change: Option<f64>,
}

impl SwitchFields {
    fn or(self, base: Switch) -> Switch {
        Switch {
            energy_below: self.energy_below.unwrap_or(base.energy_below),
            settle_steps: self.settle_steps.unwrap_or(base.settle_steps),
            settle_change: self.settle_change.unwrap_or(base.settle_change),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoalFields {
    name: String,
    image: PathBuf,
    max_steps: u32,
    #[serde(default)]
    switch: SwitchFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFields {
    name: String,
    goals: Vec<GoalFields>,
    #[serde(default)]
    switch: SwitchFields,
    #[serde(default)]
    on_timeout: OnTimeout,
    #[serde(default = "default_max_retries")]
    max_retries: u32,
}

fn default_max_retries() -> u32 {
    2
}

/// Longest settling window, steps.
const MAX_SETTLE_STEPS: usize = 64;
/// Most goals of a task.
const MAX_GOALS: usize = 1000;

impl Task {
    /// Reads and checks a task file; image paths are taken relative to it. The images are not opened yet.
    ///
    /// # Errors
    /// [`TaskError`] names the file and the field.
    pub fn load(path: &Path) -> Result<Self, TaskError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TaskError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of the task file `path`.
    ///
    /// # Errors
    /// [`TaskError::Parse`] and [`TaskError::Field`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, TaskError> {
        let fields: TaskFields = serde_saphyr::from_str(text)
            .map_err(|e| TaskError::Parse { path: path.to_path_buf(), reason: e.to_string() })?;
        let fail = |field: String, reason: String| Err(TaskError::Field { path: path.to_path_buf(), field, reason });
        if fields.name.trim().is_empty() {
            return fail("name".to_owned(), "is empty".to_owned());
        }
        if fields.goals.is_empty() || fields.goals.len() > MAX_GOALS {
            return fail("goals".to_owned(), format!("has {} goals, must be 1..{MAX_GOALS}", fields.goals.len()));
        }
        if fields.max_retries > 1000 {
            return fail("max_retries".to_owned(), format!("{} is more than 1000", fields.max_retries));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let base = fields.switch.or(Switch::default());
        let mut goals: Vec<Goal> = Vec::with_capacity(fields.goals.len());
        for (i, goal) in fields.goals.into_iter().enumerate() {
            let switch = goal.switch.or(base);
            let field = |name: &str| format!("goals[{i}] ({}).{name}", goal.name);
            if goal.name.trim().is_empty() {
                return fail(field("name"), "is empty".to_owned());
            }
            if goals.iter().any(|g| g.name == goal.name) {
                return fail(field("name"), "is used twice".to_owned());
            }
            if goal.image.as_os_str().is_empty() {
                return fail(field("image"), "is empty".to_owned());
            }
            if !(1..=100_000).contains(&goal.max_steps) {
                return fail(field("max_steps"), format!("{} is outside 1..100000", goal.max_steps));
            }
            if !(switch.energy_below.is_finite() && switch.energy_below > 0.0) {
                return fail(field("switch.energy_below"), format!("{} must be above 0", switch.energy_below));
            }
            if !(switch.settle_change.is_finite() && switch.settle_change > 0.0) {
                return fail(field("switch.settle_change"), format!("{} must be above 0", switch.settle_change));
            }
            if switch.settle_steps > MAX_SETTLE_STEPS {
                return fail(
                    field("switch.settle_steps"),
                    format!("{} is above {MAX_SETTLE_STEPS}", switch.settle_steps),
                );
            }
            let image = directory.join(&goal.image);
            goals.push(Goal { name: goal.name, image, max_steps: goal.max_steps, switch });
        }
        Ok(Self { name: fields.name, goals, on_timeout: fields.on_timeout, max_retries: fields.max_retries })
    }
}

/// What to do in this planning step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Plan an action towards the current goal.
    Stay,
    /// The current goal is reached, or its steps are used up: `to` is the goal now. Ask again with its energy.
    Switch {
        /// Index of the new goal.
        to: usize,
        /// False when the old goal's steps were used up.
        reached: bool,
    },
    /// The steps are used up and the same goal is tried again. Ask again.
    Retry {
        /// Which try begins, from 2.
        attempt: u32,
    },
    /// The task has ended with its last goal.
    Finished {
        /// False when the last goal's steps were used up.
        reached: bool,
    },
    /// The task was given up at goal `goal`.
    Aborted {
        /// Index of the goal that was not reached.
        goal: usize,
    },
}

/// Decides, step by step, which goal is current.
#[derive(Clone, Debug)]
pub struct GoalSequence {
    rules: Vec<(u32, Switch)>,
    on_timeout: OnTimeout,
    max_retries: u32,
    goal: usize,
    steps: u32,
    attempt: u32,
    timeouts: u32,
    /// Energies of the current goal's last settle_steps + 1 observations, oldest first.
    history: Vec<f64>,
    end: Option<Decision>,
}

impl GoalSequence {
    /// At the first goal of `task`.
    pub fn new(task: &Task) -> Self {
        Self {
            rules: task.goals.iter().map(|g| (g.max_steps, g.switch)).collect(),
            on_timeout: task.on_timeout,
            max_retries: task.max_retries,
            goal: 0,
            steps: 0,
            attempt: 1,
            timeouts: 0,
            history: Vec::with_capacity(MAX_SETTLE_STEPS + 1),
            end: None,
        }
    }

    /// Index of the current goal, from 0.
    pub fn goal(&self) -> usize {
        self.goal
    }

    /// Number of goals.
    pub fn goal_count(&self) -> usize {
        self.rules.len()
    }

    /// Actions decided on towards the current goal so far.
    pub fn goal_step(&self) -> u32 {
        self.steps
    }

    /// Goals whose steps were used up so far, retries included.
    pub fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// How the task ended, if it has.
    pub fn end(&self) -> Option<Decision> {
        self.end
    }

    /// Decides with the `energy` of the current frame against the current goal. [`Decision::Stay`] counts as one step.
    /// An energy that is not finite never counts as reached, and breaks the settling.
    pub fn observe(&mut self, energy: f64) -> Decision {
        if let Some(end) = self.end {
            return end;
        }
        let Some(&(max_steps, switch)) = self.rules.get(self.goal) else {
            return self.finish(Decision::Finished { reached: true });
        };
        if energy.is_finite() {
            if self.history.len() > switch.settle_steps {
                self.history.drain(..self.history.len() - switch.settle_steps);
            }
            self.history.push(energy);
        } else {
            self.history.clear();
        }
        if energy < switch.energy_below && self.settled(&switch) {
            return self.advance(true);
        }
        if self.steps < max_steps {
            self.steps += 1;
            return Decision::Stay;
        }
        self.timeouts += 1;
        match self.on_timeout {
            OnTimeout::Next => self.advance(false),
            OnTimeout::Retry if self.attempt <= self.max_retries => {
                self.attempt += 1;
                self.steps = 0;
                self.history.clear();
                Decision::Retry { attempt: self.attempt }
            }
            OnTimeout::Retry | OnTimeout::Abort => self.finish(Decision::Aborted { goal: self.goal }),
        }
    }

    /// True when the last settle_steps + 1 energies lie within settle_change of each other.
    fn settled(&self, switch: &Switch) -> bool {
        if switch.settle_steps == 0 {
            return true;
        }
        let (low, high) =
            self.history.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), e| (lo.min(*e), hi.max(*e)));
        self.history.len() > switch.settle_steps && high - low < switch.settle_change
    }

    fn advance(&mut self, reached: bool) -> Decision {
        if self.goal + 1 >= self.rules.len() {
            return self.finish(Decision::Finished { reached });
        }
        self.goal += 1;
        self.steps = 0;
        self.attempt = 1;
        self.history.clear();
        Decision::Switch { to: self.goal, reached }
    }

    fn finish(&mut self, end: Decision) -> Decision {
        self.end = Some(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "
name: pick_place
goals:
  - {name: before_grasp, image: before_grasp.png, max_steps: 12}
  - {name: grasped, image: grasped.png, max_steps: 8, switch: {energy_below: 0.1}}
switch: {energy_below: 0.25, settle_steps: 1}
on_timeout: next
";

    fn task(goals: usize, max_steps: u32, switch: Switch, on_timeout: OnTimeout) -> Task {
        let goal = |i| Goal { name: format!("g{i}"), image: PathBuf::from("g.png"), max_steps, switch };
        Task { name: "t".to_owned(), goals: (0..goals).map(goal).collect(), on_timeout, max_retries: 2 }
    }

    #[test]
    fn a_task_file_is_read_with_its_defaults_and_overrides() {
        let task = Task::parse(GOOD, Path::new("/tasks/t.yaml")).unwrap();
        assert_eq!(task.goals[0].image, Path::new("/tasks/before_grasp.png"));
        assert_eq!(task.goals[0].switch, Switch { energy_below: 0.25, settle_steps: 1, settle_change: 0.01 });
        assert_eq!(task.goals[1].switch.energy_below, 0.1);
        assert_eq!((task.goals[1].max_steps, task.on_timeout, task.max_retries), (8, OnTimeout::Next, 2));
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        for (from, to, field) in [
            ("name: pick_place", "name: ' '", "`name`"),
            ("max_steps: 12", "max_steps: 0", "goals[0] (before_grasp).max_steps"),
            ("name: grasped", "name: before_grasp", "goals[1] (before_grasp).name"),
            ("image: grasped.png", "image: ''", "goals[1] (grasped).image"),
            ("energy_below: 0.1", "energy_below: .nan", "goals[1] (grasped).switch.energy_below"),
            ("settle_steps: 1", "settle_steps: 1000", "switch.settle_steps"),
            ("settle_steps: 1", "settle_change: 0", "switch.settle_change"),
            ("on_timeout: next", "on_timeout: explode", "explode"),
            ("max_steps: 8", "max_step: 8", "max_step"),
        ] {
            let error = Task::parse(&GOOD.replacen(from, to, 1), Path::new("t.yaml")).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("t.yaml"), "{field}: {error}");
        }
        assert!(Task::parse("name: x\ngoals: []", Path::new("t.yaml")).unwrap_err().to_string().contains("`goals`"));
        assert!(Task::load(Path::new("/nowhere/t.yaml")).unwrap_err().to_string().contains("/nowhere/t.yaml"));
    }

    #[test]
    fn a_low_and_settled_energy_switches_a_low_one_alone_does_not() {
        let mut sequence = GoalSequence::new(&task(2, 10, Switch::default(), OnTimeout::Next));
        for energy in [0.5, 0.29, 0.25, 0.245] {
            assert_eq!(sequence.observe(energy), Decision::Stay, "{energy}");
        }
        assert_eq!(sequence.goal_step(), 4);
        assert_eq!(sequence.observe(0.243), Decision::Switch { to: 1, reached: true });
        assert_eq!((sequence.goal(), sequence.goal_step()), (1, 0));
        for _ in 0..2 {
            assert_eq!(sequence.observe(0.1), Decision::Stay, "the old goal's energies do not count");
        }
        assert_eq!(sequence.observe(0.1), Decision::Finished { reached: true });
        assert_eq!(sequence.observe(9.0), Decision::Finished { reached: true });
    }

    #[test]
    fn a_settled_but_high_energy_times_out() {
        for (on_timeout, expected) in [
            (OnTimeout::Next, Decision::Switch { to: 1, reached: false }),
            (OnTimeout::Retry, Decision::Retry { attempt: 2 }),
            (OnTimeout::Abort, Decision::Aborted { goal: 0 }),
        ] {
            let mut sequence = GoalSequence::new(&task(2, 3, Switch::default(), on_timeout));
            for _ in 0..3 {
                assert_eq!(sequence.observe(0.5), Decision::Stay);
            }
            assert_eq!(sequence.observe(0.5), expected);
            assert_eq!(sequence.timeouts(), 1);
        }
    }

    #[test]
    fn retries_end() {
        let mut sequence = GoalSequence::new(&task(1, 2, Switch::default(), OnTimeout::Retry));
        let decisions: Vec<Decision> = (0..9).map(|_| sequence.observe(1.0)).collect();
        assert_eq!(decisions[2], Decision::Retry { attempt: 2 });
        assert_eq!(decisions[5], Decision::Retry { attempt: 3 });
        assert_eq!(decisions[8], Decision::Aborted { goal: 0 });
    }

    #[test]
    fn an_energy_that_is_not_finite_never_counts_as_reached() {
        let switch = Switch { settle_steps: 1, ..Switch::default() };
        let mut sequence = GoalSequence::new(&task(1, 10, switch, OnTimeout::Next));
        for energy in [0.1, f64::NAN, 0.1, f64::NEG_INFINITY, 0.1] {
            assert_eq!(sequence.observe(energy), Decision::Stay);
        }
        assert_eq!(sequence.observe(0.1), Decision::Finished { reached: true });
    }

    proptest! {
        #[test]
        fn it_ends_and_never_plans_more_steps_than_allowed(
            energies in proptest::collection::vec(prop_oneof![0.0..1.0_f64, Just(f64::NAN)], 1..50),
            goals in 1_usize..5,
            max_steps in 1_u32..6,
            settle_steps in 0_usize..4,
            mode in 0_usize..3,
        ) {
            let on_timeout = [OnTimeout::Next, OnTimeout::Retry, OnTimeout::Abort][mode];
            let switch = Switch { settle_steps, ..Switch::default() };
            let mut sequence = GoalSequence::new(&task(goals, max_steps, switch, on_timeout));
            let (mut stays, mut last_goal) = (0, 0);
            for i in 0..1000 {
                let decision = sequence.observe(energies[i % energies.len()]);
                prop_assert!(sequence.goal() >= last_goal && sequence.goal() < goals);
                prop_assert!(sequence.goal_step() <= max_steps);
                last_goal = sequence.goal();
                match decision {
                    Decision::Stay => stays += 1,
                    Decision::Finished { .. } | Decision::Aborted { .. } => break,
                    Decision::Switch { to, .. } => prop_assert_eq!(to, sequence.goal()),
                    Decision::Retry { attempt } => prop_assert!(attempt <= 3),
                }
            }
            prop_assert!(sequence.end().is_some());
            prop_assert!(stays <= goals as u32 * max_steps * 3);
        }

        #[test]
        fn reached_means_low_and_settled(energies in proptest::collection::vec(0.2..0.4_f64, 1..40)) {
            let switch = Switch { energy_below: 0.3, settle_steps: 2, settle_change: 0.05 };
            let mut sequence = GoalSequence::new(&task(1, 1000, switch, OnTimeout::Abort));
            for (i, energy) in energies.iter().enumerate() {
                let window = &energies[i.saturating_sub(2)..=i];
                let spread = window.iter().copied().fold(f64::MIN, f64::max)
                    - window.iter().copied().fold(f64::MAX, f64::min);
                let expected = i >= 2 && *energy < 0.3 && spread < 0.05;
                prop_assert_eq!(sequence.observe(*energy) != Decision::Stay, expected);
                if expected { break; }
            }
        }
    }
}
