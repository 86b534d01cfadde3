//! TensorRT: what a graph is compiled for, and where the result is kept.

use std::collections::BTreeMap;
use std::path::Path;

use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, TensorRT};
use sha2::{Digest, Sha256};

use super::Profile;
use super::engine_cache::EngineCache;
use crate::world_model::manifest::Precision;

/// Bytes of weights that come near the limit of the format in which TensorRT is handed a graph, 2 GiB.
pub(super) const LARGE: u64 = 1 << 30;

/// Everything that a compiled graph depends on.
pub(super) struct Facts<'a> {
    /// SHA-256 of the model's files by name.
    pub(super) files: &'a BTreeMap<String, String>,
    pub(super) precision: Precision,
    pub(super) max_batch: usize,
    /// ONNX Runtime's version and build.
    pub(super) onnxruntime: &'a str,
    /// TensorRT's library; see [`super::nvidia::TensorRtLibrary`].
    pub(super) tensorrt: &'a str,
    /// All GPUs and the driver.
    pub(super) gpus: &'a str,
    /// Which of them: the device's number, and what changes the counting.
    pub(super) device: &'a str,
}

impl Facts<'_> {
    /// A name for the directory of what is compiled from these: 32 hexadecimal digits.
    pub(super) fn key(&self) -> String {
        let Self { files, precision, max_batch, onnxruntime, tensorrt, gpus, device } = self;
        // JSON delimits every part.
        let facts = serde_json::json!({
            "files": files,
            "precision": precision,
            "max_batch": max_batch,
            "onnxruntime": onnxruntime,
            "tensorrt": tensorrt,
            "gpus": gpus,
            "device": device,
        });
        Sha256::digest(facts.to_string()).iter().take(16).map(|b| format!("{b:02x}")).collect()
    }
}

/// How graphs of one model are compiled.
#[derive(Debug)]
pub(super) struct TensorRt {
    pub(super) device_id: i32,
    pub(super) precision: Precision,
    /// First part of TensorRT's version.
    pub(super) major: u32,
    /// Whether a graph with its weights is too large to be handed over in one piece: the format's limit is 2 GiB.
    pub(super) large: bool,
    /// Where the result is kept; nowhere when the GPU is not known.
    pub(super) cache: Option<EngineCache>,
}

impl TensorRt {
    /// The execution provider for one ONNX file.
    pub(super) fn provider(&self, file: &Path, profile: &Profile) -> TensorRT {
        let mut provider = TensorRT::default()
            .with_device_id(self.device_id)
            .with_profile_min_shapes(shapes(profile, 1))
            .with_profile_opt_shapes(shapes(profile, profile.max_batch))
            .with_profile_max_shapes(shapes(profile, profile.max_batch))
            .with_force_sequential_engine_build(true);
        // A graph in half precision says so by its types. Before version 11, TensorRT takes them for a wish, that is
        // granted only with this switch; what the graph has in full precision for a reason may be lowered then, but for
        // LayerNorm.
        if self.precision == Precision::Fp16 && (1..11).contains(&self.major) {
            provider = provider.with_fp16(true).with_layer_norm_fp32_fallback(true);
        }
        if self.large {
            provider = provider.with_arbitrary_config("trt_load_user_initializer", "1");
        }
        if let Some(cache) = &self.cache {
            let directory = cache.directory().display();
            provider = provider
                .with_engine_cache(true)
                .with_engine_cache_path(directory.to_string())
                .with_engine_cache_prefix(prefix(file))
                .with_timing_cache(true)
                .with_timing_cache_path(directory.to_string());
        }
        provider
    }

    /// Whether the graph of this file has been compiled before.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(&prefix(file)))
    }
}

/// Beginning of the names of what is compiled from a file; no two files of a model have the same.
fn prefix(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Shapes of all dynamic inputs at one batch: `actions:64x1x7,states:64x1x7`.
fn shapes(profile: &Profile, batch: usize) -> String {
    let shape = |shape: &[i64]| {
        let sizes: Vec<String> =
            shape.iter().map(|size| if *size < 0 { batch.to_string() } else { size.to_string() }).collect();
        sizes.join("x")
    };
    let inputs: Vec<String> = profile.inputs.iter().map(|(name, s)| format!("{name}:{}", shape(s))).collect();
    inputs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_go_from_one_to_the_largest_batch() {
        let inputs = vec![("actions", vec![-1, 2, 7]), ("states", vec![-1, 2, 7])];
        let profile = Profile { max_batch: 64, inputs };
        assert_eq!(shapes(&profile, 1), "actions:1x2x7,states:1x2x7");
        assert_eq!(shapes(&profile, profile.max_batch), "actions:64x2x7,states:64x2x7");
        let frames = Profile { max_batch: 1, inputs: vec![("frames", vec![-1, 256, 256, 3])] };
        assert_eq!(shapes(&frames, frames.max_batch), "frames:1x256x256x3");
    }

    #[test]
    fn the_key_changes_with_everything_that_a_compiled_graph_depends_on() {
        let files = BTreeMap::from([("encoder.onnx".to_owned(), "ab".repeat(32))]);
        let other = BTreeMap::from([("encoder.onnx".to_owned(), "ac".repeat(32))]);
        let facts = || Facts {
            files: &files,
            precision: Precision::Fp32,
            max_batch: 64,
            onnxruntime: "1.31.1",
            tensorrt: "/lib/libnvinfer.so.10 100 5",
            gpus: "NVRM 580.1\nGPU-1",
            device: "0",
        };
        let key = facts().key();
        assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        assert_eq!(key, facts().key());
        for changed in [
            Facts { files: &other, ..facts() },
            Facts { precision: Precision::Fp16, ..facts() },
            Facts { max_batch: 65, ..facts() },
            Facts { onnxruntime: "1.31.2", ..facts() },
            Facts { tensorrt: "/lib/libnvinfer.so.10 101 5", ..facts() },
            Facts { gpus: "NVRM 580.2\nGPU-1", ..facts() },
            Facts { device: "1", ..facts() },
        ] {
            assert_ne!(changed.key(), key);
        }
    }
}
