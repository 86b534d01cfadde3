//! The check of a model directory: every file against the manifest, and every graph once on the fixed input against what
//! the exporter got.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::fixed_input;
use super::manifest::{self, CheckSums, GraphRole, Manifest, ManifestError, ModelDirectory, Precision};
use super::onnx::{LoadOptions, OnnxWorldModel};
use super::runtime::{Provider, RuntimeConfig};
use super::{Latent, ModelError, WorldModel as _};

/// Why a model is not in order.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A file or a field is wrong, or a graph cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A graph does not compute what it did when it was exported.
    #[error(
        "{file}: output `{output}` on the fixed input is not what it was at export: `{field}` in {manifest} says \
         {expected}, found {found} (accepted difference {accepted}); the weights or the manifest are not those of the export"
    )]
    Sums {
        /// The ONNX file.
        file: PathBuf,
        /// The output.
        output: &'static str,
        /// The manifest.
        manifest: PathBuf,
        /// The field of the manifest, dotted.
        field: String,
        /// What it says.
        expected: f64,
        /// What the graph gave.
        found: f64,
        /// Largest difference that is accepted.
        accepted: f64,
    },
}

impl From<ManifestError> for CheckError {
    fn from(error: ManifestError) -> Self {
        Self::Model(error.into())
    }
}

/// What was found in order, in the order of the check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Finding {
    /// A file has the SHA-256 that the manifest names.
    File {
        /// Its name.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// A file that lies in the directory and is no part of the model.
    Extra {
        /// Its name.
        file: String,
    },
    /// An output of a graph is what it was at export.
    Output {
        /// The ONNX file.
        file: String,
        /// The output.
        output: &'static str,
        /// What the manifest says.
        expected: CheckSums,
        /// What the graph gave.
        found: CheckSums,
    },
}

/// A model in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the model.
    pub model: String,
    /// Number format of its weights.
    pub precision: Precision,
    /// SHA-256 of the checkpoint; none when the weights are random.
    pub checkpoint_sha256: Option<String>,
    /// What ran the graphs.
    pub provider: Provider,
    /// Why that is not the configured one.
    pub fallback_reason: Option<String>,
    /// Files with the right SHA-256.
    pub files: usize,
    /// Graphs that ran.
    pub graphs: usize,
    /// Largest difference from what the manifest records.
    pub largest_difference: f64,
    /// Largest difference that is accepted.
    pub accepted_difference: f64,
}

/// Largest difference that is accepted of a graph on another machine or execution provider, which sum in another order.
pub fn accepted_difference(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-3,
        Precision::Fp16 => 3e-2,
    }
}

/// Checks the model in `directory`: the manifest's fields, the SHA-256 of every file, metadata, names, shapes and types of
/// every graph, and what every graph gives on the fixed input. `report` is given what is in order, as it is found;
/// `progress` a line before each graph is loaded.
///
/// # Errors
/// [`CheckError`] names the file and the field, tensor or output of the first thing that is wrong.
pub fn check(
    directory: &Path,
    options: &LoadOptions,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&str),
) -> Result<Summary, CheckError> {
    let directory = ModelDirectory::read(directory)?;
    let manifest = &directory.manifest;
    for file in manifest.files.keys() {
        let bytes = directory.verify_file(file)?;
        report(Finding::File { file: file.clone(), bytes });
    }
    directory.verify_weights()?;
    for file in extra_files(&directory)? {
        report(Finding::Extra { file });
    }
    // Lanes have the same graphs.
    let runtime = RuntimeConfig { candidate_threads: 1, ..options.runtime.clone() };
    let options = LoadOptions { runtime, ..options.clone() };
    let mut model = OnnxWorldModel::load_verified(&directory, &options, progress)?;
    let mut largest_difference: f64 = 0.0;
    for role in manifest.graphs() {
        for (output, numbers) in run_on_fixed_input(&mut model, manifest, role)? {
            let file = manifest.graph_file(role);
            let found = fixed_input::sums(&numbers);
            let expected = manifest.checks.get(file).and_then(|c| c.get(output)).copied();
            let expected = expected.unwrap_or(CheckSums { mean_abs: f64::NAN, projection: f64::NAN });
            let difference = compare(&directory, role, output, expected, found)?;
            largest_difference = largest_difference.max(difference);
            report(Finding::Output { file: file.to_owned(), output, expected, found });
        }
    }
    Ok(Summary {
        model: manifest.name.clone(),
        precision: manifest.precision,
        checkpoint_sha256: manifest.checkpoint_sha256.clone(),
        provider: model.provider(),
        fallback_reason: model.fallback_reason().map(str::to_owned),
        files: manifest.files.len(),
        graphs: manifest.graphs().count(),
        largest_difference,
        accepted_difference: accepted_difference(manifest.precision),
    })
}

/// Every output of a graph on the fixed input.
fn run_on_fixed_input(
    model: &mut OnnxWorldModel,
    manifest: &Manifest,
    role: GraphRole,
) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
    let numbers = |name: &str, len: usize| fixed_input::numbers(name, len).unwrap_or_default();
    match role {
        GraphRole::Rollout(i) => match manifest.rollouts.get(i) {
            Some(rollout) => model.rollout_raw(rollout, fixed_input::BATCH, numbers),
            None => Ok(Vec::new()),
        },
        GraphRole::Encoder => {
            // One frame after the other, as the planner does: frames do not see each other.
            let frame_len = model.spec().frame_len();
            let mut latents = Vec::new();
            for frame in numbers("frames", fixed_input::BATCH * frame_len).chunks_exact(frame_len) {
                let mut latent = Latent::zeros(model.spec().latent_len());
                model.encode(frame, &mut latent)?;
                latents.extend_from_slice(latent.host());
            }
            Ok(manifest::ENCODER_OUTPUTS.iter().map(|output| (*output, latents.clone())).collect())
        }
    }
}

/// The larger difference of the two sums, when it is accepted.
fn compare(
    directory: &ModelDirectory,
    role: GraphRole,
    output: &'static str,
    expected: CheckSums,
    found: CheckSums,
) -> Result<f64, CheckError> {
    let manifest = &directory.manifest;
    let accepted = accepted_difference(manifest.precision);
    let file = manifest.graph_file(role);
    let mut largest: f64 = 0.0;
    for (part, expected, found) in
        [("mean_abs", expected.mean_abs, found.mean_abs), ("projection", expected.projection, found.projection)]
    {
        let difference = (expected - found).abs();
        if difference.is_nan() || difference > accepted {
            return Err(CheckError::Sums {
                file: directory.path.join(file),
                output,
                manifest: directory.manifest_path(),
                field: format!("checks.{file}.{output}.{part}"),
                expected,
                found,
                accepted,
            });
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// Names of what lies in the directory beside the manifest and the files it names, in order.
fn extra_files(directory: &ModelDirectory) -> Result<Vec<String>, ManifestError> {
    let read = |source| ManifestError::Read { path: directory.path.clone(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory.path).map_err(read)? {
        let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
        if name != manifest::FILE_NAME && !directory.manifest.files.contains_key(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
