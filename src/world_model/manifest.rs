//! The manifest of a model directory: what the files are, and proof that they are the files it speaks of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::preprocess::ResizeFilter;

/// The manifest format this program reads.
pub const FORMAT: u32 = 1;
/// The file name of a manifest in its model directory.
pub const FILE_NAME: &str = "manifest.yaml";

/// Layout of the robot state that this program composes, with units.
pub const STATE_LAYOUT: [&str; 7] = ["x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "gripper"];
/// Layout of an action, with units.
pub const ACTION_LAYOUT: [&str; 7] = ["dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "dgripper"];

/// Why a model directory is refused.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A file cannot be opened or read.
    #[error("model file {path} cannot be read: {source}; point `model` at a directory with {FILE_NAME}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The manifest is not YAML of the expected form.
    #[error("{path} is not a model manifest: {reason}")]
    Parse {
        /// The manifest.
        path: PathBuf,
        /// Line, column and what was expected.
        reason: String,
    },
    /// A field has a value that cannot be right.
    #[error("{path}: field `{field}`: {reason}")]
    Field {
        /// The manifest.
        path: PathBuf,
        /// The field, dotted.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not the one that the manifest describes.
    #[error(
        "{path} has SHA-256 {found}, but `files` in {manifest} says {expected}; export or download the model again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
        /// Hash in the manifest, hexadecimal.
        expected: String,
        /// Hash of the file, hexadecimal.
        found: String,
    },
}

/// Number format of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// 16-bit floating point inside the graphs; inputs and outputs stay 32-bit.
    Fp16,
}

/// The encoder graph.
#[derive(Clone, Debug, Deserialize)]
pub struct EncoderFiles {
    /// ONNX file name.
    pub file: String,
    /// File name of the external weights, when there are any.
    #[serde(default)]
    pub weights: Option<String>,
}

/// One rollout graph.
#[derive(Clone, Debug, Deserialize)]
pub struct RolloutFiles {
    /// ONNX file name.
    pub file: String,
    /// File name of the external weights, when there are any.
    #[serde(default)]
    pub weights: Option<String>,
    /// Frames of context, T.
    pub context: usize,
    /// Predicted steps, H.
    pub horizon: usize,
}

/// `manifest.yaml`.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Version of this format; see [`FORMAT`].
    pub format: u32,
    /// Name of the model, for logs and status.
    pub name: String,
    /// Version of the program that wrote the directory.
    pub exporter_version: String,
    /// Licence of the weights.
    pub license: String,
    /// SHA-256 of the checkpoint that was exported, hexadecimal.
    pub checkpoint_sha256: String,
    /// Number format of the weights.
    pub precision: Precision,
    /// Side S of the square input picture, px.
    pub image_size: usize,
    /// How a camera picture becomes S×S.
    pub resize_filter: ResizeFilter,
    /// Side of a patch, px.
    pub patch_size: usize,
    /// Patch tokens per frame, N.
    pub tokens: usize,
    /// Width of a latent token, D.
    pub latent_dim: usize,
    /// Constructor fields of the network, for information and for benchmarks.
    pub architecture: serde_json::Value,
    /// Model steps per second, Hz.
    pub rate_hz: f64,
    /// Must be [`STATE_LAYOUT`].
    pub state_layout: Vec<String>,
    /// Must be [`ACTION_LAYOUT`].
    pub action_layout: Vec<String>,
    /// Largest translation per coordinate and step seen in training, m.
    pub max_step_m: f64,
    /// The encoder.
    pub encoder: EncoderFiles,
    /// The rollout graphs, one per (context, horizon).
    pub rollouts: Vec<RolloutFiles>,
    /// SHA-256 of every file, hexadecimal, by file name.
    pub files: BTreeMap<String, String>,
    /// What the model was trained on; free text and figures.
    #[serde(default)]
    pub training: serde_json::Value,
}

/// A model directory whose manifest is valid and whose files have the hashes it names.
#[derive(Clone, Debug)]
pub struct ModelDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl ModelDirectory {
    /// Reads the manifest, checks its fields and the SHA-256 of every file.
    ///
    /// # Errors
    /// [`ManifestError`] names the file, and the field where one is at fault.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let manifest_path = path.join(FILE_NAME);
        let text = std::fs::read_to_string(&manifest_path)
            .map_err(|source| ManifestError::Read { path: manifest_path.clone(), source })?;
        let manifest: Manifest = serde_saphyr::from_str(&text)
            .map_err(|e| ManifestError::Parse { path: manifest_path.clone(), reason: e.to_string() })?;
        manifest.validate(&manifest_path)?;
        for (name, expected) in &manifest.files {
            let file = path.join(name);
            let found = sha256_of(&file).map_err(|source| ManifestError::Read { path: file.clone(), source })?;
            if !found.eq_ignore_ascii_case(expected) {
                let expected = expected.clone();
                return Err(ManifestError::Hash { path: file, manifest: manifest_path, expected, found });
            }
        }
        Ok(Self { path: path.to_path_buf(), manifest })
    }
}

impl Manifest {
    /// Checks every field that the program relies on; `path` is named in errors.
    ///
    /// # Errors
    /// [`ManifestError::Field`] for the first field that cannot be right.
    pub fn validate(&self, path: &Path) -> Result<(), ManifestError> {
        let fail = |field: &str, reason: String| {
            Err(ManifestError::Field { path: path.to_path_buf(), field: field.to_owned(), reason })
        };
        if self.format != FORMAT {
            return fail("format", format!("is {}, this program reads {FORMAT}", self.format));
        }
        if self.name.trim().is_empty() {
            return fail("name", "is empty".to_owned());
        }
        if self.patch_size == 0 || self.image_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return fail(
                "image_size",
                format!("{} is not a multiple of patch_size {}", self.image_size, self.patch_size),
            );
        }
        if self.image_size > 4096 {
            return fail("image_size", format!("{} px is more than 4096 px", self.image_size));
        }
        let side = self.image_size / self.patch_size;
        if self.tokens != side * side {
            return fail("tokens", format!("is {}, but image_size and patch_size make {}", self.tokens, side * side));
        }
        if self.latent_dim == 0 || self.latent_dim > 1 << 16 {
            return fail("latent_dim", format!("{} is outside 1..65536", self.latent_dim));
        }
        if !(self.rate_hz.is_finite() && self.rate_hz > 0.0 && self.rate_hz <= 1000.0) {
            return fail("rate_hz", format!("{} Hz is outside 0..1000 Hz", self.rate_hz));
        }
        if !(self.max_step_m.is_finite() && self.max_step_m > 0.0 && self.max_step_m <= 1.0) {
            return fail("max_step_m", format!("{} m is outside 0..1 m", self.max_step_m));
        }
        if self.state_layout != STATE_LAYOUT {
            return fail("state_layout", format!("must be {STATE_LAYOUT:?}"));
        }
        if self.action_layout != ACTION_LAYOUT {
            return fail("action_layout", format!("must be {ACTION_LAYOUT:?}"));
        }
        if self.rollouts.is_empty() {
            return fail("rollouts", "names no graph".to_owned());
        }
        for (i, rollout) in self.rollouts.iter().enumerate() {
            if rollout.context == 0 || rollout.context > 64 {
                return fail(&format!("rollouts[{i}].context"), format!("{} is outside 1..64", rollout.context));
            }
            if rollout.horizon == 0 || rollout.horizon > 64 {
                return fail(&format!("rollouts[{i}].horizon"), format!("{} is outside 1..64", rollout.horizon));
            }
            if self.rollouts.iter().take(i).any(|r| (r.context, r.horizon) == (rollout.context, rollout.horizon)) {
                return fail(
                    &format!("rollouts[{i}]"),
                    format!("context {} horizon {} is listed twice", rollout.context, rollout.horizon),
                );
            }
        }
        for (field, name) in self.referenced_files() {
            if !self.files.contains_key(name) {
                return fail(&field, format!("`{name}` has no hash under `files`"));
            }
        }
        for (name, hash) in &self.files {
            let mut parts = Path::new(name).components();
            if !matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None)) {
                return fail(&format!("files.{name}"), "must be a plain file name in the model directory".to_owned());
            }
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                return fail(&format!("files.{name}"), "is not a SHA-256 in 64 hexadecimal digits".to_owned());
            }
        }
        Ok(())
    }

    /// Every file that a graph needs, with the field that names it.
    fn referenced_files(&self) -> impl Iterator<Item = (String, &str)> {
        let encoder = [("encoder.file", Some(&self.encoder.file)), ("encoder.weights", self.encoder.weights.as_ref())];
        let encoder = encoder.into_iter().filter_map(|(field, name)| Some((field.to_owned(), name?.as_str())));
        let rollouts = self.rollouts.iter().enumerate().flat_map(|(i, r)| {
            [("file", Some(&r.file)), ("weights", r.weights.as_ref())]
                .into_iter()
                .filter_map(move |(field, name)| Some((format!("rollouts[{i}].{field}"), name?.as_str())))
        });
        encoder.chain(rollouts)
    }
}

/// SHA-256 of a file, lower-case hexadecimal.
fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut hasher = Sha256::new();
    let mut buffer = [0_u8; 1 << 13];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r"
format: 1
name: test
exporter_version: '0.1.0'
license: MIT
checkpoint_sha256: '00'
precision: fp32
image_size: 64
resize_filter: bilinear_antialias
patch_size: 16
tokens: 16
latent_dim: 8
architecture: {embed_dim: 8, depth: 2, note: anything}
rate_hz: 4.0
state_layout: [x_m, y_m, z_m, roll_rad, pitch_rad, yaw_rad, gripper]
action_layout: [dx_m, dy_m, dz_m, drx_rad, dry_rad, drz_rad, dgripper]
max_step_m: 0.05
encoder: {file: encoder.onnx, weights: encoder.weights}
rollouts:
  - {file: rollout_t1_h1.onnx, weights: predictor.weights, context: 1, horizon: 1}
files:
  encoder.onnx: HASH
  encoder.weights: HASH
  rollout_t1_h1.onnx: HASH
  predictor.weights: HASH
training: {data: synthetic, hours: 1.5}
";

    fn directory(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["encoder.onnx", "encoder.weights", "rollout_t1_h1.onnx", "predictor.weights"] {
            std::fs::write(dir.path().join(name), b"content").unwrap();
        }
        let hash = sha256_of(&dir.path().join("encoder.onnx")).unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text.replace("HASH", &hash)).unwrap();
        dir
    }

    fn refusal(text: &str) -> String {
        ModelDirectory::open(directory(text).path()).unwrap_err().to_string()
    }

    #[test]
    fn a_good_directory_opens() {
        let dir = directory(GOOD);
        let model = ModelDirectory::open(dir.path()).unwrap();
        assert_eq!(model.manifest.rollouts[0].horizon, 1);
        assert_eq!(model.manifest.resize_filter, ResizeFilter::BilinearAntialias);
    }

    #[test]
    fn every_bad_field_is_named() {
        for (from, to, field) in [
            ("format: 1", "format: 2", "format"),
            ("name: test", "name: ''", "name"),
            ("image_size: 64", "image_size: 65", "image_size"),
            ("tokens: 16", "tokens: 17", "tokens"),
            ("latent_dim: 8", "latent_dim: 0", "latent_dim"),
            ("rate_hz: 4.0", "rate_hz: .nan", "rate_hz"),
            ("max_step_m: 0.05", "max_step_m: -0.05", "max_step_m"),
            ("[x_m, y_m,", "[y_m, x_m,", "state_layout"),
            ("[dx_m, dy_m,", "[dy_m, dx_m,", "action_layout"),
            ("context: 1", "context: 0", "rollouts[0].context"),
            ("horizon: 1", "horizon: 0", "rollouts[0].horizon"),
            ("weights: predictor.weights", "weights: other.weights", "rollouts[0].weights"),
            ("encoder.onnx: HASH", "encoder.onnx: abc", "files.encoder.onnx"),
            ("  predictor.weights: HASH", "  predictor.weights: HASH\n  ../x: HASH", "files.../x"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let message = refusal(&GOOD.replacen(from, to, 1));
            assert!(message.contains(&format!("`{field}`")), "{field}: {message}");
            assert!(message.contains(FILE_NAME), "{message}");
        }
    }

    #[test]
    fn a_missing_field_and_a_wrong_type_are_named() {
        assert!(refusal(&GOOD.replacen("rate_hz: 4.0\n", "", 1)).contains("rate_hz"));
        assert!(
            refusal(&GOOD.replacen("resize_filter: bilinear_antialias", "resize_filter: cubic", 1)).contains("cubic")
        );
        assert!(refusal("just text").contains(FILE_NAME));
    }

    #[test]
    fn a_changed_missing_or_swapped_file_is_named() {
        let dir = directory(GOOD);
        std::fs::write(dir.path().join("predictor.weights"), b"conten").unwrap();
        let message = ModelDirectory::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("predictor.weights") && message.contains("SHA-256"), "{message}");
        std::fs::remove_file(dir.path().join("predictor.weights")).unwrap();
        let message = ModelDirectory::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("predictor.weights") && message.contains("cannot be read"), "{message}");
        let message = ModelDirectory::open(&dir.path().join("none")).unwrap_err().to_string();
        assert!(message.contains("manifest.yaml"), "{message}");
    }
}
