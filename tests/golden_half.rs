//! The demo's model in half precision against the same in full precision: do they rank candidates alike?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use common::{in_repository, load};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::world_model::preprocess::{Preprocessor, RgbView};
use vjepa_planner::world_model::{Context, Latent, OnnxWorldModel, Rollouts, WorldModel};

const CANDIDATES: usize = 256;
const BEST: usize = 10;

struct Random(ChaCha8Rng);

impl Random {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.0.next_u32()) / f64::from(u32::MAX)
    }
}

/// A table with a few coloured things on it, 96×96 px; no two are alike.
fn picture(random: &mut Random) -> Vec<u8> {
    let side = 96;
    let mut data: Vec<u8> =
        (0..side * side).flat_map(|i| [(90 + i / side) as u8, 100, (140 - i % side) as u8]).collect();
    for _ in 0..4 {
        let mut whole = |low: f64, high: f64| random.between(low, high) as usize;
        let (left, top, width, height) = (whole(0.0, 70.0), whole(0.0, 70.0), whole(6.0, 26.0), whole(6.0, 26.0));
        let colour = [whole(0.0, 256.0) as u8, whole(0.0, 256.0) as u8, whole(0.0, 256.0) as u8];
        for y in top..top + height {
            for x in left..left + width {
                data[(y * side + x) * 3..][..3].copy_from_slice(&colour);
            }
        }
    }
    data
}

fn encode(model: &mut OnnxWorldModel, data: &[u8]) -> Latent {
    let spec = model.spec().clone();
    let mut preprocessor = Preprocessor::new(spec.image_size, spec.resize_filter);
    let (mut input, mut latent) = (vec![0.0; spec.frame_len()], Latent::zeros(spec.latent_len()));
    preprocessor.run(RgbView { width: 96, height: 96, data }, &mut input).unwrap();
    model.encode(&input, &mut latent).unwrap();
    latent
}

/// Energies of all candidates, each model working on its own latents.
fn energies(model: &mut OnnxWorldModel, now: &[u8], goal: &[u8], state: RobotState, actions: &[f32]) -> Vec<f32> {
    let (now, goal) = ([encode(model, now)], encode(model, goal));
    model.set_problem(&Context { latents: &now, states: &[state], actions: &[] }, &goal).unwrap();
    let mut out = Rollouts::default();
    let mut energies = Vec::new();
    for part in actions.chunks(64 * 7) {
        model.rollout(part, part.len() / 7, 1, false, &mut out).unwrap();
        energies.extend_from_slice(&out.energy_l1);
    }
    energies
}

/// Candidates in order of their energy, the least first.
fn order(energies: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..energies.len()).collect();
    order.sort_by(|a, b| energies[*a].total_cmp(&energies[*b]));
    order
}

/// Spearman's coefficient of correlation of two orders without ties.
fn spearman(a: &[usize], b: &[usize]) -> f64 {
    let mut rank_in_b = vec![0.0; b.len()];
    b.iter().enumerate().for_each(|(rank, candidate)| rank_in_b[*candidate] = rank as f64);
    let squares: f64 = a.iter().enumerate().map(|(rank, c)| (rank as f64 - rank_in_b[*c]).powi(2)).sum();
    let n = a.len() as f64;
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

#[test]
fn half_precision_ranks_candidates_as_full_precision_does() {
    let mut full = load(&in_repository("models/demo"));
    let mut half = load(&in_repository("tests/models/demo_fp16"));
    let step = full.spec().max_step_m;
    for seed in 0..6 {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let (now, goal) = (picture(&mut random), picture(&mut random));
        let mut position = |low, high| random.between(low, high);
        let (x, y, z) = (position(0.35, 0.65), position(-0.2, 0.2), position(0.05, 0.4));
        let state = RobotState([x, y, z, std::f64::consts::PI, 0.0, 0.0, position(0.0, 1.0)]);
        let mut actions = Vec::new();
        for _ in 0..CANDIDATES {
            let mut coordinate = |most: f64| random.between(-most, most) as f32;
            actions.extend([coordinate(step), coordinate(step), coordinate(step), 0.0, 0.0, 0.0, coordinate(1.0)]);
        }
        let [full, half] = [&mut full, &mut half].map(|model| energies(model, &now, &goal, state, &actions));
        let (a, b) = (order(&full), order(&half));
        let overlap = a[..BEST].iter().filter(|candidate| b[..BEST].contains(candidate)).count();
        let (correlation, spread) = (spearman(&a, &b), full[a[CANDIDATES - 1]] - full[a[0]]);
        let difference = common::largest_difference(&full, &half);
        println!(
            "seed {seed}: Spearman {correlation:.5}, best {overlap} of {BEST}; spread {spread}, off by {difference}"
        );
        assert!(correlation >= 0.995, "{correlation}");
        assert!(overlap >= BEST - 1, "{overlap}");
    }
}
