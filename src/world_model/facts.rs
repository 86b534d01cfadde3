//! What an ONNX file says it was exported with, against the manifest.
//!
//! The exporter writes the facts that a graph's bytes alone do not show (resize filter, model rate, depth, …) into the
//! file's metadata. A manifest that was edited or put beside other files is found out by them.

use serde_json::{Map, Value, json};

use super::manifest::{GraphRole, ManifestError, ModelDirectory};

/// Key of the facts in an ONNX file's `metadata_props`; the value is JSON.
pub const KEY: &str = "vjepa_planner";

/// Compares the `metadata` of the graph `role`, if it has any, with the manifest.
///
/// # Errors
/// [`ManifestError::Facts`] when there are no facts, [`ManifestError::Fact`] with manifest, field and file for the first
/// that differs.
pub fn check(directory: &ModelDirectory, role: GraphRole, metadata: Option<&str>) -> Result<(), ManifestError> {
    let file = directory.path.join(directory.manifest.graph_file(role));
    let unusable = |reason: String| ManifestError::Facts { file: file.clone(), reason };
    let text = metadata.ok_or_else(|| unusable("is missing".to_owned()))?;
    let found: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| unusable(format!("is no JSON object: {e}")))?;
    let difference = first_difference("", &expected(directory, role), &found);
    let Some((path, value, found)) = difference else { return Ok(()) };
    let field = if matches!(path.as_str(), "context" | "horizon") { role.field(&path) } else { path };
    let text = |value: Option<Value>| value.map_or("nothing".to_owned(), |v| v.to_string());
    let (value, found) = (text(value), text(found));
    Err(ManifestError::Fact { manifest: directory.manifest_path(), field, value, file, found })
}

/// The facts that the manifest gives for a graph.
fn expected(directory: &ModelDirectory, role: GraphRole) -> Map<String, Value> {
    let m = &directory.manifest;
    let facts = json!({
        "format": m.format,
        "precision": m.precision,
        "image_size": m.image_size,
        "patch_size": m.patch_size,
        "tokens": m.tokens,
        "latent_dim": m.latent_dim,
        "resize_filter": m.resize_filter,
        "rate_hz": m.rate_hz,
        "max_step_m": m.max_step_m,
        "architecture": m.architecture,
    });
    let mut facts = if let Value::Object(facts) = facts { facts } else { Map::new() };
    if let GraphRole::Rollout(i) = role
        && let Some(rollout) = m.rollouts.get(i)
    {
        facts.insert("context".to_owned(), rollout.context.into());
        facts.insert("horizon".to_owned(), rollout.horizon.into());
    }
    facts
}

/// The first entry in which the two differ: its dotted name, and the value on either side.
fn first_difference(
    prefix: &str,
    expected: &Map<String, Value>,
    found: &Map<String, Value>,
) -> Option<(String, Option<Value>, Option<Value>)> {
    for (key, want) in expected {
        let name = format!("{prefix}{key}");
        match (want, found.get(key)) {
            (Value::Object(want), Some(Value::Object(found))) => {
                let difference = first_difference(&format!("{name}."), want, found);
                if difference.is_some() {
                    return difference;
                }
            }
            (want, Some(found)) if same(want, found) => {}
            (want, found) => return Some((name, Some(want.clone()), found.cloned())),
        }
    }
    let (key, extra) = found.iter().find(|(key, _)| !expected.contains_key(*key))?;
    Some((format!("{prefix}{key}"), None, Some(extra.clone())))
}

/// Equal, numbers also when one is written as 4 and the other as 4.0 or differs in the last digit.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::manifest::tests::good;
    use super::*;

    fn directory() -> ModelDirectory {
        ModelDirectory { path: PathBuf::from("models/test"), manifest: good() }
    }

    fn refusal(role: GraphRole, change: impl Fn(&mut Map<String, Value>)) -> String {
        let directory = directory();
        let mut facts = expected(&directory, role);
        change(&mut facts);
        check(&directory, role, Some(&Value::Object(facts).to_string())).unwrap_err().to_string()
    }

    #[test]
    fn facts_as_the_exporter_writes_them_are_accepted() {
        let text = r#"{"architecture": {"depth": 2, "embed_dim": 8, "eps": 1e-06, "image_size": 64, "mlp_ratio": 4.0,
            "num_frames": 4, "num_heads": 1, "patch_size": 16, "predictor_depth": 2, "predictor_embed_dim": 16,
            "predictor_mlp_ratio": 4, "predictor_num_heads": 2, "residual_prediction": false, "stem": "patch",
            "stem_channels": [], "tubelet_size": 2}, "format": 2, "image_size": 64, "latent_dim": 8,
            "max_step_m": 0.05, "patch_size": 16, "precision": "fp32", "rate_hz": 4.0,
            "resize_filter": "bilinear_antialias", "tokens": 16"#;
        check(&directory(), GraphRole::Encoder, Some(&format!("{text}}}"))).unwrap();
        let rollout = format!("{text}, \"context\": 1, \"horizon\": 1}}");
        check(&directory(), GraphRole::Rollout(0), Some(&rollout)).unwrap();
        let message = check(&directory(), GraphRole::Encoder, Some(&rollout)).unwrap_err().to_string();
        assert!(message.contains("encoder.context") && message.contains("encoder.onnx"), "{message}");
    }

    #[test]
    fn every_fact_that_differs_is_named_with_manifest_and_file() {
        let role = GraphRole::Rollout(0);
        let facts = expected(&directory(), role);
        let Some(Value::Object(sizes)) = facts.get("architecture") else { panic!("{facts:?}") };
        assert_eq!((facts.len(), sizes.len()), (12, 16));
        for key in facts.keys().filter(|key| *key != "architecture") {
            for (value, shown) in [(Some(json!(7.5)), "7.5"), (None, "nothing")] {
                let message = refusal(role, |facts| {
                    facts.remove(key);
                    facts.extend(value.clone().map(|v| (key.clone(), v)));
                });
                let field = if ["context", "horizon"].contains(&key.as_str()) { role.field(key) } else { key.clone() };
                let names = [format!("manifest.yaml: field `{field}` is"), "rollout_t1_h1.onnx".into(), shown.into()];
                assert!(names.iter().all(|name| message.contains(name)), "{key}: {message}");
            }
        }
        for key in sizes.keys() {
            let message = refusal(role, |facts| facts["architecture"][key] = json!("other"));
            assert!(message.contains(&format!("`architecture.{key}`")), "{key}: {message}");
        }
        let message = refusal(role, |facts| drop(facts.insert("frames".to_owned(), json!(3))));
        assert!(message.contains("`frames` is nothing") && message.contains('3'), "{message}");
    }

    #[test]
    fn a_file_without_facts_is_not_ours() {
        for (text, word) in [(None, "missing"), (Some("[1]"), "JSON object"), (Some("{"), "JSON object")] {
            let message = check(&directory(), GraphRole::Encoder, text).unwrap_err().to_string();
            assert!(message.contains("encoder.onnx") && message.contains(KEY) && message.contains(word), "{message}");
            assert!(message.contains("export the model again"), "{message}");
        }
    }
}
