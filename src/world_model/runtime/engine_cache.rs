//! A private directory for compiled graphs.
//!
//! A compiled graph is executable code. It is loaded only when this program wrote it: the directories belong to the
//! process's user alone, and an index in the same place holds the SHA-256 of every file that was left there.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::RuntimeError;
use crate::world_model::manifest::sha256_of;

/// The index: lines of hash and file name, as `sha256sum` writes them.
const INDEX: &str = "SHA256SUMS";
/// Held by the process that builds or reads.
const LOCK: &str = "lock";
/// Permissions that would let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The compiled graphs of one model on one machine.
#[derive(Debug)]
pub(super) struct EngineCache {
    directory: PathBuf,
}

/// While it lives, no other process builds or reads here.
#[derive(Debug)]
pub(super) struct CacheLock(#[allow(dead_code, reason = "dropping it unlocks")] File);

impl EngineCache {
    /// Opens `root`/tensorrt/`key`, makes what is missing of it, and removes every file that this program did not leave
    /// there as it is.
    ///
    /// # Errors
    /// [`RuntimeError::Cache`] when another user could have written to it, or when it cannot be read or written.
    pub(super) fn open(root: &Path, key: &str) -> Result<(Self, CacheLock), RuntimeError> {
        let user = user()?;
        let root = std::path::absolute(root).map_err(|e| refused(root, &e))?;
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent).map_err(|e| refused(parent, &e))?;
        }
        let directories = [root.clone(), root.join("tensorrt"), root.join("tensorrt").join(key)];
        for directory in &directories {
            private_directory(directory, user)?;
        }
        let [_, _, directory] = directories;
        let cache = Self { directory };
        let lock = cache.lock()?;
        cache.clean(user)?;
        Ok((cache, lock))
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether a compiled graph is there whose name begins like this.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.files()
            .is_ok_and(|files| files.iter().any(|(name, _)| name.starts_with(prefix) && name.ends_with(".engine")))
    }

    /// Waits until no other process builds or reads here.
    ///
    /// # Errors
    /// [`RuntimeError::Cache`] when the lock file cannot be had.
    pub(super) fn lock(&self) -> Result<CacheLock, RuntimeError> {
        let path = self.directory.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| refused(&path, &e))?;
        if file.try_lock().is_err() {
            tracing::info!("waiting for another process that uses {}", self.directory.display());
            file.lock().map_err(|e| refused(&path, &e))?;
        }
        Ok(CacheLock(file))
    }

    /// Writes down what is there now as ours; after graphs were compiled under the lock.
    ///
    /// # Errors
    /// [`RuntimeError::Cache`] when it cannot be read or written.
    pub(super) fn seal(&self, _lock: &CacheLock) -> Result<(), RuntimeError> {
        let mut text = String::new();
        for (name, _) in self.files()? {
            let path = self.directory.join(&name);
            // ONNX Runtime leaves the permissions to the process's mask.
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| refused(&path, &e))?;
            let (hash, _) = sha256_of(&path).map_err(|e| refused(&path, &e))?;
            text.push_str(&format!("{hash}  {name}\n"));
        }
        // Renamed into place, so that a crash leaves the old index or the new one.
        let (new, index) = (self.directory.join(format!("{INDEX}.new")), self.directory.join(INDEX));
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &index)
        };
        write().map_err(|e| refused(&index, &e))
    }

    /// Refuses what another user could have put there, and removes what is not as the index says.
    fn clean(&self, user: u32) -> Result<(), RuntimeError> {
        for name in [INDEX, LOCK] {
            let path = self.directory.join(name);
            match path.symlink_metadata() {
                Ok(metadata) => {
                    of_user(&path, &metadata, user, Metadata::is_file)?;
                    not_for_others(&path, &metadata)?;
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(refused(&path, &e)),
            }
        }
        let index = std::fs::read_to_string(self.directory.join(INDEX)).unwrap_or_default();
        let index: BTreeMap<&str, &str> =
            index.lines().filter_map(|line| line.split_once("  ")).map(|(hash, name)| (name, hash)).collect();
        for (name, metadata) in self.files()? {
            let path = self.directory.join(&name);
            of_user(&path, &metadata, user, Metadata::is_file)?;
            let (found, _) = sha256_of(&path).map_err(|e| refused(&path, &e))?;
            if index.get(name.as_str()) != Some(&found.as_str()) || not_for_others(&path, &metadata).is_err() {
                tracing::warn!("{} is not as this program left it and is removed", path.display());
                std::fs::remove_file(&path).map_err(|e| refused(&path, &e))?;
            }
        }
        Ok(())
    }

    /// All entries but index and lock, by name.
    fn files(&self) -> Result<BTreeMap<String, Metadata>, RuntimeError> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&self.directory).map_err(|e| refused(&self.directory, &e))? {
            let path = entry.map_err(|e| refused(&self.directory, &e))?.path();
            let metadata = path.symlink_metadata().map_err(|e| refused(&path, &e))?;
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(refused(&path, &"its name is not text"));
            };
            if name != INDEX && name != LOCK {
                files.insert(name.to_owned(), metadata);
            }
        }
        Ok(files)
    }
}

/// `configured`, or `vjepa_planner` in `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// [`RuntimeError::Cache`] when none of them is known.
pub(super) fn root(
    configured: &Path,
    xdg_cache_home: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Result<PathBuf, RuntimeError> {
    if !configured.as_os_str().is_empty() {
        return Ok(configured.to_path_buf());
    }
    // The XDG specification has relative paths ignored.
    let absolute = |path: &PathBuf| path.is_absolute();
    let base = xdg_cache_home.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(".cache")));
    base.map(|base| base.join("vjepa_planner"))
        .ok_or_else(|| refused(Path::new("~/.cache"), &"HOME is not set; name a directory in `inference.cache_dir`"))
}

/// The user that this process runs as.
fn user() -> Result<u32, RuntimeError> {
    let process = Path::new("/proc/self");
    process.metadata().map(|metadata| metadata.uid()).map_err(|e| refused(process, &e))
}

/// Makes the directory if it is missing; refuses it if others could have.
fn private_directory(path: &Path, user: u32) -> Result<(), RuntimeError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(refused(path, &e)),
    }
    let metadata = path.symlink_metadata().map_err(|e| refused(path, &e))?;
    of_user(path, &metadata, user, Metadata::is_dir)?;
    not_for_others(path, &metadata)
}

/// Refuses what is not of this kind or belongs to somebody else.
fn of_user(path: &Path, metadata: &Metadata, user: u32, kind: fn(&Metadata) -> bool) -> Result<(), RuntimeError> {
    if metadata.is_symlink() {
        return Err(refused(path, &"it is a symbolic link"));
    }
    if !kind(metadata) {
        return Err(refused(path, &"it is something else than expected"));
    }
    if metadata.uid() != user {
        return Err(refused(path, &format!("it belongs to user {}, not to {user}", metadata.uid())));
    }
    Ok(())
}

/// Refuses what others can write to.
fn not_for_others(path: &Path, metadata: &Metadata) -> Result<(), RuntimeError> {
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(refused(path, &format!("others can write to it (mode {:o})", metadata.mode() & 0o7777)));
    }
    Ok(())
}

fn refused(path: &Path, reason: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Cache { path: path.to_path_buf(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o777
    }

    fn refusal(root: &Path) -> String {
        EngineCache::open(root, "key").unwrap_err().to_string()
    }

    #[test]
    fn what_was_sealed_is_kept_and_everything_else_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new/vjepa_planner");
        let (cache, lock) = EngineCache::open(&root, "key").unwrap();
        for directory in [&root, &root.join("tensorrt"), &root.join("tensorrt/key")] {
            assert_eq!(mode(directory), 0o700);
        }
        let file = |name: &str| cache.directory().join(name);
        for name in ["encoder_1.engine", "b.engine", "x.timing"] {
            std::fs::write(file(name), name).unwrap();
        }
        std::fs::set_permissions(file("b.engine"), Permissions::from_mode(0o666)).unwrap();
        cache.seal(&lock).unwrap();
        drop(lock);
        assert_eq!(mode(&file("b.engine")), 0o600);
        assert!(cache.has("encoder") && !cache.has("x") && !cache.has("rollout"));

        std::fs::write(file("b.engine"), "changed").unwrap();
        std::fs::write(file("planted.engine"), "from elsewhere").unwrap();
        std::fs::set_permissions(file("planted.engine"), Permissions::from_mode(0o666)).unwrap();
        let (_, lock) = EngineCache::open(&root, "key").unwrap();
        assert!(file("encoder_1.engine").exists() && file("x.timing").exists());
        assert!(!file("b.engine").exists() && !file("planted.engine").exists());
        drop(lock);

        // Without an index nothing is ours.
        std::fs::remove_file(file(INDEX)).unwrap();
        EngineCache::open(&root, "key").unwrap();
        assert!(!file("encoder_1.engine").exists());
    }

    #[test]
    fn directories_that_others_could_have_made_or_can_write_to_are_refused() {
        for place in ["", "tensorrt", "tensorrt/key"] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("vjepa_planner");
            drop(EngineCache::open(&root, "key").unwrap());
            let path: PathBuf = root.join(place).components().collect();
            std::fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
            let message = refusal(&root);
            assert!(message.contains("others can write to it (mode 770)"), "{message}");
            assert!(message.contains(&*path.to_string_lossy()), "{message}");
            std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();

            let moved = dir.path().join("moved");
            std::fs::rename(&path, &moved).unwrap();
            symlink(&moved, &path).unwrap();
            assert!(refusal(&root).contains("symbolic link"), "{place}");
        }
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("d");
        let user = user().unwrap();
        private_directory(&directory, user).unwrap();
        let message = private_directory(&directory, user + 1).unwrap_err().to_string();
        assert!(message.contains(&format!("belongs to user {user}, not to {}", user + 1)), "{message}");
    }

    #[test]
    fn files_that_are_no_plain_files_of_the_user_are_refused() {
        for name in ["a.engine", INDEX, LOCK] {
            let dir = tempfile::tempdir().unwrap();
            let (cache, lock) = EngineCache::open(dir.path(), "key").unwrap();
            drop(lock);
            let path = cache.directory().join(name);
            std::fs::write(dir.path().join("elsewhere"), "").unwrap();
            let _was_there = std::fs::remove_file(&path);
            symlink(dir.path().join("elsewhere"), &path).unwrap();
            let message = refusal(dir.path());
            assert!(message.contains(name) && message.contains("symbolic link"), "{message}");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
            if name == "a.engine" {
                drop(EngineCache::open(dir.path(), "key").unwrap());
                assert!(!path.exists());
            } else {
                assert!(refusal(dir.path()).contains("mode 666"), "{name}");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let (cache, lock) = EngineCache::open(dir.path(), "key").unwrap();
        drop(lock);
        std::fs::create_dir(cache.directory().join("a.engine")).unwrap();
        assert!(refusal(dir.path()).contains("a.engine"));
    }

    #[test]
    fn the_root_is_the_configured_one_or_the_users_cache() {
        let path = |text: &str| Some(PathBuf::from(text));
        let none = Path::new("");
        assert_eq!(root(Path::new("/x"), path("/c"), path("/h")).unwrap(), Path::new("/x"));
        assert_eq!(root(none, path("/c"), path("/h")).unwrap(), Path::new("/c/vjepa_planner"));
        assert_eq!(root(none, path("relative"), path("/h")).unwrap(), Path::new("/h/.cache/vjepa_planner"));
        assert_eq!(root(none, None, path("/h")).unwrap(), Path::new("/h/.cache/vjepa_planner"));
        assert!(root(none, None, None).unwrap_err().to_string().contains("cache_dir"));
    }
}
