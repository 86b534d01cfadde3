//! The world model as ONNX graphs.
//!
//! Latents stay in the execution provider's memory. What a plan starts from is bound once per problem; with each call
//! only actions and states go there and only energies come back, unless latents are asked for.
//!
//! On the processor the candidates of a call may be divided among threads ([`lanes`]); each has sessions of its own, since
//! ours are run by one thread at a time, and so holds the rollouts' weights once more.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::memory::{Allocator, MemoryInfo};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{Outlet, Tensor, TensorElementType, TensorValueType, ValueType};

use super::context_graph::{self, context_graph};
use super::facts;
use super::lanes::{self, Lane};
use super::manifest::{GraphRole, ModelDirectory, RolloutFiles};
use super::runtime::{Memory, Profile, Provider, Runtime, RuntimeConfig};
use super::{Context, Latent, ModelError, ModelSpec, Rollouts, WorldModel};
use crate::robot::pose::{Action, RobotState, STATE_DIM};

/// Which rollout graphs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GraphSelection {
    /// All that the manifest names.
    #[default]
    All,
    /// Those that look so many steps ahead.
    Horizon(usize),
    /// Those as well that look one step ahead, where there are such: they judge moves that were made.
    HorizonAndOne(usize),
}

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What runs the graphs.
    pub runtime: RuntimeConfig,
    /// Which rollout graphs are needed.
    pub graphs: GraphSelection,
    /// Most candidates of one call. Execution providers that compile their graphs do so for batches up to this.
    pub max_batch: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { runtime: RuntimeConfig::default(), graphs: GraphSelection::All, max_batch: 64 }
    }
}

/// One encoder graph and the rollout graphs of a model directory.
///
/// Robot states along a candidate depend on its actions alone, so they are composed here, in f64, and given to the graph.
pub struct OnnxWorldModel {
    spec: ModelSpec,
    runtime: Runtime,
    fallback_reason: Option<String>,
    encoder: Graph,
    /// [1,S,S,3], on the host.
    frame: Tensor<f32>,
    contexts: Vec<ContextGraph>,
    /// The calling thread's.
    rollouts: RolloutGraphs,
    /// The threads that take the rest of the candidates, each with graphs of its own.
    lanes: Vec<Lane<Part>>,
    problem: Option<Arc<Problem>>,
    /// Counts the problems, from 1.
    problems: u64,
}

/// A session, and what is bound to its inputs.
struct Graph {
    file: PathBuf,
    session: Session,
    binding: IoBinding,
}

/// Joins the latents of so many frames.
struct ContextGraph {
    frames: usize,
    graph: Graph,
}

/// The rollout graphs of one lane.
struct RolloutGraphs {
    /// Name of the model.
    model: String,
    /// Numbers of a latent, N·D.
    latent_len: usize,
    host: MemoryInfo<'static>,
    graphs: Vec<RolloutGraph>,
}

/// A lane's part of a call: what is to be predicted, and what came out.
#[derive(Default)]
struct Part {
    problem: Option<Arc<Problem>>,
    /// [B,H,7] of the lane's candidates.
    actions: Vec<f32>,
    batch: usize,
    horizon: usize,
    want_latents: bool,
    out: Rollouts,
}

struct RolloutGraph {
    context: usize,
    horizon: usize,
    graph: Graph,
    /// Number of the problem whose tensors are bound; 0: none.
    bound: u64,
    /// What goes to the device with each call.
    candidates: Option<Candidates>,
}

/// Host memory for the inputs of a call with `batch` candidates, both [B,H,7].
struct Candidates {
    batch: usize,
    actions: Tensor<f32>,
    states: Tensor<f32>,
}

/// What [`WorldModel::set_problem`] was given.
struct Problem {
    number: u64,
    frames: usize,
    state: RobotState,
    /// [1,T,N,D], in the provider's memory.
    context: Tensor<f32>,
    /// [1,T,7], on the host.
    states: Tensor<f32>,
    /// [1,T−1,7], on the host; none for one frame.
    actions: Option<Tensor<f32>>,
    /// [1,N,D], in the provider's memory.
    goal: Arc<Tensor<f32>>,
}

impl std::fmt::Debug for OnnxWorldModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxWorldModel").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl OnnxWorldModel {
    /// Opens and checks a model directory: hashes, then names, shapes and types of every graph against the manifest.
    ///
    /// `progress` is given a line before each graph. When the configured provider cannot be had, those of
    /// `runtime.fallback` are tried in their order.
    ///
    /// # Errors
    /// [`ModelError`] names the file and the field or tensor at fault, or says what the provider needs.
    pub fn load(directory: &Path, options: &LoadOptions, progress: &mut dyn FnMut(&str)) -> Result<Self, ModelError> {
        Self::load_verified(&ModelDirectory::open(directory)?, options, progress)
    }

    /// As [`Self::load`], of a directory whose files have been verified.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_verified(
        directory: &ModelDirectory,
        options: &LoadOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, ModelError> {
        let config = &options.runtime;
        let mut reason: Option<String> = None;
        let mut rest = config.fallback.iter().copied();
        let mut provider = config.provider;
        loop {
            let error = match Self::load_on(provider, directory, options, progress) {
                Ok(mut model) => {
                    model.fallback_reason = reason;
                    return Ok(model);
                }
                Err(error) => error,
            };
            let (ModelError::Runtime(cause), Some(next)) = (&error, rest.next()) else { return Err(error) };
            if !cause.is_of_provider() {
                return Err(error);
            }
            tracing::warn!("{error}; falling back to `{next}`");
            reason.get_or_insert_with(|| error.to_string());
            provider = next;
        }
    }

    fn load_on(
        provider: Provider,
        directory: &ModelDirectory,
        options: &LoadOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, ModelError> {
        let manifest = &directory.manifest;
        let mut spec = ModelSpec::from(manifest);
        let wanted = |horizon| match options.graphs {
            GraphSelection::All => true,
            GraphSelection::Horizon(wanted) => horizon == wanted,
            GraphSelection::HorizonAndOne(wanted) => horizon == wanted || horizon == 1,
        };
        let available = std::mem::take(&mut spec.rollouts);
        spec.rollouts = available.iter().copied().filter(|(_, horizon)| wanted(*horizon)).collect();
        if spec.rollouts.is_empty() {
            let wanted = match options.graphs {
                GraphSelection::All => "any horizon".to_owned(),
                GraphSelection::Horizon(horizon) | GraphSelection::HorizonAndOne(horizon) => {
                    format!("horizon {horizon}")
                }
            };
            return Err(ModelError::NoRollout { model: spec.name, wanted, available });
        }
        let mut runtime = Runtime::open(provider, &options.runtime, directory, options.max_batch)?;
        let size = dim(spec.image_size);
        let (n, d) = (dim(spec.tokens), dim(spec.latent_dim));

        // An encoder looks at one picture at a time.
        let tensors = GraphTensors::encoder(size, n, d);
        let encoder = load_graph(&runtime, directory, GraphRole::Encoder, &tensors, 1, progress)?;
        let of_lane = || RolloutGraphs {
            model: spec.name.clone(),
            latent_len: spec.latent_len(),
            host: runtime.memory(Memory::Host).clone(),
            graphs: Vec::with_capacity(spec.rollouts.len()),
        };
        let mut rollouts = of_lane();
        let mut of_lanes: Vec<RolloutGraphs> = (1..runtime.lanes()).map(|_| of_lane()).collect();
        let mut contexts: Vec<ContextGraph> = Vec::new();
        for (i, rollout) in manifest.rollouts.iter().enumerate().filter(|(_, rollout)| wanted(rollout.horizon)) {
            let tensors = GraphTensors::rollout(dim(rollout.context), dim(rollout.horizon), n, d);
            let role = GraphRole::Rollout(i);
            let (context, horizon) = (rollout.context, rollout.horizon);
            for (lane, rollouts) in std::iter::once(&mut rollouts).chain(&mut of_lanes).enumerate() {
                // One line for a graph, however often it is loaded.
                let progress = if lane == 0 { &mut *progress } else { &mut |_: &str| {} };
                let graph = load_graph(&runtime, directory, role, &tensors, options.max_batch, progress)?;
                rollouts.graphs.push(RolloutGraph { context, horizon, graph, bound: 0, candidates: None });
            }
            if !contexts.iter().any(|c| c.frames == context) {
                let name = PathBuf::from(format!("context of {context} frames"));
                let fail = |e: ort::Error| ModelError::Inference { file: name.clone(), reason: e.to_string() };
                let model = context_graph(context, n, d).map_err(fail)?;
                let session = runtime.session_in_memory(&name, model)?;
                contexts.push(ContextGraph { frames: context, graph: Graph::new(name, session)? });
            }
        }
        runtime.loaded()?;
        let frame = on_host(&encoder, [1, size, size, 3])?;
        let lane = |(i, mut graphs): (usize, RolloutGraphs)| {
            Lane::new(format!("candidates_{}", i + 1), Part::default(), move |part: &mut Part| graphs.predict(part))
        };
        if !of_lanes.is_empty() {
            tracing::info!("{provider}: candidates are divided among {} threads", 1 + of_lanes.len());
        }
        let lanes = of_lanes.into_iter().enumerate().map(lane).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            spec,
            runtime,
            fallback_reason: None,
            encoder,
            frame,
            contexts,
            rollouts,
            lanes,
            problem: None,
            problems: 0,
        })
    }

    /// Runs every graph once with `batch` candidates, so that the first plan does not pay for ONNX Runtime's first run.
    ///
    /// # Errors
    /// As [`WorldModel::encode`] and [`WorldModel::rollout`].
    pub fn warm_up(&mut self, batch: usize) -> Result<(), ModelError> {
        let frame = vec![127.0; self.spec.frame_len()];
        let mut latent = Latent::zeros(self.spec.latent_len());
        self.encode(&frame, &mut latent)?;
        let mut out = Rollouts::default();
        for (context, horizon) in self.spec.rollouts.clone() {
            let latents = vec![latent.clone(); context];
            let states = vec![RobotState::default(); context];
            let actions = vec![Action::default(); context - 1];
            self.set_problem(&Context { latents: &latents, states: &states, actions: &actions }, &latent)?;
            let candidates = vec![0.0; batch * horizon * STATE_DIM];
            for want_latents in [false, true] {
                self.rollout(&candidates, batch, horizon, want_latents, &mut out)?;
            }
        }
        self.problem = None;
        Ok(self.runtime.loaded()?)
    }

    /// The execution provider in use.
    pub fn provider(&self) -> Provider {
        self.runtime.provider()
    }

    /// Threads among which the candidates of a call are divided; 1: the calling thread alone.
    pub fn lanes(&self) -> usize {
        1 + self.lanes.len()
    }

    /// Why the configured execution provider is not the one in use; `None` when it is.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Version of ONNX Runtime.
    pub fn runtime_version(&self) -> &str {
        self.runtime.version()
    }

    /// Runs the graph of a rollout with `batch` candidates on inputs as `numbers` gives them for name and length, not on
    /// a problem; every output by name.
    ///
    /// # Errors
    /// As [`WorldModel::rollout`].
    pub(super) fn rollout_raw(
        &mut self,
        rollout: &RolloutFiles,
        batch: usize,
        numbers: impl Fn(&str, usize) -> Vec<f32>,
    ) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
        let (t, h) = (rollout.context, rollout.horizon);
        let (n, d) = (dim(self.spec.tokens), dim(self.spec.latent_dim));
        let (loaded, host) = self.rollouts.find(t, h)?;
        loaded.bound = 0;
        loaded.candidates = None;
        let graph = &mut loaded.graph;
        let tensors = GraphTensors::rollout(dim(t), dim(h), n, d);
        let sized = |shape: &[i64]| shape.iter().map(|&size| if size < 0 { dim(batch) } else { size }).collect();
        for input in &tensors.inputs {
            let shape: Vec<i64> = sized(&input.shape);
            let values = numbers(input.name, shape.iter().product::<i64>().try_into().unwrap_or(0));
            let tensor = Tensor::from_array((shape, values)).map_err(|e| graph.failure(&e))?;
            graph.bind(input.name, &tensor)?;
        }
        let names: Vec<&'static str> = tensors.outputs.iter().map(|output| output.name).collect();
        let outputs = graph.run(&names, host)?;
        let read = |output: &GraphTensor| {
            let shape: Vec<i64> = sized(&output.shape);
            let len = shape.iter().product::<i64>().try_into().unwrap_or(0);
            Ok((output.name, outputs.read(output.name, len)?.to_vec()))
        };
        tensors.outputs.iter().map(read).collect()
    }

    /// `latent` as [1,N,D] in the provider's memory. It is brought there once.
    fn on_device(&self, latent: &Latent) -> Result<Arc<Tensor<f32>>, ModelError> {
        let (n, d) = (dim(self.spec.tokens), dim(self.spec.latent_dim));
        // That of another model may lie elsewhere or have another shape.
        if let Some(tensor) = latent.device().filter(|t| self.runtime.holds(t) && **t.shape() == [1, n, d]) {
            return Ok(Arc::clone(tensor));
        }
        let fail = |e: ort::Error| self.encoder.failure(&e);
        let host = Tensor::from_array(([1, n, d], latent.host().to_vec())).map_err(fail)?;
        let tensor = Arc::new(self.runtime.copy_to(Memory::Device, &host).map_err(fail)?);
        latent.keep(&tensor);
        Ok(tensor)
    }
}

impl WorldModel for OnnxWorldModel {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, frame: &[f32], latent: &mut Latent) -> Result<(), ModelError> {
        ModelError::check_len("frame", frame.len(), self.spec.frame_len())?;
        ModelError::check_len("latent", latent.host().len(), self.spec.latent_len())?;
        let Self { encoder, runtime, .. } = self;
        write(&mut self.frame, frame);
        encoder.bind("frames", &self.frame)?;
        let device = encoder.run(&["latents"], runtime.memory(Memory::Device))?.take("latents")?;
        let host = runtime.copy_to(Memory::Host, &device).map_err(|e| encoder.failure(&e))?;
        let (_, numbers) = host.try_extract_tensor::<f32>().map_err(|e| encoder.failure(&e))?;
        ModelError::check_len("encoder output `latents`", numbers.len(), self.spec.latent_len())?;
        latent.set(numbers, device);
        Ok(())
    }

    fn set_problem(&mut self, context: &Context<'_>, goal: &Latent) -> Result<(), ModelError> {
        self.problem = None;
        let frames = context.states.len();
        let latent = self.spec.latent_len();
        ModelError::check_len("context latents", context.latents.len(), frames)?;
        ModelError::check_len("context actions", context.actions.len(), frames.saturating_sub(1))?;
        for (what, one) in context.latents.iter().map(|l| ("context latent", l)).chain([("goal latent", goal)]) {
            ModelError::check_len(what, one.host().len(), latent)?;
        }
        let Some(&state) = context.states.last() else {
            return Err(ModelError::Length { what: "context states", expected: 1, found: 0 });
        };
        let tensors = context.latents.iter().map(|l| self.on_device(l)).collect::<Result<Vec<_>, _>>()?;
        let goal = self.on_device(goal)?;
        let Some(ContextGraph { graph, .. }) = self.contexts.iter_mut().find(|c| c.frames == frames) else {
            let wanted = format!("{frames} context frames");
            return Err(ModelError::NoRollout {
                model: self.spec.name.clone(),
                wanted,
                available: self.spec.rollouts.clone(),
            });
        };
        for (t, tensor) in tensors.iter().enumerate() {
            graph.bind(&context_graph::input(t), tensor)?;
        }
        let joined =
            graph.run(&[context_graph::CONTEXT], self.runtime.memory(Memory::Device))?.take(context_graph::CONTEXT)?;
        let rows = |rows: Vec<[f64; STATE_DIM]>| {
            let numbers: Vec<f32> = rows.iter().flatten().map(|v| *v as f32).collect();
            Tensor::from_array(([1, rows.len(), STATE_DIM], numbers)).map_err(|e| graph.failure(&e))
        };
        let states = rows(context.states.iter().map(|s| s.0).collect())?;
        let actions = match context.actions {
            [] => None,
            actions => Some(rows(actions.iter().map(|a| a.0).collect())?),
        };
        self.problems += 1;
        let problem = Problem { number: self.problems, frames, state, context: joined, states, actions, goal };
        self.problem = Some(Arc::new(problem));
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
        let Some(problem) = &self.problem else { return Err(ModelError::NoProblem) };
        ModelError::check_len("actions", actions.len(), batch * horizon * STATE_DIM)?;
        // Asked for before any lane starts.
        self.rollouts.find(problem.frames, horizon)?;
        out.clear();
        let mut parts = lanes::parts(batch, 1 + self.lanes.len());
        let numbers = |part: &Range<usize>| part.start * horizon * STATE_DIM..part.end * horizon * STATE_DIM;
        let own = parts.next().unwrap_or(0..batch);
        let mut started = 0;
        let mut result = Ok(());
        for (lane, range) in self.lanes.iter_mut().zip(parts) {
            match lane.job() {
                Ok(part) => part.fill(problem, &actions[numbers(&range)], range.len(), horizon, want_latents),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            lane.start();
            started += 1;
        }
        if result.is_ok() {
            result = self.rollouts.run(problem, &actions[numbers(&own)], own.len(), horizon, want_latents, out);
        }
        // Every lane is waited for, also after an error: what it is given next must not meet what it does now.
        for lane in self.lanes.iter_mut().take(started) {
            match lane.finish() {
                Ok(part) if result.is_ok() => out.append(&part.out),
                Ok(_) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        if result.is_err() {
            out.clear();
        }
        result
    }
}

impl Part {
    fn fill(&mut self, problem: &Arc<Problem>, actions: &[f32], batch: usize, horizon: usize, want_latents: bool) {
        self.problem = Some(Arc::clone(problem));
        self.actions.clear();
        self.actions.extend_from_slice(actions);
        (self.batch, self.horizon, self.want_latents) = (batch, horizon, want_latents);
    }
}

impl Rollouts {
    fn clear(&mut self) {
        self.energy_l1.clear();
        self.energy_l2.clear();
        self.latents.clear();
    }

    /// The candidates of `other` behind those that are here.
    fn append(&mut self, other: &Self) {
        self.energy_l1.extend_from_slice(&other.energy_l1);
        self.energy_l2.extend_from_slice(&other.energy_l2);
        self.latents.extend_from_slice(&other.latents);
    }
}

impl RolloutGraphs {
    fn find(
        &mut self,
        context: usize,
        horizon: usize,
    ) -> Result<(&mut RolloutGraph, &MemoryInfo<'static>), ModelError> {
        let Self { model, host, graphs, .. } = self;
        let Some(i) = graphs.iter().position(|g| (g.context, g.horizon) == (context, horizon)) else {
            return Err(ModelError::NoRollout {
                model: model.clone(),
                wanted: format!("{context} context frames and horizon {horizon}"),
                available: graphs.iter().map(|g| (g.context, g.horizon)).collect(),
            });
        };
        Ok((&mut graphs[i], host))
    }

    /// Does a lane's part of a call.
    fn predict(&mut self, part: &mut Part) -> Result<(), ModelError> {
        let Part { problem, actions, batch, horizon, want_latents, out } = part;
        let Some(problem) = problem.take() else { return Err(ModelError::NoProblem) };
        out.clear();
        self.run(&problem, actions, *batch, *horizon, *want_latents, out)
    }

    /// Predicts `batch` candidates, `actions` [B,H,7]; the results are put behind what is in `out`.
    fn run(
        &mut self,
        problem: &Problem,
        actions: &[f32],
        batch: usize,
        horizon: usize,
        want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        let latent_len = self.latent_len;
        let (rollout, host) = self.find(problem.frames, horizon)?;
        rollout.bind(problem)?;
        rollout.bind_candidates(&problem.state, actions, batch)?;
        let names: &[&str] =
            if want_latents { &["energy_l1", "energy_l2", "final"] } else { &["energy_l1", "energy_l2"] };
        let outputs = rollout.graph.run(names, host)?;
        out.energy_l1.extend_from_slice(outputs.read("energy_l1", batch)?);
        out.energy_l2.extend_from_slice(outputs.read("energy_l2", batch)?);
        if want_latents {
            out.latents.extend_from_slice(outputs.read("final", batch * latent_len)?);
        }
        Ok(())
    }
}

impl RolloutGraph {
    /// Binds what all candidates of a problem share, once.
    fn bind(&mut self, problem: &Problem) -> Result<(), ModelError> {
        if self.bound == problem.number {
            return Ok(());
        }
        self.bound = 0;
        self.graph.bind("context", &problem.context)?;
        self.graph.bind("context_states", &problem.states)?;
        if let Some(actions) = &problem.actions {
            self.graph.bind("context_actions", actions)?;
        }
        self.graph.bind("goal", &problem.goal)?;
        self.bound = problem.number;
        Ok(())
    }

    /// Binds `actions` [B,H,7] and the states along them, which start from `state`.
    fn bind_candidates(&mut self, state: &RobotState, actions: &[f32], batch: usize) -> Result<(), ModelError> {
        let Self { graph, candidates, horizon, .. } = self;
        if candidates.as_ref().is_none_or(|c| c.batch != batch) {
            let shape = [dim(batch), dim(*horizon), dim(STATE_DIM)];
            *candidates = Some(Candidates { batch, actions: on_host(graph, shape)?, states: on_host(graph, shape)? });
        }
        let Some(candidates) = candidates else { return Ok(()) };
        write(&mut candidates.actions, actions);
        compose_states(state, actions, *horizon, candidates.states.extract_tensor_mut().1);
        // Binding is what brings the numbers to the device.
        graph.bind("actions", &candidates.actions)?;
        graph.bind("states", &candidates.states)
    }
}

impl Graph {
    fn new(file: PathBuf, session: Session) -> Result<Self, ModelError> {
        match session.create_binding() {
            Ok(binding) => Ok(Self { file, session, binding }),
            Err(e) => Err(ModelError::Inference { file, reason: e.to_string() }),
        }
    }

    fn failure(&self, error: &ort::Error) -> ModelError {
        ModelError::Inference { file: self.file.clone(), reason: error.to_string() }
    }

    /// Gives an input its value until it is bound again; a value on the host is copied to the provider's memory now.
    fn bind(&mut self, name: &str, value: &Tensor<f32>) -> Result<(), ModelError> {
        self.binding.bind_input(name, value).map_err(|e| self.failure(&e))
    }

    /// Runs with the bound inputs; the outputs of these names come to `memory`.
    fn run(&mut self, names: &[&str], memory: &MemoryInfo<'_>) -> Result<Outputs<'_>, ModelError> {
        let Self { file, session, binding } = self;
        let fail = |e: ort::Error| ModelError::Inference { file: file.clone(), reason: e.to_string() };
        // Bound anew for every run: an output keeps the shape and memory of the run before otherwise.
        binding.clear_outputs();
        for name in names {
            binding.bind_output_to_device(*name, memory).map_err(fail)?;
        }
        Ok(Outputs { values: session.run_binding(binding).map_err(fail)?, file })
    }
}

/// What a graph gave.
struct Outputs<'a> {
    values: SessionOutputs<'a>,
    file: &'a Path,
}

impl Outputs<'_> {
    fn failure(&self, reason: String) -> ModelError {
        ModelError::Inference { file: self.file.to_path_buf(), reason }
    }

    /// The tensor of one output.
    fn take(mut self, name: &str) -> Result<Tensor<f32>, ModelError> {
        let value = self.values.remove(name).ok_or_else(|| self.failure(format!("output `{name}` is missing")))?;
        value.downcast::<TensorValueType<f32>>().map_err(|e| self.failure(format!("output `{name}`: {e}")))
    }

    /// The numbers of one output on the host, when there are as many as expected.
    fn read(&self, name: &str, expected: usize) -> Result<&[f32], ModelError> {
        let value = self.values.get(name).ok_or_else(|| self.failure(format!("output `{name}` is missing")))?;
        let (shape, values) =
            value.try_extract_tensor::<f32>().map_err(|e| self.failure(format!("output `{name}`: {e}")))?;
        if values.len() != expected {
            return Err(self.failure(format!("output `{name}` has shape {shape:?}, {expected} numbers were expected")));
        }
        Ok(values)
    }
}

/// Uninitialised host memory of this shape; `graph` is named in errors.
fn on_host<const RANK: usize>(graph: &Graph, shape: [i64; RANK]) -> Result<Tensor<f32>, ModelError> {
    Tensor::new(&Allocator::default(), shape).map_err(|e| graph.failure(&e))
}

fn write(to: &mut Tensor<f32>, numbers: &[f32]) {
    to.extract_tensor_mut().1.copy_from_slice(numbers);
}

/// States along each candidate, [B,H,7]: the state that each action starts from.
fn compose_states(start: &RobotState, actions: &[f32], horizon: usize, states: &mut [f32]) {
    let len = horizon.max(1) * STATE_DIM;
    for (sequence, states) in actions.chunks_exact(len).zip(states.chunks_exact_mut(len)) {
        let mut state = *start;
        let steps = sequence.as_chunks::<STATE_DIM>().0.iter().zip(states.as_chunks_mut::<STATE_DIM>().0);
        for (h, (action, to)) in steps.enumerate() {
            *to = state.0.map(|v| v as f32);
            if h + 1 < horizon {
                state = state.compose(&Action(action.map(f64::from)));
            }
        }
    }
}

/// Opens one graph of a model directory and compares it with the manifest.
fn load_graph(
    runtime: &Runtime,
    directory: &ModelDirectory,
    role: GraphRole,
    tensors: &GraphTensors,
    max_batch: usize,
    progress: &mut dyn FnMut(&str),
) -> Result<Graph, ModelError> {
    let file = directory.path.join(directory.manifest.graph_file(role));
    let session = runtime.session(&file, &tensors.profile(max_batch), progress)?;
    let metadata = session.metadata().ok().and_then(|metadata| metadata.custom(facts::KEY));
    facts::check(directory, role, metadata.as_deref())?;
    check_graph(&file, &session, &tensors.inputs, &tensors.outputs)?;
    Graph::new(file, session)
}

/// Inputs and outputs that a graph must have.
struct GraphTensors {
    inputs: Vec<GraphTensor>,
    outputs: Vec<GraphTensor>,
}

impl GraphTensors {
    /// The encoder's, for pictures of side `s`, `n` tokens of width `d`.
    fn encoder(s: i64, n: i64, d: i64) -> Self {
        Self {
            inputs: vec![GraphTensor::new("frames", &[-1, s, s, 3])],
            outputs: vec![GraphTensor::new("latents", &[-1, n, d])],
        }
    }

    /// Those of a rollout over `h` steps from `t` frames.
    fn rollout(t: i64, h: i64, n: i64, d: i64) -> Self {
        let mut inputs = vec![
            GraphTensor::new("context", &[1, t, n, d]),
            GraphTensor::new("context_states", &[1, t, 7]),
            GraphTensor::new("actions", &[-1, h, 7]),
            GraphTensor::new("states", &[-1, h, 7]),
            GraphTensor::new("goal", &[1, n, d]),
        ];
        if t > 1 {
            inputs.push(GraphTensor::new("context_actions", &[1, t - 1, 7]));
        }
        let outputs = vec![
            GraphTensor::new("energy_l1", &[-1]),
            GraphTensor::new("energy_l2", &[-1]),
            GraphTensor::new("final", &[-1, n, d]),
        ];
        Self { inputs, outputs }
    }

    /// The shapes that inputs of a dynamic batch take, from 1 to `max_batch`.
    fn profile(&self, max_batch: usize) -> Profile {
        let inputs = self.inputs.iter().filter(|t| t.shape.contains(&-1));
        Profile { max_batch, inputs: inputs.map(|t| (t.name, t.shape.clone())).collect() }
    }
}

/// An f32 tensor that a graph must have; −1 is the dynamic batch.
struct GraphTensor {
    name: &'static str,
    shape: Vec<i64>,
}

impl GraphTensor {
    fn new(name: &'static str, shape: &[i64]) -> Self {
        Self { name, shape: shape.to_vec() }
    }
}

fn dim(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Checks names, types and shapes of all inputs and outputs of a graph.
fn check_graph(
    file: &Path,
    session: &Session,
    inputs: &[GraphTensor],
    outputs: &[GraphTensor],
) -> Result<(), ModelError> {
    check_tensors(file, "input", session.inputs(), inputs)?;
    check_tensors(file, "output", session.outputs(), outputs)
}

fn check_tensors(
    file: &Path,
    what: &'static str,
    found: &[Outlet],
    expected: &[GraphTensor],
) -> Result<(), ModelError> {
    let fail = |name: &str, reason: String, expected: String| {
        Err(ModelError::Graph { file: file.to_path_buf(), what, name: name.to_owned(), reason, expected })
    };
    for want in expected {
        let describe = || format!("{} {:?} (-1: any)", TensorElementType::Float32, want.shape);
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
        if *ty != TensorElementType::Float32 || !same_rank || !shape.iter().zip(&want.shape).all(|(f, w)| fits(*f, *w))
        {
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
        let mut states = vec![0.0; 2 * 2 * 7];
        compose_states(&start, &actions, 2, &mut states);
        let as_f32 = |s: RobotState| s.0.map(|v| v as f32);
        assert_eq!(states[..7], as_f32(start));
        let next = as_f32(start.compose(&Action(a)));
        for (found, expected) in states[7..14].iter().zip(next) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert!((states[13] - 1.0).abs() < 1e-6, "the gripper clips at closed");
        assert_eq!(states[14..21], as_f32(start));
    }

    /// The demo's model on `lanes` lanes, with a problem.
    fn model(lanes: usize) -> OnnxWorldModel {
        let runtime = RuntimeConfig { candidate_threads: lanes, ..RuntimeConfig::default() };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
        let options = LoadOptions { runtime, ..LoadOptions::default() };
        let mut model = OnnxWorldModel::load(&path, &options, &mut |_| {}).unwrap();
        set_problem(&mut model);
        model
    }

    fn set_problem(model: &mut OnnxWorldModel) {
        let goal = Latent::from_host(vec![0.5; model.spec.latent_len()]);
        let latents = [Latent::from_host(vec![-0.25; model.spec.latent_len()])];
        let context = Context { latents: &latents, states: &[RobotState::default()], actions: &[] };
        model.set_problem(&context, &goal).unwrap();
    }

    #[test]
    fn an_error_or_panic_in_one_lane_is_the_calls_and_the_next_call_is_whole() {
        let mut model = model(3);
        assert_eq!(model.lanes(), 3);
        let actions: Vec<f32> = (0..13 * 7).map(|i| 0.001 * i as f32).collect();
        let (mut good, mut out) = (Rollouts::default(), Rollouts::default());
        model.rollout(&actions, 13, 1, false, &mut good).unwrap();
        for panics in [false, true] {
            let mut failures = 1;
            let failing = move |part: &mut Part| {
                part.out.clear();
                part.out.energy_l1.push(1.0);
                match std::mem::take(&mut failures) {
                    0 => Ok(()),
                    _ if panics => panic!("broken"),
                    _ => Err(ModelError::NoProblem),
                }
            };
            let failing = Lane::new("candidates_x".to_owned(), Part::default(), failing).unwrap();
            let lane = std::mem::replace(&mut model.lanes[0], failing);
            let error = model.rollout(&actions, 13, 1, true, &mut out).unwrap_err();
            match error {
                ModelError::Lane { lane, reason } => {
                    assert!(panics && lane == "candidates_x" && reason.contains("broken"), "{lane} {reason}");
                }
                error => assert!(!panics && matches!(error, ModelError::NoProblem), "{error}"),
            }
            assert!(out.energy_l1.is_empty() && out.energy_l2.is_empty() && out.latents.is_empty());
            // The failed lane goes on, and the others were waited for.
            model.rollout(&actions, 13, 1, false, &mut out).unwrap();
            assert_eq!(out.energy_l1, [&good.energy_l1[..5], &[1.0], &good.energy_l1[9..]].concat());
            model.lanes[0] = lane;
            model.rollout(&actions, 13, 1, false, &mut out).unwrap();
            assert_eq!(out.energy_l1, good.energy_l1);
        }
    }

    #[test]
    fn an_error_in_the_calling_threads_part_leaves_no_result_behind() {
        let mut model = model(2);
        let actions: Vec<f32> = (0..8 * 7).map(|i| 0.002 * i as f32).collect();
        let (mut good, mut out) = (Rollouts::default(), Rollouts::default());
        model.rollout(&actions, 8, 1, false, &mut good).unwrap();
        // The graph's input is [1,1,7].
        let wrong = Tensor::from_array(([1, 2, 7], vec![0.0; 14])).unwrap();
        model.rollouts.find(1, 1).unwrap().0.graph.bind("context_states", &wrong).unwrap();
        assert!(model.rollout(&actions, 8, 1, false, &mut out).is_err());
        set_problem(&mut model);
        let reversed: Vec<f32> = actions.chunks(7).rev().flatten().copied().collect();
        model.rollout(&reversed, 8, 1, false, &mut out).unwrap();
        good.energy_l1.reverse();
        assert_eq!(out.energy_l1, good.energy_l1);
    }
}
