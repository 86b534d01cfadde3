//! The command `vjepa-planner` on the demo's model. Nothing here depends on how fast the machine is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

use std::path::Path;
use std::process::Command;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use vjepa_planner::camera::framing::{Framing, Roi, Rotation};
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter, RgbView};

/// Exit status, standard output and standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vjepa-planner"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn good(arguments: &[&str]) -> String {
    let (status, out, err) = run(arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {out}{err}");
    out
}

fn refusal(arguments: &[&str], words: &[&str]) {
    let (status, _, err) = run(arguments);
    assert!(matches!(status, Some(1 | 2)), "{arguments:?}: {status:?} {err}");
    assert!(words.iter().all(|word| err.contains(word)), "{arguments:?}, {words:?}: {err}");
}

#[test]
fn check_says_that_the_demo_is_good() {
    let text = good(&["check", "--model", "models/demo"]);
    assert!(text.lines().last().unwrap().starts_with("good: demo"), "{text}");
    assert!(text.contains("encoder.weights") && text.contains("note    checkpoint.pt"), "{text}");
    let report: Value = serde_json::from_str(&good(&["check", "--model", "models/demo", "--json"])).unwrap();
    assert_eq!((&report["good"], &report["graphs"]), (&Value::from(true), &Value::from(5)));
    assert!(report["largest_difference"].as_f64().unwrap() <= report["accepted_difference"].as_f64().unwrap());
    let outputs = report["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == "output");
    assert_eq!(outputs.count(), 13);
}

#[test]
fn check_names_what_is_wrong_and_fails() {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(copy.path().join("encoder.weights"), "x").unwrap();
    let model = copy.path().to_str().unwrap();
    refusal(&["check", "--model", model], &["error: ", "encoder.weights", "manifest.yaml"]);
    let (status, out, _) = run(&["check", "--model", model, "--json"]);
    assert_eq!((status, out.as_str()), (Some(1), ""));
}

/// Asserts that every number below `value` is finite and above zero; counts them.
fn positive(path: &str, value: &Value) -> usize {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            assert!(number.is_finite() && number > 0.0, "{path} is {number}");
            1
        }
        Value::Object(map) => map.iter().map(|(key, value)| positive(&format!("{path}.{key}"), value)).sum(),
        Value::Array(list) => list.iter().map(|value| positive(path, value)).sum(),
        _ => 0,
    }
}

#[test]
fn bench_reports_every_figure() {
    let arguments = ["bench", "--model", "models/demo", "--runs", "3", "--batch", "1,4", "--threads", "2", "--json"];
    let report: Value = serde_json::from_str(&good(&arguments)).unwrap();
    assert!(positive("report", &report) > 40, "{report}");
    for key in ["model", "precision", "checkpoint_sha256", "provider", "cpu", "onnxruntime_version", "version"] {
        assert!(report[key].is_string(), "{key}: {}", report[key]);
    }
    assert_eq!((&report["threads"], &report["fallback_reason"]), (&Value::from(2), &Value::Null));
    assert_eq!((&report["context_frames"], &report["horizon_steps"]), (&Value::from(1), &Value::from(1)));
    let batches: Vec<_> = report["rollout"].as_array().unwrap().iter().map(|row| row["batch"].clone()).collect();
    assert_eq!(batches, [1, 4]);
    for row in report["rollout"].as_array().unwrap().iter().chain([&report["encode"]]) {
        assert_eq!(row["runs"], 3);
    }
    let planned: Vec<_> = report["planning"].as_array().unwrap().iter().map(|row| row["optimizer"].clone()).collect();
    assert_eq!(planned, ["response_surface", "cem"]);
    assert!(report["set_up"]["total_s"].as_f64() > report["set_up"]["files_s"].as_f64());
    assert_eq!(report["set_up"]["graphs"].as_array().unwrap().len(), 2);
}

#[test]
fn bench_prints_tables_with_a_word_on_few_runs() {
    let text = good(&["bench", "--model", "models/demo", "--runs", "2", "--batch", "3", "--horizon", "2"]);
    for word in ["ONNX Runtime", "encode", "batch 3", "GFLOP/s", "response_surface", "cem", "peak memory", "horizon 2"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.contains("* fewer than 100 runs"), "{text}");
    let text = good(&["bench", "--model", "models/demo", "--runs", "1", "--batch", "1", "--no-planning"]);
    assert!(!text.contains("response_surface"), "{text}");
}

/// Start and goal pictures of two pairs, in a file; without the tensor `missing`.
fn pairs_file(folder: &Path, missing: &str) -> String {
    let frames: [Vec<u8>; 2] = [0, 1].map(|k| (0..2 * 48 * 48 * 3).map(|i| ((i * (7 + k)) % 251) as u8).collect());
    let states = [0.45_f32, 0.05, 0.1, 3.1, 0.0, 0.0, 0.3].map(f32::to_le_bytes).concat().repeat(2);
    let steps = vec![1, 4];
    let [picture, state, one] = [vec![2, 48, 48, 3], vec![2, 7], vec![2]];
    let tensors = [
        ("start_frames", Dtype::U8, &picture, &frames[0]),
        ("goal_frames", Dtype::U8, &picture, &frames[1]),
        ("start_states", Dtype::F32, &state, &states),
        ("goal_states", Dtype::F32, &state, &states),
        ("steps", Dtype::U8, &one, &steps),
    ]
    .into_iter()
    .filter(|(name, ..)| *name != missing)
    .map(|(name, dtype, shape, data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    let path = folder.join("pairs.safetensors");
    let metadata = [("format".to_owned(), "1".to_owned())].into();
    std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn bench_planners_compares_every_optimizer_with_the_papers_search() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = pairs_file(folder.path(), "");
    let kept = folder.path().join("reference.json");
    let common = ["bench-planners", "--model", "models/demo", "--pairs", &pairs, "--horizon", "1", "--energy", "l1"];
    let more = ["--no-ladder", "--second-seed", "1", "--reference", kept.to_str().unwrap()];
    let report: Value = serde_json::from_str(&good(&[&common[..], &more, &["--json"]].concat())).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["optimizer"], &rows[0]["calls_mean"]), (&Value::from("reference"), &Value::from(8001.0)));
    assert_eq!(rows[0]["against_reference"]["gap_max_percent"], 0.0);
    assert_eq!((&rows[1]["budget"], &rows[1]["pairs"]), (&Value::from("other seed"), &Value::from(1)));
    for row in &rows[2..] {
        let gaps = row["against_reference"]["gaps_percent"].as_array().unwrap();
        assert!(gaps.len() == 2 && gaps.iter().all(Value::is_number), "{row}");
        assert!(row["plan_p50_ms"].as_f64().unwrap() > 0.0 && row["budget"] == "default", "{row}");
    }
    assert_eq!(report["fewest"].as_array().unwrap().len(), rows.len() - 1);

    // The answers are kept: the same ones with their times come again, and as text.
    let before = std::fs::read(&kept).unwrap();
    let text = good(&[&common[..], &more, &["--optimizer", "response_surface"]].concat());
    assert!(before == std::fs::read(&kept).unwrap());
    for word in ["horizon 1, energy l1", "other seed", "response_surface", "gap mean", "calls for a mean gap of 1 %"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("  cem "), "{text}");

    // With nothing to compare with, every budget is quick.
    let saved = folder.path().join("new/figures.json");
    let more = ["--optimizer", "response_surface", "--limit", "1", "--no-reference"];
    good(&[&common[..], &more, &["--save", saved.to_str().unwrap()]].concat());
    let report: Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() > 5 && rows.iter().all(|row| row["against_reference"].is_null()), "{report}");

    let trace: Value = serde_json::from_str(&good(&[&common[..], &["--trace", "1"]].concat())).unwrap();
    let search = &trace["searches"][0];
    let asked: usize =
        search["batches"].as_array().unwrap().iter().map(|b| b["energies"].as_array().unwrap().len()).sum();
    assert_eq!(search["calls"], asked);
    assert_eq!(trace["grid"]["energy"].as_array().unwrap().len(), trace["grid"]["dz_m"].as_array().unwrap().len());
}

#[test]
fn bench_planners_names_file_and_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = pairs_file(folder.path(), "goal_states");
    let with = |pairs: &str, more: &[&str], words: &[&str]| {
        refusal(&[&["bench-planners", "--model", "models/demo", "--pairs", pairs], more].concat(), words);
    };
    with(&pairs, &[], &["pairs.safetensors", "`goal_states`", "missing"]);
    with("nowhere.safetensors", &[], &["nowhere.safetensors", "cannot be read"]);
    with("models/demo/manifest.yaml", &[], &["manifest.yaml", "no safetensors file"]);
    let pairs = pairs_file(folder.path(), "");
    with(&pairs, &["--trace", "2"], &["pairs.safetensors", "--trace 2", "2 pairs"]);
    with(&pairs, &["--horizon", "3"], &["demo", "horizon 3"]);
    with(&pairs, &["--optimizer", "magic"], &["--optimizer", "magic", "response_surface"]);
    with(&pairs, &["--energy", "l3"], &["--energy", "`l3`", "`l2`"]);
    with(&pairs, &["--reference", "README.md"], &["README.md", "reference"]);
}

#[test]
fn what_cannot_be_measured_is_said() {
    refusal(&["bench", "--model", "nowhere"], &["nowhere/manifest.yaml", "cannot be read"]);
    refusal(&["bench", "--model", "models/demo", "--context", "2"], &["demo", "--context 2", "(1, 2)"]);
    refusal(&["bench", "--model", "models/demo", "--batch", "0"], &["--batch", "1..100000"]);
    refusal(&["bench", "--model", "models/demo", "--threads", "0"], &["intra_op_threads", "0"]);
    refusal(&["check", "--model", "models/demo", "--provider", "gpu"], &["--provider", "`cuda`"]);
    refusal(&["check"], &["--model"]);
}

#[test]
fn a_provider_that_cannot_be_had_is_an_error_or_falls_back() {
    if Path::new("/proc/driver/nvidia").exists() {
        println!("skipped: there is a GPU");
        return;
    }
    let arguments = ["check", "--model", "models/demo", "--provider", "cuda"];
    refusal(&arguments, &["error: ", "`cuda`"]);
    let text = good(&[&arguments[..], &["--fallback", "cpu"]].concat());
    assert!(text.contains("note    on cpu because: ") && text.contains("on cpu; largest"), "{text}");
}

/// A picture in which every pixel is another, as `folder/0.png`.
fn picture(folder: &Path) -> image::RgbImage {
    let scene =
        image::RgbImage::from_fn(60, 44, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, ((x * 7) ^ (y * 3)) as u8]));
    scene.save(folder.join("0.png")).unwrap();
    scene
}

/// What the preprocessor makes of it, rounded.
fn model_picture(scene: &image::RgbImage, size: usize, framing: Framing) -> Vec<u8> {
    let mut preprocessor = Preprocessor::new(size, ResizeFilter::Bilinear).with_framing(framing);
    let mut input = vec![0.0; preprocessor.output_len()];
    let view = RgbView { width: scene.width(), height: scene.height(), data: scene.as_raw() };
    preprocessor.run(view, &mut input).unwrap();
    input.iter().map(|value| value.round() as u8).collect()
}

#[test]
fn view_writes_the_picture_that_the_model_sees() {
    let folder = tempfile::tempdir().unwrap();
    let (pictures, output) = (folder.path().join("pictures"), folder.path().join("view.png"));
    std::fs::create_dir(&pictures).unwrap();
    let scene = picture(&pictures);
    let (pictures, output) = (pictures.to_str().unwrap(), output.to_str().unwrap());
    let written = || {
        let written = image::open(output).unwrap().into_rgb8();
        assert_eq!(written.dimensions(), (32, 32));
        written.into_raw()
    };
    let text = good(&["view", "--camera", pictures, "--size", "32", "-o", output]);
    assert!(text.contains("32x32 px of 60x44 px"), "{text}");
    assert_eq!(written(), model_picture(&scene, 32, Framing::default()));

    // The same from a source of frames, by the settings of the node.
    let parameters = [
        "camera.source:=replay",
        &format!("camera.replay.path:={pictures}"),
        "camera.replay.speed:=0.0",
        "camera.roi.x:=0.25",
        "camera.roi.width:=0.5",
        "camera.roi.height:=0.75",
        "camera.rotation_deg:=90",
    ];
    let mut arguments = vec!["view", "--size", "32", "--settle", "0", "-o", output];
    arguments.extend(parameters.iter().flat_map(|parameter| ["-p", parameter]));
    let text = good(&arguments);
    assert!(text.contains("replay"), "{text}");
    let roi = Roi { x: 0.25, width: 0.5, height: 0.75, ..Roi::default() };
    assert_eq!(written(), model_picture(&scene, 32, Framing { roi, rotation: Rotation::Right }));
}

#[test]
fn view_says_why_there_is_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("view.png");
    let output = output.to_str().unwrap();
    let view = |arguments: &[&str], words: &[&str]| {
        refusal(&[&["view", "--size", "32", "-o", output], arguments].concat(), words);
        assert!(!Path::new(output).exists());
    };
    view(&["--camera", folder.path().to_str().unwrap()], &["no PNG or JPEG"]);
    view(&["-p", "camera.source:=replay", "-p", "camera.replay.path:=/nowhere.mcap"], &["/nowhere.mcap"]);
    view(&["-p", "camera.rotation_deg:=45"], &["rotation_deg", "90"]);
    #[cfg(not(feature = "v4l"))]
    view(&["--camera", "/dev/video0"], &["v4l2", "--features v4l", "it has ros"]);
    #[cfg(feature = "v4l")]
    view(&["--camera", "/dev/video-nowhere"], &["/dev/video-nowhere", "no such device"]);
    #[cfg(not(feature = "gstreamer"))]
    view(&["--camera", "rtsp://127.0.0.1:1/live"], &["gstreamer", "--features gstreamer", "it has ros"]);
}

#[test]
fn cameras_says_what_this_build_has() {
    let (status, out, err) = run(&["cameras"]);
    assert!(out.starts_with("camera.source in this build: ros, ") && out.contains("replay"), "{out}");
    if cfg!(feature = "v4l") {
        assert_eq!(status, Some(0), "{err}");
    } else {
        assert_eq!(status, Some(1));
        assert!(err.contains("--features v4l") && err.contains("v4l2-ctl"), "{err}");
    }
}

#[test]
fn help_says_what_the_commands_do() {
    let text = good(&["--help"]);
    assert!(text.contains("check") && text.contains("bench") && text.contains("vjepa_ac.export"), "{text}");
    for command in ["check", "bench", "bench-planners"] {
        assert!(good(&[command, "--help"]).contains("--provider"));
    }
}

#[test]
fn parameters_prints_the_committed_file_and_page() {
    let committed = |file: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    assert_eq!(good(&["parameters", "--yaml"]), committed("config/planner.yaml"));
    assert_eq!(good(&["parameters", "--markdown"]), committed("docs/parameters.md"));
    refusal(&["parameters"], &["--yaml", "--markdown"]);
    refusal(&["parameters", "--yaml", "--markdown"], &["cannot be used with"]);
}
