//! Planning takes no heap memory once it is warm: a counting allocator proves it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is test code")]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/smooth.rs"]
mod smooth;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use smooth::{Smooth, Task};
use vjepa_planner::clock::SystemClock;
use vjepa_planner::planner::{Plan, Planner, PlannerConfig, optimizer};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::world_model::{
    Context, Latent, LoadOptions, ModelError, ModelSpec, OnnxWorldModel, Rollouts, WorldModel,
};

thread_local! {
    /// Of what this thread took, what calls of a model took.
    static TAKEN_BY_MODEL: Cell<usize> = const { Cell::new(0) };
}

/// Blocks taken from the heap by this thread up to now, but for calls of an [`Apart`] model.
fn taken() -> usize {
    counting::taken() - TAKEN_BY_MODEL.with(Cell::get)
}

/// Plans before counting: every kind of batch has been there then.
const WARM_UP: u64 = 40;

/// Every optimizer, with all stages that a plan can have.
fn configs() -> impl Iterator<Item = PlannerConfig> {
    optimizer::names().flat_map(|name| {
        [1, 2].map(|horizon| {
            let mut config = PlannerConfig { optimizer: name.to_owned(), horizon, ..PlannerConfig::default() };
            config.gripper_refinement.enabled = true;
            config
        })
    })
}

/// Plans the tasks in turn with every configuration, each with what is left of the plan before, and fails when a plan
/// of the `counted` ones after the warm-up takes anything.
fn expect_nothing_taken(
    model: &mut dyn WorldModel,
    tasks: &[Task],
    counted: u64,
    configs: impl Iterator<Item = PlannerConfig>,
) {
    let mut failures = Vec::new();
    for config in configs {
        let mut planner = Planner::new(config.clone(), model.spec(), Arc::new(SystemClock::new())).unwrap();
        let mut previous: Option<Plan> = None;
        for (plan_id, task) in (0..WARM_UP + counted).zip(tasks.iter().cycle()) {
            let before = taken();
            let plan = planner.plan(model, &task.request(plan_id, previous.as_ref())).unwrap();
            let took = taken() - before;
            previous = Some(plan);
            if plan_id >= WARM_UP && took > 0 {
                failures.push(format!("{}, H = {}, plan {plan_id}: {took}", config.optimizer, config.horizon));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_counter_counts() {
    let before = taken();
    let kept = std::hint::black_box(vec![1_u8; 100]);
    let mut grown = std::hint::black_box(kept);
    grown.extend([0; 1000]);
    assert_eq!(taken() - before, 2);
}

#[test]
fn a_plan_takes_nothing_from_the_heap_with_any_optimizer() {
    // The demo model's latents: 16 tokens of 128.
    let mut model = Smooth::new(16, 128);
    let tasks: Vec<Task> = (0..5).map(|number| model.task(number, 1.0)).collect();
    expect_nothing_taken(&mut model, &tasks, 100, configs());
}

/// A model whose own use of the heap is counted apart.
struct Apart {
    model: OnnxWorldModel,
    /// What calls took: how many blocks, how often; by what was called.
    blocks: BTreeMap<&'static str, BTreeMap<usize, usize>>,
    last_batch: usize,
}

impl Apart {
    fn count<T>(&mut self, what: &'static str, call: impl FnOnce(&mut OnnxWorldModel) -> T) -> T {
        let before = taken();
        let result = call(&mut self.model);
        *self.blocks.entry(what).or_default().entry(taken() - before).or_default() += 1;
        // What the book-keeping takes is none of the planner's either.
        TAKEN_BY_MODEL.with(|by_model| by_model.set(by_model.get() + taken() - before));
        result
    }
}

impl WorldModel for Apart {
    fn spec(&self) -> &ModelSpec {
        self.model.spec()
    }

    fn encode(&mut self, frame: &[f32], latent: &mut Latent) -> Result<(), ModelError> {
        self.count("encode", |model| model.encode(frame, latent))
    }

    fn set_problem(&mut self, context: &Context<'_>, goal: &Latent) -> Result<(), ModelError> {
        self.count("set_problem", |model| model.set_problem(context, goal))
    }

    fn rollout(
        &mut self,
        actions: &[f32],
        batch: usize,
        horizon: usize,
        want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        let same = std::mem::replace(&mut self.last_batch, batch) == batch;
        let what = match (want_latents, same) {
            (true, true) => "rollout, with latents",
            (true, false) => "rollout, with latents, another batch than before",
            (false, true) => "rollout",
            (false, false) => "rollout, another batch than before",
        };
        self.count(what, |model| model.rollout(actions, batch, horizon, want_latents, out))
    }
}

#[test]
fn with_the_demo_model_only_calls_of_onnx_runtime_take_memory() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let mut model = OnnxWorldModel::load(&directory, &LoadOptions::default(), &mut |_| {}).unwrap();
    let spec = model.spec().clone();
    let tasks: Vec<Task> = (0..5_u8)
        .map(|number| {
            let mut see = |value: u8| {
                let frame: Vec<f32> = (0..spec.frame_len()).map(|i| f32::from((i as u8).wrapping_mul(value))).collect();
                let mut latent = Latent::zeros(spec.latent_len());
                model.encode(&frame, &mut latent).unwrap();
                latent
            };
            let start = RobotState([0.5, 0.0, 0.3, std::f64::consts::PI, 0.0, 0.0, 0.2]);
            Task { start, now: [see(3 + number)], goal: see(7 + 2 * number) }
        })
        .collect();
    let mut model = Apart { model, blocks: BTreeMap::new(), last_batch: 0 };
    let small = configs().map(|mut config| {
        // What is counted does not depend on how many candidates there are.
        let settings = &mut config.optimizers;
        (settings.cem.samples, settings.icem.samples, settings.mppi.samples) = (12, 12, 12);
        (settings.cem.iterations, settings.icem.iterations, settings.mppi.iterations) = (3, 3, 3);
        config
    });
    expect_nothing_taken(&mut model, &tasks, 30, small);
    for (what, blocks) in model.blocks {
        println!("{what}: blocks and how often {blocks:?}");
    }
}
