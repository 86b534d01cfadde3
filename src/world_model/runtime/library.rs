//! Where ONNX Runtime's library is found, and what lies beside it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::RuntimeError;

/// Environment variable that names the library file.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Brings the library into the project's virtual environment.
pub const INSTALL_COMMAND: &str = "python3 -m venv .venv && .venv/bin/pip install onnxruntime";

/// ONNX Runtime's library in this process.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) environment: Environment,
    pub(super) library: Library,
    /// Its version, as far as it is known.
    pub(super) version: String,
}

/// A library file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) found_by: &'static str,
}

/// The process's environment: ONNX Runtime can be opened once.
static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

/// Opens the library, once.
///
/// # Errors
/// [`RuntimeError::LibraryMissing`], [`RuntimeError::Start`].
pub(super) fn open() -> Result<Opened, RuntimeError> {
    let mut slot = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(opened) = slot.as_ref() {
        return Ok(opened.clone());
    }
    let library = find_library(std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from), &search_roots());
    let builder = ort::init_from(&library.path).map_err(|e| {
        let reason = match &e {
            ort::LoadDynamicError::Dlopen { error, .. } => loader_says(error),
            other => other.to_string(),
        };
        let path = library.path.display();
        let searched = format!("looked at {LIBRARY_VARIABLE}, .venv and the system; {path}: {reason}");
        RuntimeError::LibraryMissing { searched }
    })?;
    let environment = builder
        .with_name("vjepa_planner")
        .with_telemetry(false)
        .build()
        .map_err(|e| RuntimeError::Start(e.to_string()))?;
    // The file that was opened may have a version in its name where the link to it has none.
    let version = version(&loaded("libonnxruntime.so").unwrap_or_else(|| library.path.clone()));
    tracing::info!(library = %library.path.display(), found_by = library.found_by, version, "ONNX Runtime opened");
    let opened = Opened { environment, library, version };
    *slot = Some(opened.clone());
    Ok(opened)
}

/// The version at the end of the library's name (`libonnxruntime.so.1.31.1`), otherwise as much as the library says.
fn version(library: &Path) -> String {
    let is_version = |text: &&str| text.contains('.') && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let name = library.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match name.split_once(".so.").map(|(_, version)| version).filter(is_version) {
        Some(version) => version.to_owned(),
        None => ort::util::probe(library).map_or_else(|| "1.*".to_owned(), |minor| format!("1.{minor}.*")),
    }
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
    let prefix = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    entries(&venv.join("lib"), "python3")
        .iter()
        .flat_map(|python| entries(&python.join("site-packages/onnxruntime/capi"), &prefix))
        .next_back()
}

/// What begins with `prefix` in a directory, in order of name.
fn entries(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<PathBuf> = read
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix)))
        .collect();
    found.sort();
    found
}

impl Library {
    /// The directory of Python packages that the library lies in, if pip installed it.
    fn site_packages(&self) -> Option<&Path> {
        self.path.ancestors().find(|p| p.ends_with("site-packages"))
    }

    /// The pip that installs beside the library: that of its virtual environment, otherwise the project's.
    pub(super) fn pip(&self) -> String {
        let venv = self.site_packages().and_then(|p| p.ancestors().nth(3));
        match venv.map(|venv| venv.join("bin/pip")) {
            Some(pip) if self.found_by != ".venv" && pip.is_file() => pip.display().to_string(),
            _ => ".venv/bin/pip".to_owned(),
        }
    }

    /// Those of `names` that pip has installed beside the library, in the order of `names`.
    pub(super) fn installed_beside(&self, names: &[&str]) -> Vec<PathBuf> {
        let Some(site) = self.site_packages() else { return Vec::new() };
        let mut directories: Vec<PathBuf> =
            entries(&site.join("nvidia"), "").into_iter().map(|package| package.join("lib")).collect();
        directories.push(site.join("tensorrt_libs"));
        names.iter().flat_map(|name| directories.iter().flat_map(|directory| entries(directory, name))).collect()
    }
}

/// What the loader says; the error itself only says that it has failed.
pub(super) fn loader_says(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The file of a library that this process has opened, by the beginning of its name.
pub(super) fn loaded(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| Some(Path::new(line.get(line.find('/')?..)?)))
        .find(|path| path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(name)))
        .map(Path::to_path_buf)
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
    fn the_version_is_read_from_the_name() {
        assert_eq!(version(Path::new("/x/libonnxruntime.so.1.30.0")), "1.30.0");
        assert_eq!(version(Path::new("/x/libonnxruntime.so")), "1.*");
        assert_eq!(version(Path::new("/x/libonnxruntime.so.old")), "1.*");
        let opened = open().unwrap();
        assert!(opened.version.starts_with("1."), "{}", opened.version);
        assert!(loaded("libonnxruntime.so").is_some());
    }

    #[test]
    fn libraries_that_pip_has_installed_come_in_the_order_in_which_they_need_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.12/site-packages");
        for file in [
            "onnxruntime/capi/libonnxruntime.so.1.31.1",
            "nvidia/cu13/lib/libcublas.so.13",
            "nvidia/cu13/lib/libcublasLt.so.13",
            "nvidia/cudnn/lib/libcudnn.so.9",
            "nvidia/cudnn/lib/libcudnn_ops.so.9",
            "tensorrt_libs/libnvinfer.so.10",
        ] {
            let path = site.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let path = site.join("onnxruntime/capi/libonnxruntime.so.1.31.1");
        let library = Library { path, found_by: LIBRARY_VARIABLE };
        let names = |found: Vec<PathBuf>| -> Vec<String> {
            found.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        let found =
            names(library.installed_beside(&["libcublasLt.so", "libcublas.so", "libcudnn.so", "libnvinfer.so"]));
        assert_eq!(found, ["libcublasLt.so.13", "libcublas.so.13", "libcudnn.so.9", "libnvinfer.so.10"]);
        let elsewhere = Library { path: PathBuf::from("libonnxruntime.so"), found_by: "system" };
        assert!(elsewhere.installed_beside(&["lib"]).is_empty());
        assert_eq!(elsewhere.pip(), ".venv/bin/pip");
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/pip"), b"").unwrap();
        assert_eq!(library.pip(), dir.path().join("bin/pip").display().to_string());
    }
}
