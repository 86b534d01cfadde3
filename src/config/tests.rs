//! Files, overrides, and what is refused in them.

use std::path::{Path, PathBuf};

use super::*;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// The shipped file, then `text`, then overrides.
fn with_file(text: &str, overrides: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("params.yaml");
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<_> = overrides.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Settings::load("/lab/vjepa_planner", &[shipped("planner.yaml"), path], &overrides)
}

fn refusal(text: &str, overrides: &[(&str, &str)]) -> String {
    with_file(text, overrides).unwrap_err().to_string()
}

const NOTHING: &str = "/**: {ros__parameters: {}}";

#[test]
fn the_shipped_files_are_valid_and_only_the_demo_moves() {
    let load = |name| Settings::load("/vjepa_planner", &[shipped(name)], &[]).unwrap();
    assert_eq!(load("demo.yaml").config().mode, Mode::Active);
    assert_eq!(load("planner.yaml").config().mode, Mode::Shadow);
}

#[test]
fn nothing_is_assumed_about_the_arm() {
    let error = Settings::load("/vjepa_planner", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("parameter model has no default"), "{error}");
}

#[test]
fn the_node_s_own_section_goes_over_the_wildcard_and_overrides_go_over_both() {
    let text = "/lab/vjepa_planner:\n  ros__parameters: {planner: {seed: 2}}\n\
                /**:\n  ros__parameters: {planner.seed: 1, planner: {horizon: 2}, execution: {deadline_ms: 100}}\n\
                other:\n  ros__parameters: {rubbish: 1}\n";
    let settings = with_file(text, &[("planner.horizon", "3"), ("mode", "active")]).unwrap();
    let config = settings.config();
    assert_eq!((config.planner.seed, config.planner.horizon, config.execution.deadline_ms), (2, 3, 100.0));
    assert_eq!(config.mode, Mode::Active);
}

#[test]
fn an_unknown_name_is_told_with_its_place_and_the_nearest_known_one() {
    let error = refusal("/**:\n  ros__parameters:\n    planner:\n      horizonn: 2\n", &[]);
    assert!(error.contains("params.yaml:4:7: parameter planner.horizonn is not known"), "{error}");
    assert!(error.contains("did you mean planner.horizon?"), "{error}");
    let error = refusal(NOTHING, &[("deadline_ms", "2.0")]);
    assert!(error.contains("-p deadline_ms:=2.0") && error.contains("execution.deadline_ms?"), "{error}");
    let error = refusal(NOTHING, &[("completely.unrelated", "2.0")]);
    assert!(error.contains("is not known") && !error.contains("mean"), "{error}");
}

#[test]
fn a_wrong_type_names_the_parameter_and_both_types() {
    let error = refusal("/**:\n  ros__parameters: {planner: {horizon: soon}}\n", &[]);
    assert!(error.contains("params.yaml:2:31: parameter planner.horizon is of type integer"), "{error}");
    assert!(error.contains("soon, of type string"), "{error}");
    for (name, value) in
        [("planner.horizon", "1.0"), ("planner", "3"), ("camera.topic", "3"), ("planner.warm_start", "1")]
    {
        let error = refusal(NOTHING, &[(name, value)]);
        assert!(error.contains(&format!("parameter {name} ")), "{name}:={value} gave: {error}");
    }
}

#[test]
fn a_value_out_of_range_names_the_parameter() {
    for (name, value) in [
        ("execution.deadline_ms", "-1.0"),
        ("execution.deadline_ms", ".nan"),
        ("camera.topic", "\"\""),
        ("planner.optimizer", "magic"),
        ("planner.seed", "-1"),
        ("planner.action_space.coordinates", "[dx, y]"),
        ("planner.action_space.pinned", "[dx:0.1]"),
        ("safety.workspace.min_m", "[0.0, 0.0]"),
        ("inference.provider", "gpu"),
    ] {
        let error = refusal(NOTHING, &[(name, value)]);
        assert!(error.contains(&format!("-p {name}:={value}: parameter {name} ")), "{name}:={value} gave: {error}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_told_where_they_were_given() {
    let error = refusal("/**:\n  ros__parameters:\n    planner.optimizers.cem.topk: 500\n", &[]);
    assert!(error.contains("params.yaml:3:5: parameter planner.optimizers.cem.topk is 500"), "{error}");
    let error = refusal(NOTHING, &[("planner.optimizers.cem.samples", "5")]);
    assert!(error.contains("parameter planner.optimizers.cem.topk is 10"), "{error}");
}

#[test]
fn a_broken_file_names_itself_and_the_line() {
    let error = refusal("/**:\n  ros__parameters: {a: [1\n", &[]);
    assert!(error.contains("params.yaml") && error.contains("line"), "{error}");
    let error = refusal("planner: {horizon: 1}\n", &[]);
    assert!(error.contains("ros__parameters"), "{error}");
    let error = Settings::load("/n", &[PathBuf::from("/nowhere/p.yaml")], &[]).unwrap_err().to_string();
    assert!(error.contains("/nowhere/p.yaml"), "{error}");
}

#[test]
fn integers_do_for_doubles_and_optional_numbers_have_a_value_for_none() {
    let settings = with_file(
        NOTHING,
        &[
            ("safety.workspace.min_m", "[0, -1, 0.5]"),
            ("planner.action_space.max_step_m", "0"),
            ("planner.action_space.close_gripper_from", "1"),
            ("planner.action_space.pinned", "[dz=0.02]"),
            ("inference.fallback", "[]"),
        ],
    )
    .unwrap();
    let config = settings.config();
    assert_eq!(config.safety.workspace.min_m, [0.0, -1.0, 0.5]);
    assert_eq!(config.planner.action_space.max_step_m, None);
    assert_eq!(config.planner.action_space.close_gripper_from, Some(1));
    assert_eq!(config.planner.action_space.pinned.len(), 1);
    assert_eq!(settings.values()["planner.action_space.max_step_m"], parameter::ParameterValue::Double(0.0));
}

#[test]
fn names_of_joints_and_topics_are_the_user_s() {
    let text = "/**:\n  ros__parameters:\n    safety: {limits: {joints: {elbow: {jerk: 5.0}}}}\n\
                \x20   qos_overrides:\n      /camera/image_raw:\n        subscription: {reliability: reliable, depth: 2}\n";
    let settings = with_file(text, &[("qos_overrides./tf.publisher.history", "keep_last")]).unwrap();
    let config = settings.config();
    assert_eq!(config.safety.limits.joints["elbow"].jerk, Some(5.0));
    assert_eq!(config.safety.limits.joints["elbow"].acceleration, None);
    assert_eq!(config.safety.limits.joints["panda_joint1"].acceleration, Some(15.0));
    assert_eq!(config.qos_overrides["/camera/image_raw"].subscription.depth, Some(2));
    assert!(config.qos_overrides.contains_key("/tf"));
    let error = refusal(NOTHING, &[("safety.limits.joints.elbow.jerkk", "1.0")]);
    assert!(error.contains("is not known"), "{error}");
    let error = refusal(NOTHING, &[("qos_overrides./tf.publisher.history", "keep_all")]);
    assert!(error.contains("keep_last"), "{error}");
}

#[test]
fn every_parameter_is_described_and_says_when_it_may_change() {
    let table = parameter::Table::of::<Config>();
    for descriptor in table.entries() {
        assert!(!descriptor.description.is_empty(), "{}", descriptor.name);
        assert!(descriptor.spec.runtime.is_some(), "{}", descriptor.name);
        if let Some(default) = &descriptor.default {
            // A default may be what stands for "to be given", never out of range.
            descriptor.check(default).unwrap();
        }
    }
}

#[test]
fn a_configuration_written_to_values_reads_the_same() {
    use parameter::{Parameter as _, Spec, Values};
    let settings = with_file(NOTHING, &[]).unwrap();
    let mut values = Values::new();
    settings.config().write(&mut values, "", &Spec::default());
    assert_eq!(&values, settings.values());
    assert_eq!(&Config::read(&values, "", &Spec::default()).unwrap(), &**settings.config());
}

#[test]
fn the_default_file_and_the_reference_page_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let yaml = reference::yaml(&reference::shipped().unwrap());
    for (file, text, option) in
        [("config/planner.yaml", yaml, "yaml"), ("docs/parameters.md", reference::markdown(), "markdown")]
    {
        let committed = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(committed == text, "{file} is out of date: vjepa-planner parameters --{option} > {file}");
    }
}

#[test]
fn the_default_file_says_the_same_as_what_it_was_made_from() {
    let shipped_values = reference::shipped().unwrap();
    let settings = Settings::load("/vjepa_planner", &[shipped("planner.yaml")], &[]).unwrap();
    assert_eq!(settings.values(), shipped_values.values());
}
