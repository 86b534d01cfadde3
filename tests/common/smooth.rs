//! A world model made of a formula: smooth, cheap, and without heap memory once it is warm. It can be slow, and answer
//! with numbers that are not finite.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "this is test code")]

use vjepa_planner::planner::optimizer::{GaussianNoise, NoiseSource};
use vjepa_planner::planner::{Plan, PlanRequest};
use vjepa_planner::robot::pose::{Action, RobotState};
use vjepa_planner::world_model::preprocess::ResizeFilter;
use vjepa_planner::world_model::{Context, Latent, ModelError, ModelSpec, Rollouts, WorldModel};

/// Features of a state: constant, x, y, z, gripper.
const FEATURES: usize = 5;

/// What is wrong with the answer for a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    None,
    /// Both energies are this.
    Energy(f32),
    /// One number of the predicted latent is this; the energies are in order.
    Latent(f32),
}

/// Latents are cubic functions of the end-effector state that the actions lead to.
pub struct Smooth {
    spec: ModelSpec,
    /// [N·D, FEATURES], of a linear form and of one that is squared.
    linear: Vec<f32>,
    squared: Vec<f32>,
    state: RobotState,
    goal: Vec<f32>,
    latent: Vec<f32>,
    /// Batches and candidates asked for.
    pub batches: usize,
    pub candidates: usize,
    /// Candidates whose flaw the planner could see.
    pub flawed: usize,
    /// Called with the number of the batch, from 0.
    pub delay: Box<dyn FnMut(usize) + Send>,
    /// The flaw of a candidate: (batch number, its size, candidate).
    pub flaw: Box<dyn FnMut(usize, usize, usize) -> Flaw + Send>,
}

impl Smooth {
    /// With latents of `tokens` × `width` numbers.
    pub fn new(tokens: usize, width: usize) -> Self {
        let spec = ModelSpec {
            name: "smooth".into(),
            image_size: 16,
            resize_filter: ResizeFilter::Bilinear,
            tokens,
            latent_dim: width,
            rate_hz: 4.0,
            max_step_m: 0.05,
            rollouts: vec![(1, 1), (1, 2)],
        };
        let mut noise = GaussianNoise::default();
        noise.restart(11, 0);
        let mut draw = || {
            let mut out = vec![0.0; tokens * width * FEATURES];
            noise.fill(&mut out);
            out.into_iter().map(|v| v as f32).collect()
        };
        Self {
            spec,
            linear: draw(),
            squared: draw(),
            state: RobotState::default(),
            goal: Vec::new(),
            latent: Vec::new(),
            batches: 0,
            candidates: 0,
            flawed: 0,
            delay: Box::new(|_| {}),
            flaw: Box::new(|_, _, _| Flaw::None),
        }
    }

    /// The latent of the world with the end effector at `state`.
    fn look(&self, state: &RobotState, out: &mut Vec<f32>) {
        let [x, y, z, _, _, _, gripper] = state.0.map(|v| v as f32);
        let features = [0.3, (x - 0.5) * 10.0, y * 10.0, (z - 0.3) * 10.0, gripper];
        let form = |row: &[f32]| row.iter().zip(features).map(|(w, f)| w * f).sum::<f32>();
        let rows = self.linear.chunks_exact(FEATURES).zip(self.squared.chunks_exact(FEATURES));
        out.clear();
        out.extend(rows.map(|(linear, squared)| {
            let (a, b) = (form(linear), form(squared));
            a + 0.15 * b * b + 0.02 * a * a * a
        }));
    }

    /// A start, and a goal about `steps` steps away that cannot be met exactly.
    pub fn task(&self, number: u64, steps: f64) -> Task {
        let mut noise = GaussianNoise::default();
        noise.restart(5, number);
        let mut z = [0.0; 4];
        noise.fill(&mut z);
        let start = RobotState([0.5, 0.02, 0.3, std::f64::consts::PI, 0.0, 0.0, f64::from(u8::from(z[3] > 0.0))]);
        let mut goal = start;
        (0..3).for_each(|i| goal.0[i] += 0.03 * steps * z[i]);
        goal.0[6] = 1.0 - start.0[6];
        let (mut now, mut seen) = (Vec::new(), Vec::new());
        self.look(&start, &mut now);
        self.look(&goal, &mut seen);
        let mut blur = vec![0.0; seen.len()];
        noise.fill(&mut blur);
        seen.iter_mut().zip(blur).for_each(|(v, b)| *v += 0.1 * b as f32);
        Task { start, now: [Latent::from_host(now)], goal: Latent::from_host(seen) }
    }
}

/// What is planned.
pub struct Task {
    pub start: RobotState,
    pub now: [Latent; 1],
    pub goal: Latent,
}

impl Task {
    /// To plan it without a deadline.
    pub fn request<'a>(&'a self, plan_id: u64, previous: Option<&'a Plan>) -> PlanRequest<'a> {
        let context = Context { latents: &self.now, states: std::slice::from_ref(&self.start), actions: &[] };
        PlanRequest { context, goal: &self.goal, deadline: None, plan_id, previous }
    }
}

impl WorldModel for Smooth {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, _frame: &[f32], _latent: &mut Latent) -> Result<(), ModelError> {
        Err(ModelError::NoProblem)
    }

    fn set_problem(&mut self, context: &Context<'_>, goal: &Latent) -> Result<(), ModelError> {
        self.state = *context.states.last().unwrap();
        self.goal.clear();
        self.goal.extend_from_slice(goal.host());
        Ok(())
    }

    fn rollout(
        &mut self,
        actions: &[f32],
        batch: usize,
        horizon: usize,
        want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        let number = self.batches;
        self.batches += 1;
        self.candidates += batch;
        (self.delay)(number);
        out.energy_l1.clear();
        out.energy_l2.clear();
        out.latents.clear();
        let mut latent = std::mem::take(&mut self.latent);
        for (i, sequence) in actions.chunks_exact(horizon * 7).enumerate() {
            let steps = sequence.as_chunks::<7>().0.iter();
            let end = steps.fold(self.state, |state, action| state.compose(&Action(action.map(f64::from))));
            self.look(&end, &mut latent);
            let n = latent.len() as f32;
            let off = || latent.iter().zip(&self.goal).map(|(a, b)| a - b);
            let (mut l1, mut l2) = (off().map(f32::abs).sum::<f32>() / n, off().map(|d| d * d).sum::<f32>() / n);
            match (self.flaw)(number, batch, i) {
                Flaw::None => {}
                Flaw::Energy(value) => {
                    (l1, l2) = (value, value);
                    self.flawed += 1;
                }
                Flaw::Latent(value) => {
                    latent[i % (n as usize)] = value;
                    self.flawed += usize::from(want_latents);
                }
            }
            out.energy_l1.push(l1);
            out.energy_l2.push(l2);
            if want_latents {
                out.latents.extend_from_slice(&latent);
            }
        }
        self.latent = latent;
        Ok(())
    }
}
