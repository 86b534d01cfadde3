//! Files that come with the package: models, robots, tasks, in the repository and where it is installed.

use std::path::{Path, PathBuf};

/// The file or folder that a path in the configuration means.
///
/// A relative path is looked for below the working directory, then below the folder that the executable came with:
/// `share/vjepa_planner` of the installation for `lib/vjepa_planner/planner_node`, the repository for
/// `target/release/planner_node`. When it is nowhere, it stays as it is, and opening it says so.
pub fn locate(path: &Path) -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    beside(path, &executable)
}

fn beside(path: &Path, executable: &Path) -> PathBuf {
    if path.as_os_str().is_empty() || path.is_absolute() || path.exists() {
        return path.to_owned();
    }
    let installed = executable.ancestors().nth(3).map(|prefix| prefix.join("share/vjepa_planner"));
    let candidates = installed.into_iter().chain(executable.ancestors().nth(3).map(Path::to_path_buf));
    candidates.map(|folder| folder.join(path)).find(|found| found.exists()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_found_beside_the_executable() {
        let prefix = tempfile::tempdir().unwrap();
        let touch = |name: &str| {
            let file = prefix.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            file
        };
        let installed = touch("share/vjepa_planner/models/a/manifest.yaml");
        let in_repository = touch("models/b/manifest.yaml");
        let executable = prefix.path().join("lib/vjepa_planner/planner_node");
        assert_eq!(beside(Path::new("models/a/manifest.yaml"), &executable), installed);
        assert_eq!(beside(Path::new("models/b/manifest.yaml"), &executable), in_repository);
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        for path in ["", "/nowhere/model", "models/no_such_model", "src/share.rs"] {
            assert_eq!(locate(Path::new(path)), Path::new(path));
        }
    }
}
