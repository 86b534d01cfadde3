//! What CUDA and TensorRT need from the machine, and what to say when it is not there.

use std::path::Path;

use super::library::{Opened, loaded, loader_says};
use super::{Provider, RuntimeError};

/// Libraries of CUDA that a provider may need; each after those that it needs itself.
const CUDA_LIBRARIES: [&str; 8] = [
    "libcudart.so",
    "libnvJitLink.so",
    "libnvrtc.so",
    "libcublasLt.so",
    "libcublas.so",
    "libcurand.so",
    "libcufft.so",
    "libcudnn.so",
];
/// Libraries of TensorRT; each after those that it needs itself.
const TENSORRT_LIBRARIES: [&str; 4] =
    ["libnvinfer_builder_resource", "libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so"];
/// TensorRT in a version that ONNX Runtime's published packages are built for. If that has changed, the next error names
/// the library that it is built for.
const TENSORRT_PACKAGE: &str = " 'tensorrt==10.*'";
/// The driver's library.
const DRIVER: &str = "libcuda.so.1";
/// Where the driver describes itself and its GPUs.
const DRIVER_FACTS: &str = "/proc/driver/nvidia";

/// Checks that there is a driver, and opens what pip has installed beside ONNX Runtime, so that the provider finds it.
///
/// # Errors
/// [`RuntimeError::Provider`] when there is no driver.
pub(super) fn prepare(provider: Provider, opened: &Opened) -> Result<(), RuntimeError> {
    ort::util::preload_dylib(DRIVER).map_err(|e| no_driver(provider, &loader_says(&e)))?;
    let mut libraries = opened.library.installed_beside(&CUDA_LIBRARIES);
    if provider == Provider::Tensorrt {
        libraries.extend(opened.library.installed_beside(&TENSORRT_LIBRARIES));
    }
    for library in libraries {
        // Whether it was needed shows when the provider is opened.
        if let Err(error) = ort::util::preload_dylib(&library) {
            tracing::debug!("{}: {}", library.display(), loader_says(&error));
        }
    }
    Ok(())
}

/// ONNX Runtime's library has no code for the provider.
pub(super) fn not_in_library(provider: Provider, opened: &Opened) -> RuntimeError {
    let Opened { library, version, .. } = opened;
    let (pip, path, found_by) = (library.pip(), library.path.display(), library.found_by);
    let tensorrt = if provider == Provider::Tensorrt { TENSORRT_PACKAGE } else { "" };
    RuntimeError::Provider {
        provider,
        missing: format!("ONNX Runtime {version} at {path} ({found_by}) was built without it"),
        remedy: format!(
            "install the one for NVIDIA GPUs with `{pip} uninstall -y onnxruntime && {pip} install {}{tensorrt}`",
            cuda_packages(version)
        ),
    }
}

/// The provider or what it needs could not be opened, or does not work. `message` is ONNX Runtime's.
pub(super) fn failed(provider: Provider, opened: &Opened, message: &str) -> RuntimeError {
    explain(provider, &opened.library.pip(), &opened.version, message)
}

/// What is missing according to a message of the loader, of CUDA or of ONNX Runtime.
fn explain(provider: Provider, pip: &str, version: &str, message: &str) -> RuntimeError {
    if let Some(library) = missing_library(message) {
        if library.starts_with("libcuda.so") {
            return no_driver(provider, message);
        }
        let packages = if library.starts_with("libnvinfer") || library.starts_with("libnvonnxparser") {
            // Only this major version has a library of this name.
            match library.split_once(".so.").map(|(_, version)| version) {
                Some(version) => format!("'tensorrt=={}.*'", version.split('.').next().unwrap_or(version)),
                None => "tensorrt".to_owned(),
            }
        } else {
            cuda_packages(version)
        };
        let missing = format!("`{library}` cannot be opened");
        return RuntimeError::Provider {
            provider,
            missing,
            remedy: format!("install it with `{pip} install {packages}`"),
        };
    }
    let message = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some((_, symbol)) =
        message.split_once("undefined symbol: cu").filter(|(_, s)| s.starts_with(char::is_uppercase))
    {
        return RuntimeError::Provider {
            provider,
            missing: format!("the NVIDIA driver is too old: it has no `cu{symbol}`"),
            remedy: "install a newer driver".to_owned(),
        };
    }
    // CUDA's words stand between those of ONNX Runtime.
    let cuda = message.split_once("CUDA failure").map(|(_, said)| said.split(" ; ").next().unwrap_or(said));
    let (missing, remedy) = match cuda {
        Some(said) => (
            format!("CUDA failure{said}"),
            "see that `nvidia-smi` lists the GPU of `device_id`, and that /dev/nvidia* is there: a container has to be \
             given it",
        ),
        None => (message, "see that ONNX Runtime, CUDA and TensorRT are of versions that go together"),
    };
    RuntimeError::Provider { provider, missing, remedy: remedy.to_owned() }
}

fn no_driver(provider: Provider, message: &str) -> RuntimeError {
    let devices = if Path::new("/dev/nvidia0").exists() { "" } else { ", nor a device /dev/nvidia0" };
    RuntimeError::Provider {
        provider,
        missing: format!("there is no NVIDIA driver ({message}){devices}"),
        remedy: "install the driver of an NVIDIA GPU, or give the container its GPU (`docker run --gpus all`)"
            .to_owned(),
    }
}

/// The library in `lib….so.N: cannot open shared object file`.
fn missing_library(message: &str) -> Option<&str> {
    let (before, _) = message.split_once(": cannot open shared object file")?;
    let library = before.rsplit(|c: char| c.is_whitespace() || c == ':').next()?;
    library.contains(".so").then_some(library)
}

/// ONNX Runtime for NVIDIA GPUs together with CUDA and cuDNN in the versions that it needs.
fn cuda_packages(version: &str) -> String {
    format!("'onnxruntime-gpu[cuda,cudnn]=={version}'")
}

/// Which GPUs and which driver this machine has, in the driver's words; `None` when it does not say.
pub(super) fn gpus() -> Option<String> {
    gpus_in(Path::new(DRIVER_FACTS))
}

fn gpus_in(facts: &Path) -> Option<String> {
    let version = std::fs::read_to_string(facts.join("version")).ok()?;
    let mut gpus: Vec<String> = std::fs::read_dir(facts.join("gpus"))
        .ok()?
        .filter_map(|gpu| {
            let text = std::fs::read_to_string(gpu.ok()?.path().join("information")).ok()?;
            let named = |line: &&str| ["Model", "GPU UUID", "Bus Location"].iter().any(|name| line.starts_with(name));
            Some(text.lines().filter(named).collect::<Vec<_>>().join("\n"))
        })
        .collect();
    gpus.sort();
    (!gpus.is_empty()).then(|| format!("{}\n{}", version.trim(), gpus.join("\n")))
}

/// TensorRT's library in this process; empty when its file was not found.
#[derive(Default)]
pub(super) struct TensorRtLibrary {
    /// Path, length and time of last change: another version differs in one of them.
    pub(super) identity: String,
    /// First part of its version; 0 when its name does not say.
    pub(super) major: u32,
}

/// TensorRT's library, once its provider has been opened.
pub(super) fn tensorrt_library() -> Option<TensorRtLibrary> {
    let path = loaded("libnvinfer.so")?;
    let metadata = path.metadata().ok()?;
    let changed = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let name = path.file_name()?.to_str()?;
    let major = name.split_once(".so.").and_then(|(_, version)| version.split('.').next()?.parse().ok());
    let identity = format!("{} {} {}", path.display(), metadata.len(), changed.as_nanos());
    Some(TensorRtLibrary { identity, major: major.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(provider: Provider, message: &str) -> String {
        explain(provider, ".venv/bin/pip", "1.31.1", message).to_string()
    }

    #[test]
    fn a_missing_library_is_named_with_the_package_that_brings_it() {
        let message = "/v/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: \
                       No such file or directory";
        let said_cuda = said(Provider::Cuda, message);
        assert!(said_cuda.contains("`cuda` cannot be had: `libcublasLt.so.13` cannot be opened"), "{said_cuda}");
        assert!(said_cuda.contains(".venv/bin/pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'"), "{said_cuda}");
        let cudnn = said(Provider::Cuda, "libcudnn.so.9: cannot open shared object file: No such file or directory");
        assert!(cudnn.contains("`libcudnn.so.9`") && cudnn.contains("[cuda,cudnn]"), "{cudnn}");
        let tensorrt = said(Provider::Tensorrt, "libnvinfer.so.10: cannot open shared object file: No such file");
        assert!(tensorrt.contains("`libnvinfer.so.10`") && tensorrt.contains("'tensorrt==10.*'"), "{tensorrt}");
    }

    #[test]
    fn a_missing_driver_or_gpu_is_told_from_a_missing_library() {
        let driver = said(Provider::Cuda, "libcuda.so.1: cannot open shared object file: No such file or directory");
        assert!(driver.contains("no NVIDIA driver") && driver.contains("--gpus all"), "{driver}");
        let device = said(
            Provider::Cuda,
            "provider_info.cc:63 [ONNXRuntimeError] : 1 : FAIL : Failed to parse provider option \"device_id\": \
             CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; expr=cudaGetDeviceCount(&num_devices);\n",
        );
        assert!(device.contains("had: CUDA failure 100: no CUDA-capable device is detected; see that"), "{device}");
        assert!(device.contains("nvidia-smi") && !device.contains("pip"), "{device}");
        let old = said(Provider::Cuda, "libonnxruntime_providers_cuda.so: undefined symbol: cuTensorMapEncodeTiled\n");
        assert!(old.contains("driver is too old: it has no `cuTensorMapEncodeTiled`"), "{old}");
        let other = said(Provider::Cuda, "undefined symbol: cublasLtMatmul");
        assert!(other.contains("cublasLtMatmul") && other.contains("versions that go together"), "{other}");
    }

    #[test]
    fn gpus_and_driver_are_read_and_absent_without_a_driver() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(gpus_in(dir.path()), None);
        std::fs::write(dir.path().join("version"), "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.1\n").unwrap();
        assert_eq!(gpus_in(dir.path()), None);
        for (bus, model) in [("0000:02:00.0", "B"), ("0000:01:00.0", "A")] {
            let gpu = dir.path().join("gpus").join(bus);
            std::fs::create_dir_all(&gpu).unwrap();
            let text =
                format!("Model: \t\t {model}\nIRQ:   \t\t 33\nGPU UUID: \t GPU-{model}\nBus Location: \t {bus}\n");
            std::fs::write(gpu.join("information"), text).unwrap();
        }
        let found = gpus_in(dir.path()).unwrap();
        assert!(found.contains("580.1") && found.contains("GPU-A") && found.contains("GPU-B"), "{found}");
        assert!(!found.contains("IRQ") && found.find("GPU-A") < found.find("GPU-B"), "{found}");
    }
}
