//! Which files make a recording: one .mcap or .db3 file, or a rosbag2 folder with as many as it was split into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LogError;

/// Name of the file by which rosbag2 knows a recording.
pub const METADATA_FILE: &str = "metadata.yaml";

/// The part of `metadata.yaml` that is needed here.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "rosbag2_bagfile_information")]
    information: Information,
}

#[derive(Deserialize)]
struct Information {
    storage_identifier: String,
    relative_file_paths: Vec<PathBuf>,
    #[serde(default)]
    compression_mode: String,
    #[serde(default)]
    custom_data: Option<BTreeMap<String, String>>,
}

/// The .mcap or .db3 files of a recording, in order.
///
/// # Errors
/// [`LogError`] when there are none, or when they are of another kind.
pub fn of(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    let open = |source| LogError::Open { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(open)?.is_dir() {
        return match path.file_name() {
            Some(name) if name == METADATA_FILE => of(path.parent().unwrap_or(Path::new("."))),
            _ => Ok(vec![path.to_owned()]),
        };
    }
    let metadata = path.join(METADATA_FILE);
    match std::fs::read_to_string(&metadata) {
        Ok(text) => listed(path, &metadata, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => found(path),
        Err(source) => Err(LogError::Open { path: metadata, source }),
    }
}

/// Whether a file is a database of rosbag2.
pub fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "db3")
}

/// What metadata.yaml lists.
fn listed(folder: &Path, metadata: &Path, text: &str) -> Result<Vec<PathBuf>, LogError> {
    let wrong = |reason: String| LogError::Metadata { path: metadata.to_owned(), folder: folder.to_owned(), reason };
    let Metadata { information } = serde_saphyr::from_str(text).map_err(|error| wrong(first_line(&error)))?;
    match information.storage_identifier.as_str() {
        "mcap" | "sqlite3" => {}
        other => {
            return Err(wrong(format!("storage_identifier is `{other}`, only `mcap` and `sqlite3` can be read")));
        }
    }
    let mode = information.compression_mode;
    if !mode.is_empty() && !mode.eq_ignore_ascii_case("none") {
        return Err(LogError::Compressed { path: folder.to_owned(), mode });
    }
    let _not_ours = information.custom_data;
    if information.relative_file_paths.is_empty() {
        return Err(wrong("relative_file_paths is empty".to_owned()));
    }
    // Older versions wrote the folder's name before the file's.
    let place = |file: PathBuf| match (folder.join(&file), file.file_name()) {
        (path, Some(name)) if !path.exists() => folder.join(name),
        (path, _) => path,
    };
    Ok(information.relative_file_paths.into_iter().map(place).collect())
}

/// All recordings of a folder without metadata.yaml, which one that was cut off by a crash does not have.
fn found(folder: &Path) -> Result<Vec<PathBuf>, LogError> {
    let open = |source| LogError::Open { path: folder.to_owned(), source };
    let (mut files, mut databases) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(open)? {
        let path = entry.map_err(open)?.path();
        if is_database(&path) {
            databases.push(path);
        } else if path.extension().is_some_and(|extension| extension == "mcap") {
            files.push(path);
        }
    }
    // Where there are both, one was converted from the other.
    let mut files = if files.is_empty() { databases } else { files };
    if files.is_empty() {
        return Err(LogError::NoFiles { path: folder.to_owned() });
    }
    files.sort_by_cached_key(|path| number_at_end(path));
    Ok(files)
}

/// `bag_10` comes after `bag_9`.
fn number_at_end(path: &Path) -> (String, u64) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let digits = stem.chars().rev().take_while(char::is_ascii_digit).count();
    let (name, number) = stem.split_at(stem.len() - digits);
    (name.to_owned(), number.parse().unwrap_or(0))
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn metadata(storage: &str, mode: &str) -> String {
        format!(
            "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: {storage}\n  duration:\n    nanoseconds: 5\n  \
             relative_file_paths:\n    - bag/b_0.mcap\n    - b_1.mcap\n  message_count: 3\n  topics_with_message_count: []\n  \
             compression_format: \"\"\n  compression_mode: \"{mode}\"\n"
        )
    }

    fn names(folder: &Path) -> Vec<String> {
        of(folder).unwrap().iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn splits_are_read_in_order_with_and_without_metadata() {
        let bag = folder(&[(METADATA_FILE, &metadata("mcap", "")), ("b_0.mcap", ""), ("b_1.mcap", ""), ("c.mcap", "")]);
        assert_eq!(names(bag.path()), ["b_0.mcap", "b_1.mcap"]);
        assert_eq!(of(&bag.path().join(METADATA_FILE)).unwrap().len(), 2);
        let bag = folder(&[("b_10.mcap", ""), ("b_9.mcap", ""), ("notes.txt", "")]);
        assert_eq!(names(bag.path()), ["b_9.mcap", "b_10.mcap"]);
        let bag = folder(&[("b_1.db3", ""), ("b_0.db3", ""), ("b_0.db3-journal", "")]);
        assert_eq!(names(bag.path()), ["b_0.db3", "b_1.db3"]);
        let converted = folder(&[("b_0.db3", ""), ("b_0.mcap", "")]);
        assert_eq!(names(converted.path()), ["b_0.mcap"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_do() {
        let error = |folder: &Path| of(folder).unwrap_err().to_string();
        assert!(error(folder(&[(METADATA_FILE, &metadata("leveldb", ""))]).path()).contains("`mcap` and `sqlite3`"));
        assert!(error(folder(&[(METADATA_FILE, &metadata("mcap", "FILE"))]).path()).contains("`FILE`"));
        assert!(error(folder(&[(METADATA_FILE, "storage: [")]).path()).contains("ros2 bag reindex"));
        assert!(error(folder(&[]).path()).contains("neither metadata.yaml nor"));
        assert!(error(Path::new("/nowhere/bag")).contains("/nowhere/bag"));
    }
}
