//! Recorded numbers of the original model and planner.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

/// A golden set: `NAME_meta.json` and `NAME_vectors.safetensors`.
pub struct Golden {
    pub name: String,
    pub meta: Value,
    tensors: Tensors,
}

impl std::ops::Deref for Golden {
    type Target = Tensors;

    fn deref(&self) -> &Tensors {
        &self.tensors
    }
}

/// A safetensors file.
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Every set in `VJEPA_GOLDEN_DIR` (default: ../shared/golden beside the repository); says so when there is none.
pub fn golden_sets() -> Vec<Golden> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
    let directory = std::env::var_os("VJEPA_GOLDEN_DIR").map_or(default, PathBuf::from);
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix("_meta.json")?.to_owned()))
        .collect();
    names.sort();
    if names.is_empty() {
        println!("skipped: no golden vectors in {} (set VJEPA_GOLDEN_DIR)", directory.display());
    }
    names
        .into_iter()
        .map(|name| Golden {
            meta: serde_json::from_slice(&std::fs::read(directory.join(format!("{name}_meta.json"))).unwrap()).unwrap(),
            tensors: Tensors::read(&directory.join(format!("{name}_vectors.safetensors"))),
            name,
        })
        .collect()
}

/// The golden checkpoint as a model directory; says so when it is not there.
pub fn golden_model(name: &str) -> Option<PathBuf> {
    // Only the set that lies in the repository has been exported.
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden_model");
    let there = name == "golden_a" && path.join("manifest.yaml").is_file();
    if !there {
        println!("skipped: {name} has not been exported to {}", path.display());
    }
    there.then_some(path)
}

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self { path: path.to_path_buf(), bytes: std::fs::read(path).unwrap() }
    }

    fn raw(&self, name: &str) -> (Vec<usize>, Dtype, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{} {name}: {e}", self.path.display()));
        (view.shape().to_vec(), view.dtype(), view.data().to_vec())
    }

    /// Shape and numbers of a tensor of either float type.
    pub fn floats(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let (shape, dtype, data) = self.raw(name);
        let values = match dtype {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => panic!("{name} is {other:?}"),
        };
        (shape, values)
    }

    pub fn f32s(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, values) = self.floats(name);
        (shape, values.into_iter().map(|v| v as f32).collect())
    }

    pub fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let (shape, dtype, data) = self.raw(name);
        assert_eq!(dtype, Dtype::U8);
        (shape, data)
    }

    /// Rows of seven numbers.
    pub fn sevens(&self, name: &str) -> Vec<[f64; 7]> {
        let (_, values) = self.floats(name);
        values.as_chunks::<7>().0.to_vec()
    }
}

/// Largest absolute difference.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
