//! Candidates that are divided among threads against the same candidates on one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code")]

mod common;

use common::{in_repository, largest_difference};
use vjepa_planner::robot::pose::{Action, RobotState};
use vjepa_planner::world_model::runtime::{Provider, RuntimeConfig};
use vjepa_planner::world_model::{Context, Latent, LoadOptions, OnnxWorldModel, Rollouts, WorldModel};

fn load(lanes: usize) -> OnnxWorldModel {
    let runtime = RuntimeConfig { candidate_threads: lanes, ..RuntimeConfig::default() };
    let options = LoadOptions { runtime, ..LoadOptions::default() };
    let model = OnnxWorldModel::load(&in_repository("tests/models/golden_a"), &options, &mut |_| {}).unwrap();
    assert_eq!(model.lanes(), lanes);
    model
}

/// Numbers within ±`scale`, the same for the same seed.
fn numbers(seed: u32, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| scale * next()).collect()
}

/// Sets the problem of this seed, with a context of `frames`.
fn set_problem(model: &mut OnnxWorldModel, frames: usize, seed: u32) {
    let len = model.spec().latent_len();
    let latents: Vec<Latent> =
        (0..=frames as u32).map(|i| Latent::from_host(numbers(100 * seed + i, len, 1.7))).collect();
    let states = vec![RobotState([0.4, 0.1, 0.3, 3.0, 0.1, -0.2, 0.5]); frames];
    let actions = vec![Action([0.01, 0.0, -0.01, 0.0, 0.02, 0.0, 0.1]); frames - 1];
    let context = Context { latents: &latents[..frames], states: &states, actions: &actions };
    model.set_problem(&context, &latents[frames]).unwrap();
}

/// Summing in another order, which a processor may do for another number of rows, differs by less.
const ENERGY: f32 = 1e-6;
const LATENT: f32 = 2e-5;

#[test]
fn lanes_give_what_one_thread_gives_in_the_same_order() {
    let mut one = load(1);
    let (mut expected, mut found) = (Rollouts::default(), Rollouts::default());
    let mut all_the_same_bits = true;
    for lanes in [2, 3, 5] {
        let mut model = load(lanes);
        // Contexts, horizons, batches and problems change from call to call, as do the outputs that are asked for.
        for (i, batch) in [1, 2, 3, 4, 5, 7, 16, 33, 64, 11, 11, 1].into_iter().enumerate() {
            let (frames, horizon, seed) = (1 + i % 3, 1 + i / 2 % 2, i as u32);
            let actions = numbers(7 + seed, batch * horizon * 7, 0.07);
            let len = one.spec().latent_len();
            for model in [&mut one, &mut model] {
                set_problem(model, frames, seed);
            }
            for want_latents in [i % 2 == 0, i % 2 == 1, true] {
                one.rollout(&actions, batch, horizon, want_latents, &mut expected).unwrap();
                model.rollout(&actions, batch, horizon, want_latents, &mut found).unwrap();
                assert_eq!((found.energy_l1.len(), found.energy_l2.len()), (batch, batch));
                assert_eq!(found.latents.len(), if want_latents { batch * len } else { 0 });
                assert!(largest_difference(&found.energy_l1, &expected.energy_l1) < ENERGY, "{lanes} {batch}");
                assert!(largest_difference(&found.energy_l2, &expected.energy_l2) < ENERGY, "{lanes} {batch}");
                assert!(largest_difference(&found.latents, &expected.latents) < LATENT, "{lanes} {batch}");
                all_the_same_bits &= found.energy_l1 == expected.energy_l1 && found.latents == expected.latents;
            }
            // Candidates differ by more than that, so an exchanged order would show.
            for pair in expected.latents.chunks(len).collect::<Vec<_>>().windows(2) {
                assert!(largest_difference(pair[0], pair[1]) > 2.0 * LATENT);
            }
        }
    }
    println!("bit for bit: {all_the_same_bits}");
}

#[test]
fn the_same_call_gives_the_same_bytes() {
    let mut model = load(2);
    set_problem(&mut model, 1, 3);
    let actions = numbers(5, 33 * 2 * 7, 0.07);
    let (mut first, mut again) = (Rollouts::default(), Rollouts::default());
    model.rollout(&actions, 33, 2, true, &mut first).unwrap();
    for _ in 0..20 {
        model.rollout(&actions, 33, 2, true, &mut again).unwrap();
        assert_eq!(again.energy_l1, first.energy_l1);
        assert_eq!(again.energy_l2, first.energy_l2);
        assert_eq!(again.latents, first.latents);
    }
}

#[test]
fn a_model_with_lanes_refuses_what_one_without_does() {
    let mut model = load(3);
    let mut out = Rollouts::default();
    let error = model.rollout(&[0.0; 28], 4, 1, false, &mut out).unwrap_err().to_string();
    assert!(error.contains("before a context"), "{error}");
    set_problem(&mut model, 1, 0);
    let error = model.rollout(&[0.0; 4 * 9 * 7], 4, 9, false, &mut out).unwrap_err().to_string();
    assert!(error.contains("1 context frames and horizon 9"), "{error}");
    let error = model.rollout(&[0.0; 27], 4, 1, false, &mut out).unwrap_err().to_string();
    assert!(error.contains("actions"), "{error}");
    model.warm_up(5).unwrap();
}

#[test]
fn lanes_are_configured_for_the_processor_also_as_a_fallback() {
    let runtime = RuntimeConfig {
        provider: Provider::Cuda,
        fallback: vec![Provider::Cpu],
        candidate_threads: 2,
        ..RuntimeConfig::default()
    };
    let options = LoadOptions { runtime, ..LoadOptions::default() };
    let model = OnnxWorldModel::load(&in_repository("tests/models/golden_a"), &options, &mut |_| {}).unwrap();
    assert_eq!(model.lanes(), if model.provider() == Provider::Cpu { 2 } else { 1 });
}
