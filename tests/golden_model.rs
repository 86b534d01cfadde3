//! The exported golden checkpoint through ONNX Runtime against the original's tensors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Golden, golden_sets, in_repository, largest_difference, load};
use vjepa_planner::clock::SystemClock;
use vjepa_planner::planner::{PlanRequest, Planner, PlannerConfig};
use vjepa_planner::robot::pose::{Action, RobotState};
use vjepa_planner::world_model::preprocess::{Preprocessor, RgbView};
use vjepa_planner::world_model::runtime::{Provider, RuntimeConfig};
use vjepa_planner::world_model::{
    Context, EnergyNorm, GraphSelection, Latent, LoadOptions, OnnxWorldModel, Rollouts, WorldModel, latent_energy,
    layer_norm,
};

/// LayerNorm constant of latents in the original.
const EPSILON: f64 = 1e-5;

fn sets() -> impl Iterator<Item = (Golden, OnnxWorldModel)> {
    golden_sets().into_iter().map(|golden| {
        let mut model = load(&golden.export());
        model.warm_up(2).unwrap();
        (golden, model)
    })
}

#[test]
fn from_camera_picture_to_latent_all_is_as_in_the_original() {
    for (golden, mut model) in sets() {
        let (shape, frames) = golden.bytes("frames_u8");
        let expected = golden.latents("encoder_norm");
        let spec = model.spec().clone();
        let mut preprocessor = Preprocessor::new(spec.image_size, spec.resize_filter);
        let (mut input, mut latent) = (vec![0.0; spec.frame_len()], Latent::zeros(spec.latent_len()));
        for (data, expected) in frames.chunks_exact(shape[1..].iter().product()).zip(&expected) {
            let view = RgbView { width: shape[2] as u32, height: shape[1] as u32, data };
            preprocessor.run(view, &mut input).unwrap();
            model.encode(&input, &mut latent).unwrap();
            let difference = largest_difference(latent.host(), expected.host());
            println!("{}: largest difference {difference:e}", golden.name);
            assert!(difference < 1e-4, "{difference}");
        }
    }
}

#[test]
fn a_rollout_gives_the_originals_prediction_for_every_context() {
    for (golden, mut model) in sets() {
        let len = model.spec().latent_len();
        let dim = model.spec().latent_dim;
        let latents = golden.latents("encoder_norm");
        let states: Vec<RobotState> = golden.sevens("states").into_iter().map(RobotState).collect();
        let actions: Vec<Action> = golden.sevens("actions").into_iter().map(Action).collect();
        for t in 1..=3 {
            let (_, raw) = golden.f32s(&format!("predictor_raw_T{t}"));
            let mut expected = raw[(t - 1) * len..].to_vec();
            layer_norm(&mut expected, dim, EPSILON);
            let context = Context { latents: &latents[..t], states: &states[..t], actions: &actions[..t - 1] };
            let goal = &latents[1];
            model.set_problem(&context, goal).unwrap();
            let mut candidates: Vec<f32> = actions[t - 1].0.iter().map(|v| *v as f32).collect();
            candidates.extend([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1]);
            let mut out = Rollouts::default();
            model.rollout(&candidates, 2, 1, true, &mut out).unwrap();
            let difference = largest_difference(&out.latents[..len], &expected);
            println!("{} T = {t}: largest difference {difference:e}", golden.name);
            assert!(difference < 1e-4, "{difference}");
            for (norm, energies) in [(EnergyNorm::L1, &out.energy_l1), (EnergyNorm::L2, &out.energy_l2)] {
                for (i, energy) in energies.iter().enumerate() {
                    let on_host = latent_energy(&out.latents[i * len..(i + 1) * len], goal.host(), norm).unwrap();
                    assert!((f64::from(*energy) - on_host).abs() < 1e-5);
                }
            }
            let energies = out.energy_l1.clone();
            model.rollout(&candidates, 2, 1, false, &mut out).unwrap();
            assert!(out.latents.is_empty());
            assert!(largest_difference(&out.energy_l1, &energies) < 1e-6);
        }
    }
}

#[test]
fn the_response_surface_plans_with_few_calls() {
    for (golden, mut model) in sets() {
        let latents = golden.latents("encoder_norm");
        let start = RobotState(golden.sevens("states")[0]);
        let context = Context { latents: &latents[..1], states: &[start], actions: &[] };
        let mut config = PlannerConfig::default();
        config.action_space.max_step_m = golden.meta["cem"][0]["maxnorm"].as_f64();
        let mut planner = Planner::new(config, model.spec(), Arc::new(SystemClock::new())).unwrap();
        for plan_id in 0..5 {
            let request = PlanRequest { context, goal: &latents[1], deadline: None, plan_id, previous: None };
            let plan = planner.plan(&mut model, &request).unwrap();
            println!(
                "{}: energy {:.5}, {} calls in {} batches, {:?}, of which outside the model {:?}",
                golden.name, plan.energy, plan.predictor_calls, plan.batches, plan.planning_time, plan.host_time
            );
            // No bound on the quality here: with random weights the landscape is not quadratic, and all energies lie
            // within a percent, so that a relative bound would say nothing. Some of these plans need the fallback.
            assert!(plan.energy <= plan.energy_stay.unwrap());
            // The original search evaluates 800 candidates ten times.
            assert!(plan.predictor_calls < 800 * 10 / 20, "{}", plan.predictor_calls);
        }
    }
}

/// A copy of the golden model with `change` done to the manifest's text, and what loading it says.
fn refusal(path: &Path, change: impl Fn(String, &Path) -> String) -> String {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let manifest = copy.path().join("manifest.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let changed = change(text.clone(), copy.path());
    std::fs::write(&manifest, changed).unwrap();
    OnnxWorldModel::load(copy.path(), &LoadOptions::default(), &mut |_| {}).unwrap_err().to_string()
}

#[test]
fn graphs_that_disagree_with_the_manifest_are_refused_by_name() {
    let path = in_repository("tests/models/golden_a");
    let cases = [
        // (text in the manifest, its replacement, what the error must name)
        ("file: rollout_t1_h1.onnx", "file: rollout_t2_h1.onnx", ["rollout_t2_h1.onnx", "`rollouts["]),
        ("file: rollout_t1_h1.onnx", "file: encoder.onnx", ["encoder.onnx", "`rollouts["]),
        ("latent_dim: 96", "latent_dim: 95", ["manifest.yaml", "`latent_dim`"]),
        ("image_size: 64\nresize", "image_size: 32\nresize", ["manifest.yaml", "`image_size`"]),
        ("resize_filter: bilinear\n", "resize_filter: bilinear_antialias\n", ["encoder.onnx", "`resize_filter`"]),
    ];
    for (from, to, names) in cases {
        let message = refusal(&path, |text, _| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        assert!(names.iter().all(|name| message.contains(name)), "{to}: {message}");
    }
}

#[test]
fn truncated_and_swapped_files_are_refused_by_name() {
    let path = in_repository("tests/models/golden_a");
    let message = refusal(&path, |text, dir| {
        let weights = std::fs::read(dir.join("predictor.weights")).unwrap();
        std::fs::write(dir.join("predictor.weights"), &weights[..weights.len() / 2]).unwrap();
        text
    });
    assert!(message.contains("predictor.weights") && message.contains("SHA-256"), "{message}");
    let message = refusal(&path, |text, dir| {
        std::fs::copy(dir.join("rollout_t1_h2.onnx"), dir.join("rollout_t1_h1.onnx")).unwrap();
        text
    });
    assert!(message.contains("rollout_t1_h1.onnx") && message.contains("SHA-256"), "{message}");
}

#[test]
fn calls_that_do_not_fit_the_model_are_refused() {
    for (golden, mut model) in sets() {
        let len = model.spec().latent_len();
        let latents = golden.latents("encoder_norm");
        let states = [RobotState::default(); 5];
        let actions = [Action::default(); 4];
        let mut out = Rollouts::default();
        let error = model.rollout(&[0.0; 7], 1, 1, false, &mut out).unwrap_err();
        assert!(error.to_string().contains("before a context"), "{error}");
        let short = [Latent::from_host(&latents[0].host()[1..])];
        let short = Context { latents: &short, states: &states[..1], actions: &[] };
        assert!(model.set_problem(&short, &latents[0]).is_err());
        let long = vec![latents[0].clone(); 5];
        let long = Context { latents: &long, states: &states, actions: &actions };
        let error = model.set_problem(&long, &latents[0]).unwrap_err().to_string();
        assert!(error.contains("5 context frames") && error.contains(&golden.name), "{error}");
        let context = Context { latents: &latents[..1], states: &states[..1], actions: &[] };
        model.set_problem(&context, &latents[0]).unwrap();
        let error = model.rollout(&[0.0; 7 * 9], 1, 9, false, &mut out).unwrap_err().to_string();
        assert!(error.contains("1 context frames and horizon 9") && error.contains(&golden.name), "{error}");
        assert!(model.encode(&[0.0; 10], &mut Latent::zeros(len)).is_err());
    }
}

#[test]
fn only_the_rollouts_that_are_asked_for_are_loaded() {
    let path = in_repository("tests/models/golden_a");
    let load = |horizon| {
        let options = LoadOptions { graphs: GraphSelection::Horizon(horizon), ..LoadOptions::default() };
        let mut lines = Vec::new();
        let model = OnnxWorldModel::load(&path, &options, &mut |line| lines.push(line.to_owned()));
        model.map(|model| (model.spec().rollouts.clone(), lines))
    };
    let (rollouts, lines) = load(2).unwrap();
    assert_eq!(rollouts, [(1, 2), (2, 2), (3, 2)]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].contains("rollout_t1_h2.onnx"), "{lines:?}");
    let error = load(7).unwrap_err().to_string();
    assert!(error.contains("horizon 7") && error.contains("golden_a"), "{error}");
}

#[test]
fn a_provider_that_cannot_be_had_falls_back_when_that_is_configured_and_only_then() {
    let path = in_repository("tests/models/golden_a");
    let load = |fallback: &[Provider]| {
        let runtime =
            RuntimeConfig { provider: Provider::Cuda, fallback: fallback.to_vec(), ..RuntimeConfig::default() };
        OnnxWorldModel::load(&path, &LoadOptions { runtime, ..LoadOptions::default() }, &mut |_| {})
    };
    let error = match load(&[]) {
        Ok(model) => {
            println!("skipped: there is a GPU");
            assert_eq!((model.provider(), model.fallback_reason()), (Provider::Cuda, None));
            return;
        }
        Err(error) => error.to_string(),
    };
    assert!(error.contains("`cuda` cannot be had"), "{error}");
    let error = load(&[Provider::Tensorrt]).unwrap_err().to_string();
    assert!(error.contains("`tensorrt` cannot be had"), "{error}");
    let mut model = load(&[Provider::Tensorrt, Provider::Cpu]).unwrap();
    assert_eq!(model.provider(), Provider::Cpu);
    assert!(model.fallback_reason().unwrap().contains("`cuda` cannot be had"));
    model.warm_up(3).unwrap();
}
