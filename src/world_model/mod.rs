//! The world model: pictures to latents, and actions to predicted latents and energies.
//!
//! [`WorldModel`] is what the planner sees. [`OnnxWorldModel`] implements it with ONNX graphs; tests implement it with
//! formulas. An energy is the distance between a predicted latent and the goal's: mean |·| (L1) or mean square (L2).

pub mod architecture;
pub mod check;
mod context_graph;
mod facts;
mod fixed_input;
mod lanes;
mod latent;
pub mod manifest;
mod onnx;
pub mod operations;
pub mod preprocess;
pub mod runtime;

use std::path::PathBuf;

use thiserror::Error;

pub use latent::{EnergyNorm, Latent, latent_energy, layer_norm};
pub use onnx::{GraphSelection, LoadOptions, OnnxWorldModel};

use self::manifest::{Manifest, ManifestError};
use self::preprocess::ResizeFilter;
use self::runtime::RuntimeError;
use crate::robot::pose::{Action, RobotState};

/// Numbers of a model that the rest of the program needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Name, for logs and status.
    pub name: String,
    /// Side S of the square input picture, px.
    pub image_size: usize,
    /// How a camera picture becomes S×S.
    pub resize_filter: ResizeFilter,
    /// Patch tokens per frame, N.
    pub tokens: usize,
    /// Width of a latent token, D.
    pub latent_dim: usize,
    /// Model steps per second, Hz.
    pub rate_hz: f64,
    /// Largest translation per coordinate and step seen in training, m.
    pub max_step_m: f64,
    /// (context T, horizon H) of every rollout that is loaded.
    pub rollouts: Vec<(usize, usize)>,
}

impl ModelSpec {
    /// Numbers of one input picture: S·S·3.
    pub fn frame_len(&self) -> usize {
        self.image_size * self.image_size * 3
    }

    /// Numbers in the latent of one frame: N·D.
    pub fn latent_len(&self) -> usize {
        self.tokens * self.latent_dim
    }

    /// Longest context T for which a rollout of `horizon` steps is at hand.
    pub fn longest_context(&self, horizon: usize) -> Option<usize> {
        self.rollouts.iter().filter(|(_, h)| *h == horizon).map(|(t, _)| *t).max()
    }
}

impl From<&Manifest> for ModelSpec {
    fn from(m: &Manifest) -> Self {
        Self {
            name: m.name.clone(),
            image_size: m.image_size,
            resize_filter: m.resize_filter,
            tokens: m.tokens,
            latent_dim: m.latent_dim,
            rate_hz: m.rate_hz,
            max_step_m: m.max_step_m,
            rollouts: m.rollouts.iter().map(|r| (r.context, r.horizon)).collect(),
        }
    }
}

/// What was seen and done up to now: T frames, oldest first, one model step apart.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Latent of each frame, [T].
    pub latents: &'a [Latent],
    /// Robot state at each frame, [T].
    pub states: &'a [RobotState],
    /// Actions between the frames, [T−1].
    pub actions: &'a [Action],
}

/// Result of a rollout; the buffers are reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct Rollouts {
    /// Mean absolute difference to the goal latent after the last step, [B].
    pub energy_l1: Vec<f32>,
    /// Mean square difference to the goal latent after the last step, [B].
    pub energy_l2: Vec<f32>,
    /// Predicted latents after the last step, [B,N,D]; empty when they were not asked for.
    pub latents: Vec<f32>,
}

/// Why a model cannot be loaded or did not answer.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The model directory is not in order.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// ONNX Runtime is missing or the execution provider is not at hand.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A graph disagrees with the manifest.
    #[error("{file}: {what} `{name}` {reason}; the manifest asks for {expected}")]
    Graph {
        /// The ONNX file.
        file: PathBuf,
        /// `input` or `output`.
        what: &'static str,
        /// Name of the tensor.
        name: String,
        /// What was found.
        reason: String,
        /// What should have been found.
        expected: String,
    },
    /// A buffer does not have the length that the call needs.
    #[error("{what} has {found} numbers, needs {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Numbers needed.
        expected: usize,
        /// Numbers present.
        found: usize,
    },
    /// No graph for this context or horizon.
    #[error("model `{model}` has no rollout for {wanted}; it has (context, horizon) {available:?}")]
    NoRollout {
        /// Name of the model.
        model: String,
        /// Context in frames, horizon in steps, or both.
        wanted: String,
        /// What there is.
        available: Vec<(usize, usize)>,
    },
    /// [`WorldModel::rollout`] before [`WorldModel::set_problem`].
    #[error("rollout asked for before a context and a goal were set")]
    NoProblem,
    /// The graph failed while it ran.
    #[error("{file}: inference failed: {reason}")]
    Inference {
        /// The ONNX file.
        file: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A thread that takes a part of the candidates failed.
    #[error("thread `{lane}` of the rollouts: {reason}")]
    Lane {
        /// Name of the thread.
        lane: String,
        /// What happened to it.
        reason: String,
    },
}

impl ModelError {
    /// Fails unless `found == expected`.
    pub(crate) fn check_len(what: &'static str, found: usize, expected: usize) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }
}

/// A world model in the sense of V-JEPA 2-AC.
pub trait WorldModel: Send {
    /// Its sizes and limits.
    fn spec(&self) -> &ModelSpec;

    /// Encodes one picture: `frame` [S,S,3], RGB in 0..255 → `latent` [N,D], LayerNormed.
    ///
    /// # Errors
    /// [`ModelError::Length`] for buffers of another size, [`ModelError::Inference`] when the graph fails.
    fn encode(&mut self, frame: &[f32], latent: &mut Latent) -> Result<(), ModelError>;

    /// Sets what the following rollouts start from and are measured against: the context and the `goal` latent [N,D].
    ///
    /// # Errors
    /// [`ModelError::Length`] when the parts of the context do not fit each other or the model, [`ModelError::NoRollout`]
    /// when there is no graph for so many frames. There is no problem then.
    fn set_problem(&mut self, context: &Context<'_>, goal: &Latent) -> Result<(), ModelError>;

    /// Predicts what `batch` action sequences lead to: `actions` [B,H,7], see [`Action`]. The latents are only
    /// fetched when `want_latents`.
    ///
    /// # Errors
    /// [`ModelError::NoRollout`] when there is no graph for this context and horizon, [`ModelError::NoProblem`] without
    /// a problem; otherwise as [`Self::encode`].
    fn rollout(
        &mut self,
        actions: &[f32],
        batch: usize,
        horizon: usize,
        want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError>;
}
