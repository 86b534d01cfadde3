//! The world model as ONNX graphs.

use std::path::{Path, PathBuf};

use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::manifest::ModelDirectory;
use super::runtime::{Runtime, RuntimeConfig};
use super::{Context, ModelError, ModelSpec, Rollouts, WorldModel};
use crate::robot::pose::{Action, RobotState, STATE_DIM};

/// One encoder graph and the rollout graphs of a model directory.
///
/// Robot states along a candidate depend on its actions alone, so they are composed here, in f64, and given to the graph.
pub struct OnnxWorldModel {
    spec: ModelSpec,
    encoder: Session,
    encoder_file: PathBuf,
    rollouts: Vec<RolloutGraph>,
    problem: Problem,
    /// [B,H,7], reused.
    states: Vec<f32>,
}

struct RolloutGraph {
    file: PathBuf,
    context: usize,
    horizon: usize,
    session: Session,
    energies: RunOptions<HasSelectedOutputs>,
    energies_and_latents: RunOptions<HasSelectedOutputs>,
}

/// Copies of what [`WorldModel::set_problem`] was given; their memory is reused.
#[derive(Default)]
struct Problem {
    frames: usize,
    state: RobotState,
    latents: Vec<f32>,
    states: Vec<f32>,
    actions: Vec<f32>,
    goal: Vec<f32>,
}

impl std::fmt::Debug for OnnxWorldModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxWorldModel").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl OnnxWorldModel {
    /// Opens and checks a model directory: hashes, then names, shapes and types of every graph against the manifest.
    ///
    /// # Errors
    /// [`ModelError`] names the file and the field or tensor at fault.
    pub fn load(directory: &Path, config: RuntimeConfig) -> Result<Self, ModelError> {
        let ModelDirectory { path, manifest } = ModelDirectory::open(directory)?;
        let runtime = Runtime::new(config)?;
        let spec = ModelSpec::from(&manifest);
        let (s, n, d) = (dim(spec.image_size), dim(spec.tokens), dim(spec.latent_dim));

        let encoder_file = path.join(&manifest.encoder.file);
        let encoder = runtime.session(&encoder_file)?;
        let f32 = TensorElementType::Float32;
        check_graph(
            &encoder_file,
            &encoder,
            &[Tensor { name: "frames", ty: TensorElementType::Uint8, shape: vec![-1, s, s, 3] }],
            &[Tensor { name: "latents", ty: f32, shape: vec![-1, n, d] }],
        )?;

        let mut rollouts = Vec::with_capacity(manifest.rollouts.len());
        for rollout in &manifest.rollouts {
            let file = path.join(&rollout.file);
            let session = runtime.session(&file)?;
            let (t, h) = (dim(rollout.context), dim(rollout.horizon));
            let mut inputs = vec![
                Tensor { name: "context", ty: f32, shape: vec![1, t, n, d] },
                Tensor { name: "context_states", ty: f32, shape: vec![1, t, 7] },
                Tensor { name: "actions", ty: f32, shape: vec![-1, h, 7] },
                Tensor { name: "states", ty: f32, shape: vec![-1, h, 7] },
                Tensor { name: "goal", ty: f32, shape: vec![1, n, d] },
            ];
            if rollout.context > 1 {
                inputs.push(Tensor { name: "context_actions", ty: f32, shape: vec![1, t - 1, 7] });
            }
            let outputs = [
                Tensor { name: "energy_l1", ty: f32, shape: vec![-1] },
                Tensor { name: "energy_l2", ty: f32, shape: vec![-1] },
                Tensor { name: "final", ty: f32, shape: vec![-1, n, d] },
            ];
            check_graph(&file, &session, &inputs, &outputs)?;
            let energies = || OutputSelector::no_default().with("energy_l1").with("energy_l2");
            let options = |selector| {
                RunOptions::new()
                    .map(|options| options.with_outputs(selector))
                    .map_err(|e| ModelError::Inference { file: file.clone(), reason: e.to_string() })
            };
            rollouts.push(RolloutGraph {
                context: rollout.context,
                horizon: rollout.horizon,
                session,
                energies: options(energies())?,
                energies_and_latents: options(energies().with("final"))?,
                file,
            });
        }
        Ok(Self { spec, encoder, encoder_file, rollouts, problem: Problem::default(), states: Vec::new() })
    }

    /// Runs every graph once with `batch` candidates, so that the first plan does not pay for ONNX Runtime's first run.
    ///
    /// # Errors
    /// As [`WorldModel::encode`] and [`WorldModel::rollout`].
    pub fn warm_up(&mut self, batch: usize) -> Result<(), ModelError> {
        let frame = vec![127; self.spec.frame_len()];
        let mut latent = vec![0.0; self.spec.latent_len()];
        self.encode(&frame, &mut latent)?;
        let mut out = Rollouts::default();
        for (context, horizon) in self.spec.rollouts.clone() {
            let states = vec![RobotState::default(); context];
            let actions = vec![Action::default(); context - 1];
            let context = Context { latents: &latent.repeat(context), states: &states, actions: &actions };
            self.set_problem(&context, &latent)?;
            let candidates = vec![0.0; batch * horizon * STATE_DIM];
            for want_latents in [false, true] {
                self.rollout(&candidates, batch, horizon, want_latents, &mut out)?;
            }
        }
        self.problem.frames = 0;
        Ok(())
    }
}

impl WorldModel for OnnxWorldModel {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, frame: &[u8], latent: &mut [f32]) -> Result<(), ModelError> {
        ModelError::check_len("frame", frame.len(), self.spec.frame_len())?;
        ModelError::check_len("latent", latent.len(), self.spec.latent_len())?;
        let fail = |e: ort::Error| ModelError::Inference { file: self.encoder_file.clone(), reason: e.to_string() };
        let size = self.spec.image_size;
        let input = TensorRef::from_array_view(([1, size, size, 3], frame)).map_err(fail)?;
        let outputs = self.encoder.run(ort::inputs!["frames" => input]).map_err(fail)?;
        copy_output(&outputs, "latents", &self.encoder_file, latent.len(), |values| latent.copy_from_slice(values))
    }

    fn set_problem(&mut self, context: &Context<'_>, goal: &[f32]) -> Result<(), ModelError> {
        let frames = context.states.len();
        let latent = self.spec.latent_len();
        ModelError::check_len("context latents", context.latents.len(), frames * latent)?;
        ModelError::check_len("context actions", context.actions.len(), frames.saturating_sub(1))?;
        ModelError::check_len("goal latent", goal.len(), latent)?;
        let Some(&state) = context.states.last() else {
            return Err(ModelError::Length { what: "context states", expected: 1, found: 0 });
        };
        let problem = &mut self.problem;
        problem.frames = frames;
        problem.state = state;
        replace(&mut problem.latents, context.latents.iter().copied());
        replace(&mut problem.states, context.states.iter().flat_map(|s| s.0).map(|v| v as f32));
        replace(&mut problem.actions, context.actions.iter().flat_map(|a| a.0).map(|v| v as f32));
        replace(&mut problem.goal, goal.iter().copied());
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
        let problem = &self.problem;
        if problem.frames == 0 {
            return Err(ModelError::NoProblem);
        }
        ModelError::check_len("actions", actions.len(), batch * horizon * STATE_DIM)?;
        let wanted = (problem.frames, horizon);
        let Some(graph) = self.rollouts.iter_mut().find(|g| (g.context, g.horizon) == wanted) else {
            return Err(ModelError::NoRollout {
                model: self.spec.name.clone(),
                context: problem.frames,
                horizon,
                available: format!("(context, horizon) {:?}", self.spec.rollouts),
            });
        };
        compose_states(&problem.state, actions, horizon, &mut self.states);

        let file = &graph.file;
        let fail = |e: ort::Error| ModelError::Inference { file: file.clone(), reason: e.to_string() };
        let (t, n, d) = (problem.frames, self.spec.tokens, self.spec.latent_dim);
        let mut inputs = ort::inputs![
            "context" => TensorRef::from_array_view(([1, t, n, d], &*problem.latents)).map_err(fail)?,
            "context_states" => TensorRef::from_array_view(([1, t, STATE_DIM], &*problem.states)).map_err(fail)?,
            "actions" => TensorRef::from_array_view(([batch, horizon, STATE_DIM], actions)).map_err(fail)?,
            "states" => TensorRef::from_array_view(([batch, horizon, STATE_DIM], &*self.states)).map_err(fail)?,
            "goal" => TensorRef::from_array_view(([1, n, d], &*problem.goal)).map_err(fail)?,
        ];
        if t > 1 {
            let past = TensorRef::from_array_view(([1, t - 1, STATE_DIM], &*problem.actions)).map_err(fail)?;
            inputs.push(("context_actions".into(), past.into()));
        }
        let options = if want_latents { &graph.energies_and_latents } else { &graph.energies };
        let outputs = graph.session.run_with_options(inputs, options).map_err(fail)?;
        copy_output(&outputs, "energy_l1", file, batch, |v| replace(&mut out.energy_l1, v.iter().copied()))?;
        copy_output(&outputs, "energy_l2", file, batch, |v| replace(&mut out.energy_l2, v.iter().copied()))?;
        out.latents.clear();
        if want_latents {
            let len = batch * self.spec.latent_len();
            copy_output(&outputs, "final", file, len, |v| out.latents.extend_from_slice(v))?;
        }
        Ok(())
    }
}

/// States along each candidate, [B,H,7]: the state that each action starts from.
fn compose_states(start: &RobotState, actions: &[f32], horizon: usize, states: &mut Vec<f32>) {
    states.clear();
    for sequence in actions.chunks_exact(horizon.max(1) * STATE_DIM) {
        let mut state = *start;
        for (h, action) in sequence.chunks_exact(STATE_DIM).enumerate() {
            states.extend(state.0.map(|v| v as f32));
            if h + 1 < horizon {
                let mut step = [0.0; STATE_DIM];
                step.iter_mut().zip(action).for_each(|(to, from)| *to = f64::from(*from));
                state = state.compose(&Action(step));
            }
        }
    }
}

fn replace<T>(buffer: &mut Vec<T>, with: impl Iterator<Item = T>) {
    buffer.clear();
    buffer.extend(with);
}

/// Hands the numbers of one output to `take` when there are as many as expected.
fn copy_output(
    outputs: &ort::session::SessionOutputs<'_>,
    name: &str,
    file: &Path,
    expected: usize,
    take: impl FnOnce(&[f32]),
) -> Result<(), ModelError> {
    let fail = |reason: String| ModelError::Inference { file: file.to_path_buf(), reason };
    let value = outputs.get(name).ok_or_else(|| fail(format!("output `{name}` is missing")))?;
    let (shape, values) = value.try_extract_tensor::<f32>().map_err(|e| fail(format!("output `{name}`: {e}")))?;
    if values.len() != expected {
        return Err(fail(format!("output `{name}` has shape {shape:?}, {expected} numbers were expected")));
    }
    take(values);
    Ok(())
}

/// A tensor that a graph must have; −1 is a dynamic dimension.
struct Tensor<'a> {
    name: &'a str,
    ty: TensorElementType,
    shape: Vec<i64>,
}

fn dim(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Checks names, types and shapes of all inputs and outputs of a graph.
fn check_graph(
    file: &Path,
    session: &Session,
    inputs: &[Tensor<'_>],
    outputs: &[Tensor<'_>],
) -> Result<(), ModelError> {
    check_tensors(file, "input", session.inputs(), inputs)?;
    check_tensors(file, "output", session.outputs(), outputs)
}

fn check_tensors(file: &Path, what: &'static str, found: &[Outlet], expected: &[Tensor<'_>]) -> Result<(), ModelError> {
    let fail = |name: &str, reason: String, expected: String| {
        Err(ModelError::Graph { file: file.to_path_buf(), what, name: name.to_owned(), reason, expected })
    };
    for want in expected {
        let describe = || format!("{} {:?} (-1: any)", want.ty, want.shape);
        let Some(outlet) = found.iter().find(|o| o.name() == want.name) else {
            let names: Vec<&str> = found.iter().map(Outlet::name).collect();
            return fail(want.name, format!("is missing (there are {names:?})"), describe());
        };
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return fail(want.name, "is not a tensor".to_owned(), describe());
        };
        // An output's shape may be unknown until the graph runs; it is checked again then. An input's may not.
        let fits = |found: i64, want: i64| found == want || (what == "output" && found < 0);
        let same_rank = shape.len() == want.shape.len() || (what == "output" && shape.is_empty());
        if *ty != want.ty || !same_rank || !shape.iter().zip(&want.shape).all(|(f, w)| fits(*f, *w)) {
            return fail(want.name, format!("is {ty} {:?}", &shape[..]), describe());
        }
    }
    if let Some(extra) = found.iter().find(|o| what == "input" && !expected.iter().any(|w| w.name == o.name())) {
        return fail(extra.name(), "is not known".to_owned(), "no such input".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_that_each_action_starts_from() {
        let start = RobotState([0.5, 0.0, 0.3, 3.0, 0.1, -0.2, 0.4]);
        let a = [0.01, 0.02, -0.03, 0.1, 0.0, 0.2, 0.9];
        let b = [-0.01, 0.0, 0.0, 0.0, 0.0, 0.0, -0.1];
        let actions: Vec<f32> = [a, b, b, a].concat().iter().map(|v| *v as f32).collect();
        let mut states = Vec::new();
        compose_states(&start, &actions, 2, &mut states);
        assert_eq!(states.len(), 2 * 2 * 7);
        let as_f32 = |s: RobotState| s.0.map(|v| v as f32);
        assert_eq!(states[..7], as_f32(start));
        let next = as_f32(start.compose(&Action(a)));
        for (found, expected) in states[7..14].iter().zip(next) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert!((states[13] - 1.0).abs() < 1e-6, "the gripper clips at closed");
        assert_eq!(states[14..21], as_f32(start));
    }
}
