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
fn a_camera_of_the_user_s_has_the_defaults_of_the_planner_s() {
    let config = with_file(NOTHING, &[("cameras.wrist.topic", "/wrist/image_raw")]).unwrap().config().clone();
    let expected = CameraConfig { topic: "/wrist/image_raw".to_owned(), ..CameraConfig::default() };
    assert_eq!(config.cameras, BTreeMap::from([("wrist".to_owned(), expected)]));
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

/// Values that a parameter may have, and that it may not have, from numbers in 0..1.
mod drawn {
    use super::parameter::{Descriptor, ParameterType, ParameterValue as V, Range};

    /// A number in range, `at` 0 the least and 1 the greatest.
    fn double(descriptor: &Descriptor, at: f64) -> f64 {
        match descriptor.range {
            Some(Range::Double(low, high)) => {
                let (low, high) = (low.max(-1e9), high.min(1e9));
                (low + at * (high - low)).clamp(low, high)
            }
            _ => at,
        }
    }

    fn integer(descriptor: &Descriptor, at: f64) -> i64 {
        match descriptor.range {
            Some(Range::Integer(low, high)) => {
                (low as f64 + at * (high as f64 - low as f64)).round().clamp(low as f64, high as f64) as i64
            }
            _ => (at * 1e6) as i64,
        }
    }

    fn text(descriptor: &Descriptor, at: f64) -> String {
        let last = descriptor.choices.len().saturating_sub(1);
        match descriptor.choices.get((at * last as f64).round() as usize) {
            Some(choice) => (*choice).to_owned(),
            None if descriptor.name.ends_with("pinned") => format!("dz={at}"),
            None => format!("text {at}"),
        }
    }

    /// A value in range.
    pub fn inside(descriptor: &Descriptor, at: f64) -> V {
        match descriptor.value_type {
            ParameterType::Bool => V::Bool(at > 0.5),
            ParameterType::Integer => V::Integer(integer(descriptor, at)),
            ParameterType::Double => V::Double(double(descriptor, at)),
            ParameterType::String => V::String(text(descriptor, at)),
            ParameterType::DoubleArray => V::DoubleArray(vec![double(descriptor, at); descriptor.length.unwrap_or(7)]),
            ParameterType::StringArray => V::StringArray(vec![text(descriptor, at)]),
            other => unreachable!("no parameter is of type {other}"),
        }
    }

    /// Values out of range, or of another type.
    pub fn outside(descriptor: &Descriptor, at: f64) -> Vec<V> {
        let mut all = vec![V::NotSet, V::BoolArray(vec![true])];
        match (descriptor.value_type, descriptor.range) {
            (ParameterType::Integer, Some(Range::Integer(low, high))) => {
                all.extend(low.checked_sub(1 + (at * 1e3) as i64).map(V::Integer));
                all.extend(high.checked_add(1 + (at * 1e3) as i64).map(V::Integer));
            }
            (ParameterType::Double, Some(Range::Double(low, high))) => {
                all.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(V::Double));
                all.extend([low - 1e-3 - at, high + 1e-3 + at].map(V::Double).into_iter().filter(|_| high < 1e12));
            }
            (ParameterType::DoubleArray, _) => all.push(V::DoubleArray(vec![f64::NAN; descriptor.length.unwrap_or(1)])),
            (ParameterType::String, _) if !descriptor.choices.is_empty() => all.push(V::String("nonsense".into())),
            (ParameterType::StringArray, _) if !descriptor.choices.is_empty() => {
                all.push(V::StringArray(vec!["nonsense".into()]));
            }
            _ => {}
        }
        if descriptor.spec.not_empty && descriptor.value_type == ParameterType::String {
            all.push(V::String(String::new()));
        }
        all.retain(|value| *value == V::NotSet || !descriptor.spec.is_none(value));
        all
    }
}

/// Parameters that have to fit others, so that a value in range may be refused still.
fn is_related(name: &str) -> bool {
    let related = [
        "topk",
        "samples",
        "min_m",
        "max_m",
        "sample_period_s",
        "min_duration_s",
        "max_duration_s",
        "fallback_samples",
        "slow_from",
        "stop_at",
        // A region of the picture, and quarter turns.
        "x",
        "y",
        "width",
        "height",
        "rotation_deg",
        // Controls of a camera are name=value.
        "controls",
        // Six numbers or none.
        "base_from_camera",
    ];
    related.contains(&name.rsplit('.').next().unwrap_or_default())
}

fn parameter_at(index: usize) -> parameter::Descriptor {
    let table = parameter::Table::of::<Config>();
    let all: Vec<_> = table.entries().iter().filter(|d| !d.is_pattern()).collect();
    all[index % all.len()].clone()
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_value_in_range_is_taken_and_read_back_and_one_outside_is_refused_by_name(
        index in 0_usize..1000, at in 0.0..=1.0_f64
    ) {
        let descriptor = parameter_at(index);
        let name = descriptor.name.as_str();
        let value = drawn::inside(&descriptor, at);
        let load = |value: &parameter::ParameterValue| {
            Settings::load("/n", &[shipped("planner.yaml")], &[(name.to_owned(), value.to_string())])
        };
        match load(&value) {
            Ok(settings) => proptest::prop_assert_eq!(&settings.values()[name], &value),
            Err(error) => proptest::prop_assert!(is_related(name), "{} := {}: {}", name, value, error),
        }
        for value in drawn::outside(&descriptor, at) {
            let error = load(&value).unwrap_err().to_string();
            proptest::prop_assert!(error.contains(&format!("parameter {name} ")), "{} := {}: {}", name, value, error);
        }
    }

    #[test]
    fn while_the_node_runs_only_run_time_parameters_change_and_all_or_none(
        index in 0_usize..1000, other in 0_usize..1000, at in 0.0..=1.0_f64
    ) {
        let before = reference::shipped().unwrap();
        let (one, two) = (parameter_at(index), parameter_at(other));
        let change = |d: &parameter::Descriptor| (d.name.clone(), drawn::inside(d, at));
        match before.set_all(&[change(&one)]) {
            Ok(after) => {
                proptest::prop_assert!(!one.is_read_only());
                proptest::prop_assert_eq!(&after.values()[&one.name], &change(&one).1);
                let changed = after.values().iter().filter(|(name, value)| before.values()[*name] != **value).count();
                proptest::prop_assert!(changed <= 1);
            }
            Err(error) if one.is_read_only() => proptest::prop_assert!(error.problem.contains("read-only")),
            Err(error) => proptest::prop_assert!(is_related(&one.name), "{}", error),
        }
        for value in drawn::outside(&two, at) {
            let error = before.set_all(&[change(&one), (two.name.clone(), value)]).unwrap_err();
            proptest::prop_assert!(error.name == two.name || one.is_read_only(), "{}", error);
        }
        let error = before.set_all(&[("no.such".to_owned(), change(&one).1)]).unwrap_err();
        proptest::prop_assert!(error.problem.contains("not declared"));
    }
}
