//! Answers of the reference search, and the file that keeps them: they take long.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What a plan gave, and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Energy of the plan.
    pub energy: f64,
    /// First action: m, rad, closedness.
    pub action: [f64; 7],
    /// Predictor calls: candidates evaluated.
    pub calls: usize,
    /// Model calls: batches of candidates.
    pub batches: usize,
    /// Planning time, ms.
    pub plan_ms: f64,
    /// The part of it outside the model, ms.
    pub host_ms: f64,
}

/// All that the answers depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the model's files that are used, by name.
    pub model: BTreeMap<String, String>,
    /// SHA-256 of the pairs file.
    pub pairs: String,
    /// Provider and version of ONNX Runtime.
    pub runtime: String,
    /// The search, with horizon, energy and seed.
    pub settings: String,
}

/// Answers for one key, by the pair's index.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: Key,
    answers: BTreeMap<usize, Answer>,
}

/// Answers that are known, in memory and in a file if one is named.
#[derive(Debug)]
pub struct Store {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
    /// Whether there is something that is not in the file yet.
    changed: bool,
}

impl Store {
    /// What is in the file; nothing if there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { path: None, entries: Vec::new(), changed: false }) };
        let entries = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no file of reference answers", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        Ok(Self { path: Some(path.to_owned()), entries, changed: false })
    }

    /// The answer for a pair, if it is known.
    pub fn get(&self, key: &Key, pair: usize) -> Option<&Answer> {
        self.entries.iter().find(|e| e.key == *key)?.answers.get(&pair)
    }

    /// Takes an answer in.
    pub fn put(&mut self, key: &Key, pair: usize, answer: Answer) {
        self.changed = true;
        match self.entries.iter_mut().find(|e| e.key == *key) {
            Some(entry) => drop(entry.answers.insert(pair, answer)),
            None => self.entries.push(Entry { key: key.clone(), answers: BTreeMap::from([(pair, answer)]) }),
        }
    }

    /// Writes the file, if one is named and there is something new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> anyhow::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else { return Ok(()) };
        let fail = || format!("{} cannot be written", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(fail)?;
        }
        // Whoever is interrupted leaves the former file whole.
        let mut part = path.clone().into_os_string();
        part.push(".part");
        std::fs::write(&part, serde_json::to_vec(&self.entries)?).with_context(fail)?;
        std::fs::rename(&part, path).with_context(fail)?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(settings: &str) -> Key {
        let model = BTreeMap::from([("encoder.onnx".to_owned(), "ab".to_owned())]);
        Key { model, pairs: "cd".to_owned(), runtime: "cpu".to_owned(), settings: settings.to_owned() }
    }

    #[test]
    fn answers_are_kept_and_others_are_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/reference.json");
        let answer =
            |energy| Answer { energy, action: [0.1; 7], calls: 8001, batches: 130, plan_ms: 2.0, host_ms: 1.0 };
        let mut store = Store::open(Some(&path)).unwrap();
        store.put(&key("a"), 0, answer(0.1 + 0.2));
        store.put(&key("a"), 7, answer(2.0));
        store.put(&key("b"), 0, answer(3.0));
        store.save().unwrap();
        let store = Store::open(Some(&path)).unwrap();
        assert_eq!(store.get(&key("a"), 0), Some(&answer(0.1 + 0.2)));
        assert_eq!(store.get(&key("b"), 0), Some(&answer(3.0)));
        assert_eq!((store.get(&key("b"), 7), store.get(&key("c"), 0)), (None, None));
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.yaml");
        std::fs::write(&path, "goals: []").unwrap();
        let error = format!("{:#}", Store::open(Some(&path)).unwrap_err());
        assert!(error.contains("task.yaml"), "{error}");
        assert!(Store::open(None).unwrap().save().is_ok());
    }
}
