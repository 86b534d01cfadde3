//! ONNX Runtime: where its library is found, and how a graph becomes a session on an execution provider.
//!
//! The only module that knows execution providers. The library is opened at run time, so that one binary serves all.

mod engine_cache;
mod library;
mod nvidia;
mod tensorrt;

use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::editor::Model;
use ort::ep::{CUDA, ExecutionProvider as _, ExecutionProviderDispatch, TensorRT};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;
use thiserror::Error;

use self::engine_cache::{CacheLock, EngineCache};
use self::library::Opened;
pub use self::library::{INSTALL_COMMAND, LIBRARY_VARIABLE};
use self::tensorrt::{Facts, TensorRt};
use super::context_graph::context_graph;
use super::manifest::ModelDirectory;
use crate::config::parameter::{Choice as _, choices, parameters, read_only};

choices! {
    /// What runs the graphs.
    #[derive(Default)]
    pub enum Provider {
        /// The processor.
        #[default]
        Cpu = "cpu",
        /// An NVIDIA GPU through CUDA.
        Cuda = "cuda",
        /// An NVIDIA GPU through TensorRT.
        Tensorrt = "tensorrt",
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

parameters! {
    /// How sessions are made.
    pub struct RuntimeConfig {
        /// What runs the graphs. When it cannot be had, the node says what is missing and ends.
        provider: Provider = Provider::Cpu => read_only(),
        /// What is tried in its place, in this order, with a warning in log and status.
        fallback: Vec<Provider> = Vec::new() => read_only(),
        /// Number of the GPU.
        device_id: i32 = 0 => read_only().range(0..=1024),
        /// CPU threads inside one operation, of each of the `candidate_threads`.
        intra_op_threads: usize = 1 => read_only().range(1..=256),
        /// CPU threads that each predict a part of a call's candidates, with `intra_op_threads` each and the weights once
        /// more each. On a GPU, which takes all candidates at once, it is ignored. 0: 2 when those are free and cheap (one
        /// thread inside an operation, as many cores, small weights), otherwise 1.
        candidate_threads: usize = 0 => read_only().range(0..=256),
        /// Whether those threads spin while they wait for the next operation. They answer sooner and take the cores from
        /// everything else; for machines with cores to spare.
        intra_op_spinning: bool = false => read_only(),
        /// Where TensorRT's compiled graphs are kept; empty: `vjepa_planner` in `$XDG_CACHE_HOME` or `~/.cache`.
        cache_dir: PathBuf = PathBuf::new() => read_only(),
    }
}

/// Lanes when the number is left to the program.
pub const AUTOMATIC_LANES: usize = 2;
/// Bytes of weights that may be held once for each lane without being asked for. Models above it spend their time in
/// products of matrices, which more threads inside an operation make as fast.
pub const LIGHT_WEIGHTS: u64 = 64 << 20;

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
    #[error("{setting} is {value}, must be {least}..256")]
    Threads {
        /// Which.
        setting: &'static str,
        /// What it is.
        value: usize,
        /// What it must be at least.
        least: usize,
    },
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
    /// What is compiled cannot be kept where it would be safe.
    #[error("{path}: no place for compiled graphs: {reason}; make it safe or name another directory in `cache_dir`")]
    Cache {
        /// The directory or file at fault.
        path: PathBuf,
        /// What is wrong.
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
            Self::LibraryMissing { .. } | Self::Threads { .. } | Self::Cache { .. } | Self::Start(_) => false,
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

/// The batches that a graph is asked for.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// From 1 to this.
    pub(super) max_batch: usize,
    /// Inputs of a dynamic batch, by name, and their shapes with −1 in its place.
    pub(super) inputs: Vec<(&'static str, Vec<i64>)>,
}

/// Sessions are made one after the other: TensorRT must not compile two graphs at once.
static LOADING: Mutex<()> = Mutex::new(());

/// ONNX Runtime, opened and configured for one execution provider.
#[derive(Debug)]
pub(super) struct Runtime {
    opened: Opened,
    provider: Provider,
    device_id: i32,
    intra_op_threads: usize,
    intra_op_spinning: bool,
    lanes: usize,
    tensorrt: Option<TensorRt>,
    /// Held until all graphs are loaded.
    cache_lock: Option<CacheLock>,
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
        model: &ModelDirectory,
        max_batch: usize,
    ) -> Result<Self, RuntimeError> {
        for (setting, value, least) in
            [("intra_op_threads", config.intra_op_threads, 1), ("candidate_threads", config.candidate_threads, 0)]
        {
            if !(least..=256).contains(&value) {
                return Err(RuntimeError::Threads { setting, value, least });
            }
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
        let mut runtime = Self {
            opened,
            provider,
            device_id: config.device_id,
            intra_op_threads: config.intra_op_threads,
            intra_op_spinning: config.intra_op_spinning,
            lanes: lanes(provider, config, model),
            tensorrt: None,
            cache_lock: None,
            device,
            host,
        };
        if provider != Provider::Cpu {
            runtime.try_provider()?;
        }
        if provider == Provider::Tensorrt {
            runtime.set_up_tensorrt(config, model, max_batch)?;
        }
        Ok(runtime)
    }

    /// What runs the graphs.
    pub(super) fn provider(&self) -> Provider {
        self.provider
    }

    /// Threads among which the candidates of a call are divided, at least 1.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Version of ONNX Runtime.
    pub(super) fn version(&self) -> &str {
        &self.opened.version
    }

    /// Finds out whether the provider's code, its libraries and the GPU are there.
    fn try_provider(&self) -> Result<(), RuntimeError> {
        let (provider, opened) = (self.provider, &self.opened);
        let with_code = CUDA::is_available().unwrap_or(false)
            && (provider != Provider::Tensorrt || TensorRT::is_available().unwrap_or(false));
        if !with_code {
            return Err(nvidia::not_in_library(provider, opened));
        }
        nvidia::prepare(provider, opened)?;
        if provider == Provider::Tensorrt {
            let device = TensorRT::default().with_device_id(self.device_id).build();
            self.builder([device]).map_err(|e| nvidia::failed(provider, opened, &e))?;
        }
        let failed = |reason: String| nvidia::failed(provider, opened, &reason);
        // The smallest graph there is: CUDA is asked for the GPU when a session is made.
        let builder = self.builder([self.cuda()]).map_err(failed)?;
        let graph = context_graph(1, 1, 1).map_err(|e| RuntimeError::Start(e.to_string()))?;
        graph.into_session(&builder).map_err(|e| failed(e.to_string()))?;
        Ok(())
    }

    fn set_up_tensorrt(
        &mut self,
        config: &RuntimeConfig,
        model: &ModelDirectory,
        max_batch: usize,
    ) -> Result<(), RuntimeError> {
        let precision = model.manifest.precision;
        let library = nvidia::tensorrt_library().unwrap_or_default();
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let (visible, order) = (variable("CUDA_VISIBLE_DEVICES"), variable("CUDA_DEVICE_ORDER"));
        let cache = match nvidia::gpus() {
            Some(gpus) if !library.identity.is_empty() => {
                let facts = Facts {
                    files: &model.manifest.files,
                    precision,
                    max_batch,
                    onnxruntime: &format!("{} {}", self.opened.version, ort::info()),
                    tensorrt: &library.identity,
                    gpus: &gpus,
                    device: &format!("{} of {visible:?} in order {order:?}", config.device_id),
                };
                let (xdg, home) = (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
                let root = engine_cache::root(&config.cache_dir, xdg.map(PathBuf::from), home.map(PathBuf::from))?;
                let (cache, lock) = EngineCache::open(&root, &facts.key())?;
                self.cache_lock = Some(lock);
                Some(cache)
            }
            _ => {
                tracing::warn!("the driver does not say which GPU this is: compiled graphs are not kept");
                None
            }
        };
        let size = |name: &String| model.path.join(name).metadata().map_or(0, |metadata| metadata.len());
        let large = model.manifest.files.keys().map(size).any(|bytes| bytes > tensorrt::LARGE);
        let (device_id, major) = (config.device_id, library.major);
        self.tensorrt = Some(TensorRt { device_id, precision, major, large, cache });
        Ok(())
    }

    /// A session for one ONNX file; external weights are looked for beside it.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the file and ONNX Runtime's words.
    pub(super) fn session(
        &self,
        file: &Path,
        profile: &Profile,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Session, RuntimeError> {
        let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let provider = self.provider;
        match &self.tensorrt {
            Some(tensorrt) if !tensorrt.has(file) => {
                progress(&format!("{provider}: building {name}, minutes the first time"));
            }
            _ => progress(&format!("{provider}: loading {name}")),
        }
        let load = |reason: String| RuntimeError::Load { file: file.to_path_buf(), provider, reason };
        let builder = match (&self.tensorrt, provider) {
            // CUDA runs what TensorRT does not take.
            (Some(tensorrt), _) => {
                let tensorrt = tensorrt.provider(file, profile).build();
                self.builder([tensorrt, self.cuda()])
            }
            (None, Provider::Cpu) => self.builder([]),
            (None, _) => self.builder([self.cuda()]),
        };
        builder.map_err(load)?.commit_from_file(file).map_err(|e| load(e.to_string()))
    }

    /// A session for a graph that was made here; `name` stands for it in errors. Too small to be compiled.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the name and ONNX Runtime's words.
    pub(super) fn session_in_memory(&self, name: &Path, model: Model) -> Result<Session, RuntimeError> {
        let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        let provider = self.provider;
        let load = |reason: String| RuntimeError::Load { file: name.to_path_buf(), provider, reason };
        let builder = if provider == Provider::Cpu { self.builder([]) } else { self.builder([self.cuda()]) };
        model.into_session(&builder.map_err(load)?).map_err(|e| load(e.to_string()))
    }

    /// Takes note of what was compiled, and lets other processes at it.
    ///
    /// # Errors
    /// [`RuntimeError::Cache`] when that cannot be written.
    pub(super) fn loaded(&mut self) -> Result<(), RuntimeError> {
        let lock = self.cache_lock.take();
        if let Some(cache) = self.tensorrt.as_ref().and_then(|tensorrt| tensorrt.cache.as_ref()) {
            let lock = match lock {
                Some(lock) => lock,
                None => cache.lock()?,
            };
            cache.seal(&lock)?;
        }
        Ok(())
    }

    /// The GPU through CUDA. Products of matrices in full precision are in full precision.
    fn cuda(&self) -> ExecutionProviderDispatch {
        CUDA::default().with_device_id(self.device_id).with_tf32(false).build()
    }

    fn builder<const N: usize>(&self, providers: [ExecutionProviderDispatch; N]) -> Result<SessionBuilder, String> {
        let text = |e: ort::Error<SessionBuilder>| e.to_string();
        Session::builder(&self.opened.environment)
            .map_err(|e| e.to_string())?
            // ONNX Runtime would go on with the CPU and say so in its log alone.
            .with_execution_providers(providers.map(ExecutionProviderDispatch::error_on_failure))
            .map_err(text)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(text)?
            .with_intra_threads(self.intra_op_threads)
            .map_err(text)?
            .with_intra_op_spinning(self.intra_op_spinning)
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

/// As `candidate_threads` says.
fn lanes(provider: Provider, config: &RuntimeConfig, model: &ModelDirectory) -> usize {
    match config.candidate_threads {
        _ if provider != Provider::Cpu => 1,
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            let size = |file: &String| model.path.join(file).metadata().map_or(0, |metadata| metadata.len());
            let weights = model.manifest.rollouts.iter().map(|r| size(r.weights.as_ref().unwrap_or(&r.file))).max();
            let light = weights.is_some_and(|bytes| bytes <= LIGHT_WEIGHTS);
            if config.intra_op_threads == 1 && cores >= AUTOMATIC_LANES && light { AUTOMATIC_LANES } else { 1 }
        }
        lanes => lanes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> ModelDirectory {
        ModelDirectory::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")).unwrap()
    }

    #[test]
    fn a_library_without_the_provider_says_what_to_install() {
        library::open().unwrap();
        if CUDA::is_available().unwrap() {
            return;
        }
        for (provider, package) in [(Provider::Cuda, "'onnxruntime-gpu["), (Provider::Tensorrt, "'tensorrt==10.*'")] {
            let message = Runtime::open(provider, &RuntimeConfig::default(), &demo(), 8).unwrap_err().to_string();
            assert!(message.contains(&format!("`{provider}` cannot be had")), "{message}");
            assert!(message.contains("was built without it") && message.contains(package), "{message}");
            assert!(message.contains("uninstall -y onnxruntime &&"), "{message}");
        }
    }

    #[test]
    fn silly_thread_counts_are_refused() {
        for intra_op_threads in [0, 10_000] {
            let config = RuntimeConfig { intra_op_threads, ..RuntimeConfig::default() };
            let error = Runtime::open(Provider::Cpu, &config, &demo(), 8).unwrap_err().to_string();
            assert!(error.contains(&format!("intra_op_threads is {intra_op_threads}, must be 1..256")), "{error}");
        }
        let config = RuntimeConfig { candidate_threads: 257, ..RuntimeConfig::default() };
        let error = Runtime::open(Provider::Cpu, &config, &demo(), 8).unwrap_err().to_string();
        assert!(error.contains("candidate_threads is 257, must be 0..256"), "{error}");
    }

    #[test]
    fn lanes_are_as_configured_on_the_processor_and_one_elsewhere() {
        let config = RuntimeConfig { candidate_threads: 3, intra_op_threads: 2, ..RuntimeConfig::default() };
        assert_eq!(lanes(Provider::Cpu, &config, &demo()), 3);
        assert_eq!(lanes(Provider::Cuda, &config, &demo()), 1);
        assert_eq!(lanes(Provider::Tensorrt, &config, &demo()), 1);
    }

    #[test]
    fn lanes_that_are_left_to_the_program_take_free_cores_and_little_memory() {
        let config = RuntimeConfig::default();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        assert_eq!(lanes(Provider::Cpu, &config, &demo()), if cores >= 2 { 2 } else { 1 });
        assert_eq!(lanes(Provider::Cpu, &RuntimeConfig { intra_op_threads: 2, ..config.clone() }, &demo()), 1);
        let dir = tempfile::tempdir().unwrap();
        let heavy = ModelDirectory { path: dir.path().to_path_buf(), ..demo() };
        let weights = heavy.manifest.rollouts[0].weights.clone().unwrap();
        std::fs::File::create(dir.path().join(weights)).unwrap().set_len(LIGHT_WEIGHTS + 1).unwrap();
        assert_eq!(lanes(Provider::Cpu, &config, &heavy), 1);
    }
}
