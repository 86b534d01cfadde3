//! The manifest of a model directory: what the files are, and proof that they are the files it speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::architecture::Architecture;
use super::preprocess::ResizeFilter;

/// The manifest format this program reads.
pub const FORMAT: u32 = 2;
/// The file name of a manifest in its model directory.
pub const FILE_NAME: &str = "manifest.yaml";

/// Layout of the robot state that this program composes, with units.
pub const STATE_LAYOUT: [&str; 7] = ["x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "gripper"];
/// Layout of an action, with units.
pub const ACTION_LAYOUT: [&str; 7] = ["dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "dgripper"];

/// Outputs of the encoder graph.
pub const ENCODER_OUTPUTS: [&str; 1] = ["latents"];
/// Outputs of a rollout graph.
pub const ROLLOUT_OUTPUTS: [&str; 3] = ["energy_l1", "energy_l2", "final"];

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
    /// A graph was exported with another value of a field than the manifest has.
    #[error("{manifest}: field `{field}` is {value}, but {file} was exported with {found}; export the model again")]
    Fact {
        /// The manifest.
        manifest: PathBuf,
        /// The field, dotted.
        field: String,
        /// Its value in the manifest.
        value: String,
        /// The ONNX file.
        file: PathBuf,
        /// The value in its metadata.
        found: String,
    },
    /// A graph does not say what it was exported with.
    #[error("{file}: metadata `{}` {reason}: not made by this exporter; export the model again", super::facts::KEY)]
    Facts {
        /// The ONNX file.
        file: PathBuf,
        /// What is wrong with the metadata.
        reason: String,
    },
}

/// Number format of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// 16-bit floating point inside the graphs; inputs and outputs stay 32-bit.
    Fp16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
        })
    }
}

/// The encoder graph.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderFiles {
    /// ONNX file name.
    pub file: String,
    /// File name of the external weights, when there are any.
    #[serde(default)]
    pub weights: Option<String>,
}

/// One rollout graph.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// What an output was on the fixed input of the checks; see [`super::check`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSums {
    /// Mean absolute value.
    pub mean_abs: f64,
    /// Sum weighted with fixed pseudo-random numbers, over the root of the count: notices an exchanged order.
    pub projection: f64,
}

/// `manifest.yaml`. An unknown key is an error, so that a typing mistake never passes for a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format; see [`FORMAT`].
    pub format: u32,
    /// Name of the model, for logs and status.
    pub name: String,
    /// Version of the program that wrote the directory.
    pub exporter_version: String,
    /// Licence of the weights.
    pub license: String,
    /// SHA-256 of the checkpoint that was exported, hexadecimal; none when the weights are random.
    #[serde(default)]
    pub checkpoint_sha256: Option<String>,
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
    /// Every size of the networks.
    pub architecture: Architecture,
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
    /// What every output of every graph was on the fixed input, by ONNX file name and output name.
    pub checks: BTreeMap<String, BTreeMap<String, CheckSums>>,
    /// What the model was trained on; free text and figures.
    #[serde(default)]
    pub training: Value,
}

/// A graph of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphRole {
    /// The encoder.
    Encoder,
    /// The rollout with this index in [`Manifest::rollouts`].
    Rollout(usize),
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
    /// Reads the manifest, checks its fields, the SHA-256 of every file, and which weights each graph reads.
    ///
    /// # Errors
    /// [`ManifestError`] names the file, and the field where one is at fault.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let directory = Self::read(path)?;
        for name in directory.manifest.files.keys() {
            directory.verify_file(name)?;
        }
        directory.verify_weights()?;
        Ok(directory)
    }

    /// Reads the manifest and checks its fields; no other file is looked at.
    ///
    /// # Errors
    /// [`ManifestError`] names the manifest and the field at fault.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let manifest_path = path.join(FILE_NAME);
        let text = std::fs::read_to_string(&manifest_path)
            .map_err(|source| ManifestError::Read { path: manifest_path.clone(), source })?;
        let manifest = Manifest::parse(&text, &manifest_path)?;
        manifest.validate(&manifest_path)?;
        Ok(Self { path: path.to_path_buf(), manifest })
    }

    /// Where the manifest lies.
    pub fn manifest_path(&self) -> PathBuf {
        self.path.join(FILE_NAME)
    }

    /// Checks the SHA-256 of a file under `files`; returns its size, bytes.
    ///
    /// # Errors
    /// [`ManifestError::Read`] or [`ManifestError::Hash`] with the file's name.
    pub fn verify_file(&self, name: &str) -> Result<u64, ManifestError> {
        let path = self.path.join(name);
        let (found, size) = sha256_of(&path).map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        match self.manifest.files.get(name) {
            Some(expected) if !found.eq_ignore_ascii_case(expected) => {
                let expected = expected.clone();
                Err(ManifestError::Hash { path, manifest: self.manifest_path(), expected, found })
            }
            _ => Ok(size),
        }
    }

    /// Checks that each graph reads its weights from the file that the manifest names, and from no other: that one has
    /// a hash.
    ///
    /// # Errors
    /// [`ManifestError::Field`] names `weights` of the graph, and the ONNX file.
    pub fn verify_weights(&self) -> Result<(), ManifestError> {
        let manifest = &self.manifest;
        for role in manifest.graphs() {
            let (file, weights) = (manifest.graph_file(role), manifest.graph_weights(role));
            let path = self.path.join(file);
            let onnx = std::fs::read(&path).map_err(|source| ManifestError::Read { path, source })?;
            let reads = external_files(&onnx);
            if !reads.iter().map(String::as_str).eq(weights) {
                let named = weights.map_or("nothing".to_owned(), |w| format!("`{w}`"));
                return Err(ManifestError::Field {
                    path: self.manifest_path(),
                    field: role.field("weights"),
                    reason: format!("names {named}, but {file} reads {reads:?}"),
                });
            }
        }
        Ok(())
    }
}

impl GraphRole {
    /// The field of the manifest that describes this graph's `part`, dotted.
    pub fn field(self, part: &str) -> String {
        match self {
            Self::Encoder => format!("encoder.{part}"),
            Self::Rollout(i) => format!("rollouts[{i}].{part}"),
        }
    }

    /// Names of its outputs.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Encoder => &ENCODER_OUTPUTS,
            Self::Rollout(_) => &ROLLOUT_OUTPUTS,
        }
    }
}

impl Manifest {
    /// From the text of a manifest; `path` is named in errors.
    ///
    /// # Errors
    /// [`ManifestError::Parse`] for what is no YAML; [`ManifestError::Field`] for another format, an unknown or missing
    /// key, or a value of the wrong type.
    fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        let parse = |reason: String| ManifestError::Parse { path: path.to_path_buf(), reason };
        let value: Value = serde_saphyr::from_str(text).map_err(|e| parse(e.to_string()))?;
        // Another format has other keys: it is named before they are complained about.
        if let Some(format) = value.get("format").filter(|f| **f != FORMAT) {
            let reason = format!("is {format}, this program reads {FORMAT}; export the model again");
            return Err(ManifestError::Field { path: path.to_path_buf(), field: "format".to_owned(), reason });
        }
        serde_path_to_error::deserialize(value).map_err(|e| match e.path().to_string() {
            top if top == "." => parse(e.inner().to_string()),
            field => ManifestError::Field { path: path.to_path_buf(), field, reason: e.inner().to_string() },
        })
    }

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
        for (field, text) in
            [("name", &self.name), ("exporter_version", &self.exporter_version), ("license", &self.license)]
        {
            if text.trim().is_empty() {
                return fail(field, "is empty".to_owned());
            }
        }
        if self.checkpoint_sha256.as_ref().is_some_and(|hash| !is_sha256(hash)) {
            return fail("checkpoint_sha256", "is neither a SHA-256 in 64 hexadecimal digits nor null".to_owned());
        }
        let architecture = &self.architecture;
        if let Err(error) = architecture.validate() {
            return fail(&format!("architecture.{}", error.field), error.reason);
        }
        for (field, value, of, derived) in [
            ("image_size", self.image_size, "architecture.image_size", architecture.image_size),
            ("patch_size", self.patch_size, "architecture.patch_size", architecture.patch_size),
            ("tokens", self.tokens, "architecture.image_size and patch_size", architecture.tokens()),
            ("latent_dim", self.latent_dim, "architecture.embed_dim", architecture.embed_dim),
        ] {
            if value != derived {
                return fail(field, format!("is {value}, but {of} makes {derived}"));
            }
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
        let steps = architecture.max_steps();
        for (i, rollout) in self.rollouts.iter().enumerate() {
            let (context, horizon) = (rollout.context, rollout.horizon);
            for (part, value) in [("context", context), ("horizon", horizon)] {
                if !(1..=64).contains(&value) {
                    return fail(&format!("rollouts[{i}].{part}"), format!("{value} is outside 1..64"));
                }
            }
            if context + horizon - 1 > steps {
                let needs = context + horizon - 1;
                return fail(
                    &format!("rollouts[{i}].context"),
                    format!("{context} with horizon {horizon} needs {needs} time steps, the predictor has {steps}"),
                );
            }
            if self.rollouts.iter().take(i).any(|r| (r.context, r.horizon) == (context, horizon)) {
                return fail(&format!("rollouts[{i}]"), format!("context {context} horizon {horizon} is listed twice"));
            }
        }
        for (i, role) in self.graphs().enumerate() {
            let file = self.graph_file(role);
            if let Some(other) = self.graphs().take(i).find(|other| self.graph_file(*other) == file) {
                return fail(&role.field("file"), format!("`{file}` is already `{}`", other.field("file")));
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
            if !is_sha256(hash) {
                return fail(&format!("files.{name}"), "is not a SHA-256 in 64 hexadecimal digits".to_owned());
            }
        }
        self.validate_checks().or_else(|(field, reason)| fail(&field, reason))
    }

    /// There must be finite sums for every output of every graph, and for nothing else.
    fn validate_checks(&self) -> Result<(), (String, String)> {
        for role in self.graphs() {
            let file = self.graph_file(role);
            let Some(checks) = self.checks.get(file) else {
                return Err((format!("checks.{file}"), "is missing".to_owned()));
            };
            for output in role.outputs() {
                let Some(sums) = checks.get(*output) else {
                    return Err((format!("checks.{file}.{output}"), "is missing".to_owned()));
                };
                for (part, value) in [("mean_abs", sums.mean_abs), ("projection", sums.projection)] {
                    if !value.is_finite() {
                        return Err((format!("checks.{file}.{output}.{part}"), format!("{value} is not finite")));
                    }
                }
            }
            if let Some(unknown) = checks.keys().find(|name| !role.outputs().contains(&name.as_str())) {
                return Err((format!("checks.{file}.{unknown}"), "is no output of this graph".to_owned()));
            }
        }
        let is_graph = |name: &str| self.graphs().any(|role| self.graph_file(role) == name);
        match self.checks.keys().find(|name| !is_graph(name)) {
            Some(unknown) => Err((format!("checks.{unknown}"), "is no graph of this model".to_owned())),
            None => Ok(()),
        }
    }

    /// Every graph.
    pub fn graphs(&self) -> impl Iterator<Item = GraphRole> {
        std::iter::once(GraphRole::Encoder).chain((0..self.rollouts.len()).map(GraphRole::Rollout))
    }

    /// ONNX file name of a graph; empty for a rollout that there is not.
    pub fn graph_file(&self, role: GraphRole) -> &str {
        match role {
            GraphRole::Encoder => &self.encoder.file,
            GraphRole::Rollout(i) => self.rollouts.get(i).map_or("", |r| &r.file),
        }
    }

    /// Name of the file with a graph's weights.
    fn graph_weights(&self, role: GraphRole) -> Option<&str> {
        match role {
            GraphRole::Encoder => self.encoder.weights.as_deref(),
            GraphRole::Rollout(i) => self.rollouts.get(i)?.weights.as_deref(),
        }
    }

    /// Every file that a graph needs, with the field that names it.
    fn referenced_files(&self) -> impl Iterator<Item = (String, &str)> {
        self.graphs().flat_map(|role| {
            let weights = self.graph_weights(role).map(|name| (role.field("weights"), name));
            [(role.field("file"), self.graph_file(role))].into_iter().chain(weights)
        })
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Names of the files that an ONNX file reads tensors from.
///
/// Such a tensor has an entry `location` in `external_data` (onnx.proto, StringStringEntryProto): field 1, 8 bytes,
/// `location`; field 2, length, file name. These bytes are looked for anywhere in the file, whatever graph or attribute
/// the tensor belongs to.
fn external_files(onnx: &[u8]) -> BTreeSet<String> {
    const ENTRY: &[u8] = b"\x0a\x08location\x12";
    let mut names = BTreeSet::new();
    let mut rest = onnx;
    while let Some(at) = rest.windows(ENTRY.len()).position(|window| window == ENTRY) {
        rest = rest.get(at + ENTRY.len()..).unwrap_or_default();
        // Lengths from 128 on take two bytes; no file name that the manifest accepts as plain is that long in practice,
        // and one that is shows up here as a name that the manifest does not have.
        if let Some((&length, after)) = rest.split_first() {
            let name = after.get(..usize::from(length).min(after.len())).unwrap_or_default();
            names.insert(String::from_utf8_lossy(name).into_owned());
        }
    }
    names
}

/// SHA-256 of a file, lower-case hexadecimal, and its size in bytes.
pub(super) fn sha256_of(path: &Path) -> std::io::Result<(String, u64)> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut hasher = Sha256::new();
    let mut buffer = [0_u8; 1 << 13];
    let mut size = 0;
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    Ok((hasher.finalize().iter().map(|b| format!("{b:02x}")).collect(), size))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const GOOD: &str = r"
format: 2
name: test
exporter_version: '0.1.0'
license: MIT
checkpoint_sha256: null
precision: fp32
image_size: 64
resize_filter: bilinear_antialias
patch_size: 16
tokens: 16
latent_dim: 8
architecture:
  image_size: 64
  patch_size: 16
  tubelet_size: 2
  embed_dim: 8
  depth: 2
  num_heads: 1
  mlp_ratio: 4.0
  predictor_embed_dim: 16
  predictor_depth: 2
  predictor_num_heads: 2
  predictor_mlp_ratio: 4.0
  eps: 1.0e-06
  num_frames: 4
  stem: patch
  stem_channels: []
  residual_prediction: false
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
checks:
  encoder.onnx:
    latents: {mean_abs: 0.75, projection: -1.25}
  rollout_t1_h1.onnx:
    energy_l1: {mean_abs: 0.5, projection: 0.125}
    energy_l2: {mean_abs: 0.5, projection: 0.125}
    final: {mean_abs: 0.75, projection: 3.0}
training: {data: synthetic, hours: 1.5}
";

    /// A manifest in order, of a model with one rollout.
    pub fn good() -> Manifest {
        let path = Path::new(FILE_NAME);
        let manifest = Manifest::parse(&GOOD.replace("HASH", &"a".repeat(64)), path).unwrap();
        manifest.validate(path).unwrap();
        manifest
    }

    /// What ONNX files write before the name of a weight file.
    fn onnx(weights: &str) -> Vec<u8> {
        [b"..\x0a\x08location\x12", &[weights.len() as u8][..], weights.as_bytes(), b"\x6a"].concat()
    }

    fn directory(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut text = text.to_owned();
        for (name, content) in [
            ("encoder.onnx", onnx("encoder.weights")),
            ("encoder.weights", b"content".to_vec()),
            ("rollout_t1_h1.onnx", onnx("predictor.weights").repeat(2)),
            ("predictor.weights", b"content".to_vec()),
        ] {
            std::fs::write(dir.path().join(name), content).unwrap();
            let (hash, _) = sha256_of(&dir.path().join(name)).unwrap();
            text = text.replace(&format!("{name}: HASH"), &format!("{name}: {hash}"));
        }
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
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
        assert_eq!(model.manifest.architecture.max_steps(), 2);
        assert_eq!(model.manifest.checks["rollout_t1_h1.onnx"]["final"].projection, 3.0);
        let text = GOOD.replacen("sha256: null", &format!("sha256: {}", "ab".repeat(32)), 1);
        assert!(ModelDirectory::open(directory(&text).path()).is_ok());
    }

    #[test]
    fn every_bad_field_is_named() {
        let second = "context: 1, horizon: 1}\n  - {file: encoder.onnx, context: 2, horizon: 1}";
        for (from, to, field) in [
            ("format: 2", "format: 1", "format"),
            ("name: test", "name: ''", "name"),
            ("exporter_version: '0.1.0'", "exporter_version: ' '", "exporter_version"),
            ("license: MIT", "license: ''", "license"),
            ("checkpoint_sha256: null", "checkpoint_sha256: abc", "checkpoint_sha256"),
            ("precision: fp32", "precision: int8", "precision"),
            ("image_size: 64\nresize", "image_size: 32\nresize", "image_size"),
            ("  image_size: 64", "  image_size: 65", "architecture.image_size"),
            ("resize_filter: bilinear_antialias", "resize_filter: cubic", "resize_filter"),
            ("patch_size: 16\ntokens", "patch_size: 8\ntokens", "patch_size"),
            ("tokens: 16", "tokens: 17", "tokens"),
            ("latent_dim: 8", "latent_dim: 0", "latent_dim"),
            ("  depth: 2", "  depth: 0", "architecture.depth"),
            ("  depth: 2", "  depth: 2\n  deepth: 2", "architecture.deepth"),
            ("  eps: 1.0e-06", "  eps: tiny", "architecture.eps"),
            ("  stem: patch", "  stem: none", "architecture.stem"),
            ("rate_hz: 4.0", "rate_hz: 1e6", "rate_hz"),
            ("rate_hz: 4.0", "rate_hz: 0", "rate_hz"),
            ("max_step_m: 0.05", "max_step_m: -0.05", "max_step_m"),
            ("[x_m, y_m,", "[y_m, x_m,", "state_layout"),
            ("[dx_m, dy_m,", "[dy_m, dx_m,", "action_layout"),
            ("context: 1", "context: 0", "rollouts[0].context"),
            ("context: 1", "context: 3", "rollouts[0].context"),
            ("horizon: 1", "horizon: 0", "rollouts[0].horizon"),
            ("horizon: 1", "horizons: 1", "rollouts[0].horizons"),
            ("context: 1, horizon: 1}", second, "rollouts[1].file"),
            ("weights: predictor.weights", "weights: other.weights", "rollouts[0].weights"),
            ("weights: predictor.weights", "weights: encoder.weights", "rollouts[0].weights"),
            (", weights: encoder.weights", "", "encoder.weights"),
            ("encoder.onnx: HASH", "encoder.onnx: abc", "files.encoder.onnx"),
            ("  predictor.weights: HASH", "  predictor.weights: HASH\n  ../x: HASH", "files.../x"),
            ("checks:\n  encoder.onnx:", "checks:\n  encoder.ony:", "checks.encoder.onnx"),
            ("    final: {", "    last: {", "checks.rollout_t1_h1.onnx.final"),
            ("{mean_abs: 0.75, projection: 3.0}", "{mean_abs: 0.75}", "projection"),
            ("    final: {", "    more: {mean_abs: 0, projection: 0}\n    final: {", "checks.rollout_t1_h1.onnx.more"),
            ("checks:\n", "checks:\n  x.onnx: {}\n", "checks.x.onnx"),
            ("rate_hz: 4.0", "rate_hz: 4.0\nrate_khz: 4.0", "rate_khz"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let message = refusal(&GOOD.replacen(from, to, 1));
            assert!(message.contains(&format!("{field}`")), "{field}: {message}");
            assert!(message.contains(FILE_NAME), "{message}");
        }
    }

    #[test]
    fn a_missing_field_and_a_wrong_type_are_named() {
        assert!(refusal(&GOOD.replacen("rate_hz: 4.0\n", "", 1)).contains("rate_hz"));
        assert!(refusal(&GOOD.replacen("  num_frames: 4\n", "", 1)).contains("num_frames"));
        assert!(refusal(&GOOD.replacen("projection: 3.0", "projection: .nan", 1)).contains("projection: .nan"));
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
