//! Recorded numbers of the original model and planner.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

pub mod arm;

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;
use sha2::{Digest, Sha256};
use vjepa_planner::world_model::{Latent, LoadOptions, OnnxWorldModel};

/// A golden set: `NAME.pt`, `NAME_meta.json` and `NAME_vectors.safetensors`.
pub struct Golden {
    pub name: String,
    pub meta: Value,
    checkpoint: PathBuf,
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
            checkpoint: directory.join(format!("{name}.pt")),
            name,
        })
        .collect()
}

/// A directory of the repository.
pub fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Opens a model without saying so.
pub fn load(path: &Path) -> OnnxWorldModel {
    OnnxWorldModel::load(path, &LoadOptions::default(), &mut |_| {}).unwrap()
}

impl Golden {
    /// The checkpoint as a model directory. Fails when it has not been exported.
    pub fn export(&self) -> PathBuf {
        let bytes = std::fs::read(&self.checkpoint).unwrap_or_else(|e| panic!("{}: {e}", self.checkpoint.display()));
        let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let mut seen = Vec::new();
        for parent in ["tests/models", "out/golden_models"].map(in_repository) {
            for entry in std::fs::read_dir(&parent).into_iter().flatten() {
                let path = entry.unwrap().path();
                let manifest = std::fs::read_to_string(path.join("manifest.yaml")).unwrap_or_default();
                // Half precision computes something else.
                if manifest.contains(&sha256) && manifest.contains("precision: fp32") {
                    return path;
                }
                seen.push(path);
            }
        }
        panic!("{} has not been exported ({seen:?}): run `make test-export`", self.checkpoint.display())
    }

    /// The latents of a tensor [T,N,D].
    pub fn latents(&self, name: &str) -> Vec<Latent> {
        let (shape, numbers) = self.f32s(name);
        numbers.chunks_exact(shape[1] * shape[2]).map(Latent::from_host).collect()
    }
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
