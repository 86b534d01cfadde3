//! ONNX Runtime: where its library is found, and how a graph becomes a session on an execution provider.
//!
//! The only module that knows execution providers. The library is opened at run time, so that one binary serves all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use serde::Deserialize;
use thiserror::Error;

/// Environment variable that names the library file.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Brings the library into the project's virtual environment.
pub const INSTALL_COMMAND: &str = "python3 -m venv .venv && .venv/bin/pip install onnxruntime";

/// What runs the graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// What runs the graphs.
    pub provider: Provider,
    /// Threads inside one operation. They sleep rather than spin while they wait, so that other work gets the cores.
    pub intra_op_threads: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { provider: Provider::Cpu, intra_op_threads: 1 }
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
    /// The provider is known, but this version has no code for it.
    #[error("execution provider `{0}` is not built in yet; choose `cpu`")]
    ProviderNotBuiltIn(Provider),
    /// The configuration cannot be right.
    #[error("intra_op_threads is {0}, must be 1..256")]
    Threads(usize),
    /// ONNX Runtime refused a graph.
    #[error("{file}: ONNX Runtime cannot load it: {reason}")]
    Load {
        /// The ONNX file.
        file: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// ONNX Runtime could not be set up.
    #[error("ONNX Runtime cannot be started: {0}")]
    Start(String),
}

/// ONNX Runtime, opened and configured.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    config: RuntimeConfig,
}

impl Runtime {
    /// Opens the library and checks that the provider can be had.
    ///
    /// # Errors
    /// [`RuntimeError`] says what is missing and how to get it.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        match config.provider {
            Provider::Cpu => {}
            provider @ (Provider::Cuda | Provider::Tensorrt) => return Err(RuntimeError::ProviderNotBuiltIn(provider)),
        }
        if !(1..=256).contains(&config.intra_op_threads) {
            return Err(RuntimeError::Threads(config.intra_op_threads));
        }
        Ok(Self { environment: environment()?, config })
    }

    /// A session for one ONNX file; external weights are looked for beside it.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the file and ONNX Runtime's words.
    pub fn session(&self, file: &Path) -> Result<Session, RuntimeError> {
        let load = |reason: String| RuntimeError::Load { file: file.to_path_buf(), reason };
        let text = |e: ort::Error<ort::session::builder::SessionBuilder>| load(e.to_string());
        Session::builder(&self.environment)
            .map_err(|e| load(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(text)?
            .with_intra_threads(self.config.intra_op_threads)
            .map_err(text)?
            .with_intra_op_spinning(false)
            .map_err(text)?
            .with_inter_op_spinning(false)
            .map_err(text)?
            .with_deterministic_compute(true)
            .map_err(text)?
            .commit_from_file(file)
            .map_err(|e| load(e.to_string()))
    }
}

/// The process's environment: ONNX Runtime can be opened once.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

fn environment() -> Result<Environment, RuntimeError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let library = find_library(std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from), &search_roots());
    let builder = ort::init_from(&library.path).map_err(|e| RuntimeError::LibraryMissing {
        searched: format!("looked at {LIBRARY_VARIABLE}, .venv and the system; {}: {e}", library.path.display()),
    })?;
    let environment = builder
        .with_name("vjepa_planner")
        .with_telemetry(false)
        .build()
        .map_err(|e| RuntimeError::Start(e.to_string()))?;
    tracing::info!(library = %library.path.display(), found_by = library.found_by, "ONNX Runtime opened");
    *slot = Some(environment.clone());
    Ok(environment)
}

#[derive(Debug, PartialEq)]
struct Library {
    path: PathBuf,
    found_by: &'static str,
}

/// The working directory, and the executable's directory with all above it.
fn search_roots() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
    if let Ok(executable) = std::env::current_exe() {
        roots.extend(executable.ancestors().skip(1).map(Path::to_path_buf));
    }
    roots
}

/// `variable`, then `.venv` under any of `roots`, then the name that the system's loader resolves.
fn find_library(variable: Option<PathBuf>, roots: &[PathBuf]) -> Library {
    if let Some(path) = variable.filter(|p| !p.as_os_str().is_empty()) {
        return Library { path, found_by: LIBRARY_VARIABLE };
    }
    if let Some(path) = roots.iter().find_map(|root| library_in_venv(&root.join(".venv"))) {
        return Library { path, found_by: ".venv" };
    }
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Library { path: PathBuf::from(name), found_by: "system" }
}

/// `lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so*`, the last in order of name.
fn library_in_venv(venv: &Path) -> Option<PathBuf> {
    let entries = |dir: &Path, prefix: &str| -> Vec<PathBuf> {
        let Ok(read) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut found: Vec<PathBuf> = read
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix)))
            .collect();
        found.sort();
        found
    };
    let prefix = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    entries(&venv.join("lib"), "python3")
        .iter()
        .flat_map(|python| entries(&python.join("site-packages/onnxruntime/capi"), &prefix))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_before_the_virtual_environment_before_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let capi = dir.path().join(".venv/lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        let roots = [PathBuf::from("/nowhere"), dir.path().to_path_buf()];
        assert_eq!(find_library(None, &roots).found_by, "system");
        std::fs::write(capi.join("libonnxruntime_providers_shared.so"), b"").unwrap();
        assert_eq!(find_library(None, &roots).found_by, "system");
        std::fs::write(capi.join("libonnxruntime.so.1.31.1"), b"").unwrap();
        let found = find_library(None, &roots);
        assert_eq!(found, Library { path: capi.join("libonnxruntime.so.1.31.1"), found_by: ".venv" });
        assert_eq!(find_library(Some(PathBuf::from("/x/lib.so")), &roots).path, PathBuf::from("/x/lib.so"));
        assert_eq!(find_library(Some(PathBuf::new()), &roots), found);
    }

    #[test]
    fn providers_without_code_and_silly_thread_counts_are_refused() {
        for provider in [Provider::Cuda, Provider::Tensorrt] {
            let error = Runtime::new(RuntimeConfig { provider, ..RuntimeConfig::default() }).unwrap_err();
            assert!(error.to_string().contains("choose `cpu`"), "{error}");
        }
        for intra_op_threads in [0, 10_000] {
            let config = RuntimeConfig { intra_op_threads, ..RuntimeConfig::default() };
            assert!(matches!(Runtime::new(config), Err(RuntimeError::Threads(_))));
        }
    }
}
