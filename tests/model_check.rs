//! Models that are not in order: every error names the file and the field, tensor or output.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vjepa_planner::world_model::check::{Finding, Summary, check};
use vjepa_planner::world_model::{LoadOptions, OnnxWorldModel};

const DEMO: &str = "models/demo";
const HALF: &str = "tests/models/demo_fp16";
const GOLDEN: &str = "tests/models/golden_a";
const PREDICTOR_GRAPHS: [&str; 2] = ["rollout_t1_h1.onnx", "rollout_t1_h2.onnx"];

/// A copy of a model that may be broken.
struct Copy(TempDir);

impl Copy {
    fn of(model: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(model)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "checkpoint.pt" {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        Self(copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn manifest(&self) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(self.path("manifest.yaml")).unwrap()).unwrap()
    }

    /// JSON is YAML.
    fn set_manifest(&self, manifest: &Value) {
        std::fs::write(self.path("manifest.yaml"), manifest.to_string()).unwrap();
    }

    fn change_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.manifest();
        change(&mut manifest);
        self.set_manifest(&manifest);
    }

    fn edit(&self, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let bytes = std::fs::read(self.path(file)).unwrap();
        std::fs::write(self.path(file), change(bytes)).unwrap();
    }

    fn exchange(&self, a: &str, b: &str) {
        let (x, y) = (std::fs::read(self.path(a)).unwrap(), std::fs::read(self.path(b)).unwrap());
        std::fs::write(self.path(a), y).unwrap();
        std::fs::write(self.path(b), x).unwrap();
    }

    /// Writes the hashes of the files as they are now into the manifest.
    fn rehash(&self) {
        self.change_manifest(|manifest| {
            for (name, hash) in manifest["files"].as_object_mut().unwrap() {
                let digest = Sha256::digest(std::fs::read(self.path(name)).unwrap());
                *hash = digest.iter().map(|b| format!("{b:02x}")).collect::<String>().into();
            }
        });
    }

    fn check(&self) -> Result<(Summary, Vec<Finding>), String> {
        let mut findings = Vec::new();
        let summary = check(self.0.path(), &LoadOptions::default(), &mut |f| findings.push(f), &mut |_| {});
        summary.map(|summary| (summary, findings)).map_err(|e| e.to_string())
    }

    fn refusal(&self) -> String {
        self.check().unwrap_err()
    }

    /// Refused by the loader too, as the node uses it, with the same words.
    fn refusal_of_both(&self) -> String {
        let of_check = self.refusal();
        let of_load = OnnxWorldModel::load(self.0.path(), &LoadOptions::default(), &mut |_| {}).unwrap_err();
        // Of several tensors that do not fit, ONNX Runtime names any.
        let ours = |text: &str| text.split("Deserialize tensor").next().map(str::to_owned);
        assert_eq!(ours(&of_load.to_string()), ours(&of_check));
        of_check
    }
}

fn assert_names(message: &str, names: &[&str]) {
    assert!(names.iter().all(|name| message.contains(name)), "{names:?}: {message}");
}

/// (dotted path, value) of everything in a manifest that is no map and no list with entries.
fn leaves(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(&format!("{prefix}/{key}"), value, found)),
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(i, value)| leaves(&format!("{prefix}/{i}"), value, found));
        }
        leaf => found.push((prefix.to_owned(), leaf.clone())),
    }
}

#[test]
fn the_models_of_the_repository_are_in_order() {
    for (model, graphs) in [(DEMO, 5), (HALF, 2), (GOLDEN, 7)] {
        let copy = Copy::of(model);
        std::fs::write(copy.path("notes.txt"), "x").unwrap();
        let (summary, findings) = copy.check().unwrap();
        assert_eq!((summary.graphs, summary.files), (graphs, graphs + 2));
        assert!(summary.largest_difference <= summary.accepted_difference);
        let extra: Vec<_> = findings.iter().filter(|f| matches!(f, Finding::Extra { .. })).collect();
        assert_eq!(extra, [&Finding::Extra { file: "notes.txt".to_owned() }]);
        let outputs = findings.iter().filter(|f| matches!(f, Finding::Output { .. })).count();
        assert_eq!(outputs, 1 + 3 * (graphs - 1));
    }
}

#[test]
fn a_changed_file_is_named_with_its_hash() {
    let files: Vec<String> = Copy::of(DEMO).manifest()["files"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(files.len(), 7);
    for file in &files {
        let copy = Copy::of(DEMO);
        copy.edit(file, |bytes| bytes[..bytes.len() / 2].to_vec());
        assert_names(&copy.refusal_of_both(), &[&format!("/{file} has SHA-256"), "`files`", "manifest.yaml"]);
        std::fs::remove_file(copy.path(file)).unwrap();
        assert_names(&copy.refusal_of_both(), &[&format!("/{file} cannot be read")]);
    }
    let copy = Copy::of(DEMO);
    copy.exchange(PREDICTOR_GRAPHS[0], PREDICTOR_GRAPHS[1]);
    assert_names(&copy.refusal_of_both(), &["rollout_t1_h1.onnx has SHA-256", "manifest.yaml"]);
}

#[test]
fn a_truncated_file_is_found_out_though_its_hash_was_updated() {
    for (file, graphs) in [
        ("encoder.onnx", &["encoder.onnx"][..]),
        ("rollout_t1_h1.onnx", &["rollout_t1_h1.onnx"]),
        ("encoder.weights", &["encoder.onnx"]),
        ("predictor.weights", &PREDICTOR_GRAPHS),
    ] {
        for part in [0, 1, 2, 3] {
            let copy = Copy::of(DEMO);
            copy.edit(file, |bytes| bytes[..bytes.len() * part / 4].to_vec());
            copy.rehash();
            let message = copy.refusal_of_both();
            assert!(graphs.iter().any(|graph| message.contains(graph)), "{file} {part}/4: {message}");
        }
    }
}

#[test]
fn exchanged_files_are_found_out_though_their_hashes_were_updated() {
    for (a, b, names) in [
        (
            "rollout_t1_h1.onnx",
            "rollout_t1_h2.onnx",
            &["manifest.yaml", "`rollouts[0].horizon`", "rollout_t1_h1.onnx"][..],
        ),
        ("encoder.onnx", "rollout_t1_h1.onnx", &["manifest.yaml", "`encoder.weights`", "encoder.onnx"]),
        ("encoder.weights", "predictor.weights", &["encoder.onnx"]),
    ] {
        let copy = Copy::of(DEMO);
        copy.exchange(a, b);
        copy.rehash();
        assert_names(&copy.refusal_of_both(), names);
    }
    // Weights of another checkpoint with the same shapes: nothing but the sums can tell.
    let copy = Copy::of(DEMO);
    copy.edit("predictor.weights", |bytes| {
        let numbers = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        numbers.enumerate().flat_map(|(i, v)| (if i % 5 == 0 { 0.9 * v } else { v }).to_le_bytes()).collect()
    });
    copy.rehash();
    assert_names(&copy.refusal(), &["rollout_t1_h1.onnx", "output `energy_l1`", "checks.rollout_t1_h1.onnx.energy_l1"]);
}

#[test]
fn re_ordered_weights_are_found_out_by_graph_and_output() {
    for model in [DEMO, HALF] {
        for (file, graph, output) in
            [("encoder.weights", "encoder.onnx", "latents"), ("predictor.weights", "rollout_t1_h1.onnx", "energy_l1")]
        {
            let copy = Copy::of(model);
            // Tensors start at multiples of 64 bytes.
            copy.edit(file, |bytes| {
                let (blocks, rest) = bytes.as_chunks::<64>();
                blocks.iter().rev().flatten().chain(rest).copied().collect()
            });
            copy.rehash();
            let message = copy.refusal();
            assert_names(&message, &["manifest.yaml", graph, &format!("output `{output}`")]);
            assert_names(&message, &[&format!("`checks.{graph}.{output}.")]);
        }
    }
}

#[test]
fn sums_may_differ_by_as_much_as_another_machine_makes_them() {
    for (model, inside, outside) in [(DEMO, 9e-4, 1.1e-3), (HALF, 2.9e-2, 3.1e-2)] {
        let copy = Copy::of(model);
        for (part, difference, accepted) in [
            ("mean_abs", inside, true),
            ("projection", -inside, true),
            ("mean_abs", -outside, false),
            ("projection", outside, false),
        ] {
            let good = copy.manifest();
            copy.change_manifest(|manifest| {
                let sum = &mut manifest["checks"]["encoder.onnx"]["latents"][part];
                *sum = json!(sum.as_f64().unwrap() + difference);
            });
            match copy.check() {
                Ok((summary, _)) => assert!(accepted && (summary.largest_difference - inside).abs() < 1e-5),
                Err(message) => {
                    assert!(!accepted, "{message}");
                    assert_names(
                        &message,
                        &["manifest.yaml", "encoder.onnx", &format!("checks.encoder.onnx.latents.{part}")],
                    );
                }
            }
            copy.set_manifest(&good);
        }
    }
}

#[test]
fn weights_that_are_no_numbers_are_found_out() {
    let copy = Copy::of(DEMO);
    copy.edit("encoder.weights", |bytes| vec![0xff; bytes.len()]);
    copy.rehash();
    assert_names(&copy.refusal(), &["encoder.onnx", "output `latents`", "found NaN"]);
}

#[test]
fn every_field_of_the_manifest_is_noticed_when_it_is_wrong() {
    // What says where the model comes from, and has no counterpart in the files.
    let free = ["/name", "/exporter_version", "/license", "/checkpoint_sha256", "/training"];
    let copy = Copy::of(DEMO);
    let good = copy.manifest();
    let mut fields = Vec::new();
    leaves("", &good, &mut fields);
    let mut noticed = 0;
    for (pointer, value) in fields {
        if free.iter().any(|free| pointer.starts_with(free)) {
            continue;
        }
        let mut manifest = good.clone();
        *manifest.pointer_mut(&pointer).unwrap() = match value {
            Value::Number(number) if number.is_u64() => json!(2 * number.as_u64().unwrap()),
            Value::Number(number) => json!(2.0 * number.as_f64().unwrap()),
            Value::String(text) => json!(format!("{text}x")),
            Value::Bool(on) => json!(!on),
            Value::Array(_) => json!([8]),
            other => panic!("{pointer}: {other}"),
        };
        copy.set_manifest(&manifest);
        let message = copy.refusal();
        // The last name that is no index; `architecture/depth` → `depth`.
        let name = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
        // With half the time steps, the longest roll-out is the first that is impossible.
        let name = if name == "tubelet_size" { "`rollouts[3].context`" } else { name };
        assert_names(&message, &["manifest.yaml", name]);
        noticed += 1;
    }
    assert!(noticed > 60, "{noticed}");

    let mut manifest = good.clone();
    manifest["name"] = json!("other");
    manifest["license"] = json!("other");
    manifest["checkpoint_sha256"] = Value::Null;
    manifest["training"] = json!({"data": "none: random weights, seed 1"});
    copy.set_manifest(&manifest);
    assert_eq!(copy.check().unwrap().0.model, "other");
}

#[test]
fn a_missing_or_misspelt_field_of_the_manifest_is_named() {
    let copy = Copy::of(DEMO);
    let good = copy.manifest();
    let optional = ["checkpoint_sha256", "training"];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for (table, keys) in [("", names(&good)), ("/architecture", names(&good["architecture"]))] {
        for key in keys {
            for misspelt in [false, true] {
                let mut manifest = good.clone();
                let entries = manifest.pointer_mut(table).unwrap().as_object_mut().unwrap();
                let value = entries.remove(&key).unwrap();
                if misspelt {
                    entries.insert(format!("{key}_"), value);
                } else if optional.contains(&key.as_str()) {
                    continue;
                }
                copy.set_manifest(&manifest);
                assert_names(&copy.refusal_of_both(), &["manifest.yaml", &key]);
            }
        }
    }
}

#[test]
fn a_field_that_contradicts_a_graph_is_named_with_manifest_and_graph() {
    let copy = Copy::of(GOLDEN);
    let good = copy.manifest();
    type Change = fn(&mut Value);
    let cases: [(&str, &str, Change); 9] = [
        ("precision", "encoder.onnx", |m| m["precision"] = json!("fp16")),
        ("resize_filter", "encoder.onnx", |m| m["resize_filter"] = json!("bilinear_antialias")),
        ("rate_hz", "encoder.onnx", |m| m["rate_hz"] = json!(5.0)),
        ("max_step_m", "encoder.onnx", |m| m["max_step_m"] = json!(0.05)),
        ("architecture.depth", "encoder.onnx", |m| m["architecture"]["depth"] = json!(4)),
        ("architecture.image_size", "encoder.onnx", |m| {
            m["image_size"] = json!(32);
            m["tokens"] = json!(4);
            m["architecture"]["image_size"] = json!(32);
        }),
        ("architecture.embed_dim", "encoder.onnx", |m| {
            m["latent_dim"] = json!(48);
            m["architecture"]["embed_dim"] = json!(48);
        }),
        ("rollouts[0].context", "rollout_t1_h1.onnx", |m| m["rollouts"][0]["context"] = json!(4)),
        ("rollouts[0].horizon", "rollout_t1_h1.onnx", |m| m["rollouts"][0]["horizon"] = json!(4)),
    ];
    for (field, file, change) in cases {
        let mut manifest = good.clone();
        change(&mut manifest);
        copy.set_manifest(&manifest);
        assert_names(&copy.refusal_of_both(), &["manifest.yaml", &format!("`{field}`"), file]);
    }
    // The order of the list says nothing.
    copy.change_manifest(|manifest| {
        *manifest = good;
        manifest["rollouts"].as_array_mut().unwrap().reverse();
    });
    copy.check().unwrap();
}

#[test]
fn a_graph_with_other_inputs_or_outputs_is_named_with_the_tensor() {
    for (file, tensors) in [
        ("encoder.onnx", &["frames", "latents"][..]),
        ("rollout_t2_h1.onnx", &["context", "context_states", "context_actions", "actions", "states", "goal"]),
        ("rollout_t3_h2.onnx", &["energy_l1", "energy_l2", "final"]),
    ] {
        for tensor in tensors {
            let copy = Copy::of(GOLDEN);
            // A name is written after its length; renamed everywhere, the graph is as good as before.
            copy.edit(file, |mut bytes| {
                let written = [&[tensor.len() as u8], tensor.as_bytes()].concat();
                let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&written)).collect();
                assert!(places.len() >= if tensor.starts_with("energy") || *tensor == "latents" { 2 } else { 1 });
                places.iter().for_each(|at| bytes[at + 1] = b'X');
                bytes
            });
            copy.rehash();
            assert_names(&copy.refusal_of_both(), &[&format!("/{file}"), &format!("`{tensor}`")]);
        }
    }
}

#[test]
fn a_graph_of_another_exporter_is_named() {
    let copy = Copy::of(DEMO);
    copy.edit("rollout_t1_h2.onnx", |mut bytes| {
        let key = b"\x0dvjepa_planner";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
        bytes[at + 1] = b'X';
        bytes
    });
    copy.rehash();
    assert_names(&copy.refusal_of_both(), &["rollout_t1_h2.onnx", "metadata `vjepa_planner` is missing", "export"]);
    let copy = Copy::of(DEMO);
    std::fs::write(copy.path("encoder.onnx"), "not ONNX").unwrap();
    copy.rehash();
    assert_names(&copy.refusal_of_both(), &["encoder.onnx"]);
}
