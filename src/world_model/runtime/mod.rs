//! ONNX Runtime: where its library is found, and how a graph becomes a session on an execution provider.
//!
//! The only module that knows execution providers. The library is opened at run time, so that one binary serves all.

mod library;

use std::fmt;
use std::path::{Path, PathBuf};

use ort::editor::Model;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::library::Opened;
pub use self::library::{INSTALL_COMMAND, LIBRARY_VARIABLE};
use super::manifest::Manifest;

/// What runs the graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
    /// An NVIDIA GPU through TensorRT.
    Tensorrt,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        })
    }
}

/// How sessions are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// What runs the graphs.
    pub provider: Provider,
    /// What is tried in its place, in this order, when it cannot be had. Empty: that is an error.
    pub fallback: Vec<Provider>,
    /// Number of the GPU.
    pub device_id: i32,
    /// Threads inside one operation. They sleep rather than spin while they wait, so that other work gets the cores.
    pub intra_op_threads: usize,
    /// Where compiled graphs are kept; empty: `vjepa_planner` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub cache_dir: PathBuf,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            provider: Provider::Cpu,
            fallback: Vec::new(),
            device_id: 0,
            intra_op_threads: 1,
            cache_dir: PathBuf::new(),
        }
    }
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// `ORT_DYLIB_PATH` names something that cannot be opened, or no library was found at all.
    #[error("ONNX Runtime was not found ({searched}); install it with `{INSTALL_COMMAND}` or set {LIBRARY_VARIABLE}")]
    LibraryMissing {
        /// Where it was looked for, and what came back.
        searched: String,
    },
    /// The execution provider cannot be had.
    #[error("execution provider `{provider}` cannot be had: {missing}; {remedy}")]
    Provider {
        /// Which.
        provider: Provider,
        /// What is missing.
        missing: String,
        /// What to do about it.
        remedy: String,
    },
    /// The configuration cannot be right.
    #[error("intra_op_threads is {0}, must be 1..256")]
    Threads(usize),
    /// ONNX Runtime refused a graph.
    #[error("{file}: ONNX Runtime cannot load it on `{provider}`: {reason}")]
    Load {
        /// The ONNX file.
        file: PathBuf,
        /// On what.
        provider: Provider,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// ONNX Runtime could not be set up.
    #[error("ONNX Runtime cannot be started: {0}")]
    Start(String),
}

impl RuntimeError {
    /// Whether another execution provider may do better.
    pub fn is_of_provider(&self) -> bool {
        match self {
            Self::Provider { provider, .. } | Self::Load { provider, .. } => *provider != Provider::Cpu,
            Self::LibraryMissing { .. } | Self::Threads(_) | Self::Start(_) => false,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// In the execution provider's memory.
    Device,
    /// In the processor's.
    Host,
}

#[allow(dead_code, reason = "TensorRT comes next")]
/// The batches that a graph is asked for.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// From 1 to this.
    pub(super) max_batch: usize,
    /// Inputs of a dynamic batch, by name, and their shapes with −1 in its place.
    pub(super) inputs: Vec<(&'static str, Vec<i64>)>,
}

/// ONNX Runtime, opened and configured for one execution provider.
#[derive(Debug)]
pub(super) struct Runtime {
    opened: Opened,
    provider: Provider,
    intra_op_threads: usize,
    device: MemoryInfo<'static>,
    host: MemoryInfo<'static>,
}

impl Runtime {
    /// Opens the library and checks that the provider can be had.
    ///
    /// # Errors
    /// [`RuntimeError`] says what is missing and how to get it.
    pub(super) fn open(
        provider: Provider,
        config: &RuntimeConfig,
        _manifest: &Manifest,
        _max_batch: usize,
    ) -> Result<Self, RuntimeError> {
        if !(1..=256).contains(&config.intra_op_threads) {
            return Err(RuntimeError::Threads(config.intra_op_threads));
        }
        let opened = library::open()?;
        let memory = |device, id| {
            MemoryInfo::new(device, id, AllocatorType::Device, MemoryType::Default)
                .map_err(|e| RuntimeError::Start(e.to_string()))
        };
        let host = memory(AllocationDevice::CPU, 0)?;
        let device = match provider {
            Provider::Cpu => host.clone(),
            Provider::Cuda | Provider::Tensorrt => memory(AllocationDevice::CUDA, config.device_id)?,
        };
        Ok(Self { opened, provider, intra_op_threads: config.intra_op_threads, device, host })
    }

    /// What runs the graphs.
    pub(super) fn provider(&self) -> Provider {
        self.provider
    }

    /// Version of ONNX Runtime.
    pub(super) fn version(&self) -> &str {
        &self.opened.version
    }

    /// A session for one ONNX file; external weights are looked for beside it.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the file and ONNX Runtime's words.
    pub(super) fn session(
        &self,
        file: &Path,
        _profile: &Profile,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Session, RuntimeError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        progress(&format!("{}: loading {name}", self.provider));
        let load = |reason: String| RuntimeError::Load { file: file.to_path_buf(), provider: self.provider, reason };
        self.builder().map_err(load)?.commit_from_file(file).map_err(|e| load(e.to_string()))
    }

    /// A session for a graph that was made here; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the name and ONNX Runtime's words.
    pub(super) fn session_in_memory(&self, name: &Path, model: Model) -> Result<Session, RuntimeError> {
        let load = |reason: String| RuntimeError::Load { file: name.to_path_buf(), provider: self.provider, reason };
        let builder = self.builder().map_err(load)?;
        model.into_session(&builder).map_err(|e| load(e.to_string()))
    }

    fn builder(&self) -> Result<SessionBuilder, String> {
        let text = |e: ort::Error<SessionBuilder>| e.to_string();
        Session::builder(&self.opened.environment)
            .map_err(|e| e.to_string())?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(text)?
            .with_intra_threads(self.intra_op_threads)
            .map_err(text)?
            .with_intra_op_spinning(false)
            .map_err(text)?
            .with_inter_op_spinning(false)
            .map_err(text)?
            .with_deterministic_compute(true)
            .map_err(text)
    }

    /// Describes the memory of one of the two kinds.
    pub(super) fn memory(&self, memory: Memory) -> &MemoryInfo<'static> {
        match memory {
            Memory::Device => &self.device,
            Memory::Host => &self.host,
        }
    }

    /// A copy of a tensor.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub(super) fn copy_to(&self, memory: Memory, tensor: &Tensor<f32>) -> ort::Result<Tensor<f32>> {
        let memory = self.memory(memory);
        tensor.to(memory.allocation_device(), memory.device_id())
    }

    /// Whether a tensor lies in the execution provider's memory.
    pub(super) fn holds(&self, tensor: &Tensor<f32>) -> bool {
        let memory = tensor.memory_info();
        memory.allocation_device() == self.device.allocation_device() && memory.device_id() == self.device.device_id()
    }
}
