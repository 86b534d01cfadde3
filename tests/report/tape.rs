//! Recordings for the tests: plausible steps of an arm that picks something up, with pictures, written as MCAP.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use mcap::records::{MessageHeader, Metadata};
use mcap::{Attachment, Compression, WriteOptions, Writer};
use nalgebra::Vector3;
use vjepa_planner::clock::RosTime;
use vjepa_planner::ros::cdr;
use vjepa_planner::ros::messages::{
    CameraInfo, CompressedImage, DiagnosticStatus, Header, KeyValue, Message, StringMessage,
};
use vjepa_planner::shadow::{
    Alarm, AlarmKind, Difference, ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep, Surprise,
};

/// Time between steps, ns.
pub const STEP_NS: i64 = 250_000_000;
/// When recordings begin, ROS time, ns.
pub const BEGIN_NS: i64 = 1_795_305_600_000_000_000;
/// Where the camera of the recordings is.
pub const BASE_FROM_CAMERA: [f64; 6] = [1.5, 0.0, 0.75, -2.0, 0.0, PI / 2.0];
/// Size of its pictures, pixels.
pub const SIZE: (u32, u32) = (640, 480);
/// Its focal length, pixels.
const FOCAL: f64 = 560.0;

/// Writes a recording.
pub struct Tape {
    writer: Writer<BufWriter<File>>,
}

impl Tape {
    pub fn create(path: &Path) -> Self {
        let file = BufWriter::new(File::create(path).unwrap());
        let options =
            WriteOptions::new().profile("ros2").compression(Some(Compression::Zstd)).chunk_size(Some(1 << 20));
        Self { writer: options.create(file).unwrap() }
    }

    pub fn put<M: Message>(&mut self, topic: &str, log_time_ns: i64, message: &M) {
        let schema = self.writer.add_schema(M::TYPE, "ros2msg", b"").unwrap();
        let channel_id = self.writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap();
        let log_time = log_time_ns as u64;
        let data = [&[0, 1, 0, 0], cdr::encode(message, M::TYPE).unwrap().as_slice()].concat();
        let header = MessageHeader { channel_id, sequence: 0, log_time, publish_time: log_time };
        self.writer.write_to_known_channel(&header, &data).unwrap();
    }

    pub fn step(&mut self, step: &ShadowStep) {
        let at = step.stamp_ns + (step.interval_s * 1e9) as i64 + 60_000_000;
        self.put("/vjepa_planner/shadow/step", at, &StringMessage { data: step.to_json().unwrap() });
    }

    pub fn frame(&mut self, stamp_ns: i64, jpeg: Vec<u8>) {
        let header = Header { stamp: RosTime(stamp_ns).into(), frame_id: "camera_optical".into() };
        let image = CompressedImage { header, format: "jpeg".into(), data: jpeg };
        self.put("/camera/image_raw/compressed", stamp_ns + 20_000_000, &image);
    }

    pub fn camera_info(&mut self, at_ns: i64) {
        let (width, height) = SIZE;
        let k = [FOCAL, 0.0, f64::from(width) / 2.0, 0.0, FOCAL, f64::from(height) / 2.0, 0.0, 0.0, 1.0];
        let info = CameraInfo { width, height, k, distortion_model: "plumb_bob".into(), ..CameraInfo::default() };
        self.put("/camera/camera_info", at_ns, &info);
    }

    pub fn status(&mut self, at_ns: i64, dropped: u64) {
        let values = vec![
            KeyValue::new("energy", 0.5),
            KeyValue::new("frames_dropped", dropped),
            KeyValue::new("recording_dropped", 0),
        ];
        let status = DiagnosticStatus { values, ..DiagnosticStatus::default() };
        self.put("/vjepa_planner/status", at_ns, &status);
    }

    pub fn attach(&mut self, name: &str, media_type: &str, data: Vec<u8>) {
        let attachment = Attachment {
            log_time: BEGIN_NS as u64,
            create_time: 0,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            data: data.into(),
        };
        self.writer.attach(&attachment).unwrap();
    }

    pub fn identity(&mut self, facts: &[(&str, &str)]) {
        let metadata = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.writer.write_metadata(&Metadata { name: "vjepa_planner".into(), metadata }).unwrap();
    }

    pub fn finish(mut self) {
        self.writer.finish().unwrap();
    }
}

/// Random numbers that are the same everywhere (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 … 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// An arm that reaches for something, lifts it and puts it down, again and again.
pub struct Story {
    random: Random,
    number: u64,
    /// Begin of the recording, ns.
    begin_ns: i64,
    /// What the plan is turned by against the incumbent's, rad.
    turned: f64,
    /// Steps at which something unforeseen happens.
    disturbances: Vec<u64>,
    hand: Vector3<f64>,
    energy: f64,
    baseline: f64,
}

/// Steps of one round: reach, lift, put down.
const ROUND: u64 = 120;
const GOALS: [(&str, [f64; 3]); 3] =
    [("grasped", [0.55, -0.18, 0.06]), ("near the goal", [0.45, 0.22, 0.28]), ("placed", [0.48, 0.26, 0.07])];

impl Story {
    pub fn new(seed: u64, turned_deg: f64, disturbances: &[u64]) -> Self {
        Self {
            random: Random(seed),
            number: 0,
            begin_ns: BEGIN_NS,
            turned: turned_deg.to_radians(),
            disturbances: disturbances.to_vec(),
            hand: Vector3::new(0.35, 0.0, 0.4),
            energy: 0.8,
            baseline: 0.118,
        }
    }

    pub fn beginning(mut self, begin_ns: i64) -> Self {
        self.begin_ns = begin_ns;
        self
    }

    /// Where the hand is, m.
    pub fn hand(&self) -> Vector3<f64> {
        self.hand
    }

    /// The next step.
    pub fn step(&mut self) -> ShadowStep {
        let number = self.number;
        self.number += 1;
        let phase = number % ROUND;
        let goal_index = (phase * 3 / ROUND) as usize;
        let (goal, place) = GOALS[goal_index];
        if (phase * 3).is_multiple_of(ROUND) {
            self.energy = 0.62 + 0.1 * self.random.uniform();
        }
        let disturbed = self.disturbances.iter().any(|at| (*at..at + 6).contains(&number));
        let to_goal = Vector3::from(place) - self.hand;
        let mut normal = |deviation: f64| deviation * self.random.normal();
        let idle = to_goal.norm() < 0.012;
        let noise = Vector3::new(normal(0.003), normal(0.003), normal(0.002));
        let stride = if idle { Vector3::zeros() } else { to_goal * 0.22_f64.min(0.04 / to_goal.norm()) + noise };
        let (sine, cosine) = (self.turned + normal(0.2)).sin_cos();
        let mut wanted = to_goal * 0.25_f64.min(0.045 / to_goal.norm().max(1e-6));
        wanted = Vector3::new(cosine * wanted.x - sine * wanted.y, sine * wanted.x + cosine * wanted.y, wanted.z);
        wanted += Vector3::new(normal(0.003), normal(0.003), normal(0.002));
        if disturbed {
            wanted = Vector3::new(-wanted.y, wanted.x, -0.5 * wanted.z) * 1.3;
        }
        let gripper = |closing: bool| if closing && phase % 40 > 34 { 0.4 } else { 0.0 };
        let action = |by: Vector3<f64>, yaw: f64, grip: f64| [by.x, by.y, by.z, 0.0, 0.0, yaw, grip];
        let planned = action(wanted, normal(0.02), gripper(goal_index == 0));
        let executed = action(stride, normal(0.015), gripper(goal_index == 0 && !disturbed));
        let before = self.hand;
        let energy = self.energy;
        let fall = if idle { 0.0 } else { 0.024 + 0.004 * self.random.normal() };
        let came = if disturbed { energy + 0.05 } else { (energy - fall).max(0.18) };
        let error = self.baseline * (1.0 + 0.05 * self.random.normal()) + if disturbed { 0.11 } else { 0.0 };
        let (median, mad) = (self.baseline, 0.035 * self.baseline);
        let z = (error - median) / (1.4826 * mad);
        let apart = wanted - stride;
        let cosine_between = wanted.dot(&stride) / (wanted.norm() * stride.norm());
        let moves = wanted.norm() > 1.5e-3 && stride.norm() > 1.5e-3;
        let rotation_deg = (planned[5] - executed[5]).abs().to_degrees();
        let gripper_agrees = planned[6] == executed[6];
        let difference = Difference {
            translation_mm: apart.norm() * 1e3,
            rotation_deg,
            direction_cosine: moves.then_some(cosine_between),
            gripper_agrees,
            agrees: (apart.norm() < 0.015 || cosine_between > 0.7) && rotation_deg < 10.0 && gripper_agrees,
        };
        let mut alarms = Vec::new();
        if z > 8.0 {
            alarms.push(Alarm { kind: AlarmKind::Surprise, value: z, threshold: 8.0 });
        }
        if disturbed && number.is_multiple_of(3) {
            alarms.push(Alarm { kind: AlarmKind::OverconfidentIncumbent, value: 0.09, threshold: 0.05 });
        }
        let planning_ms = 38.0 + 6.0 * self.random.uniform() + if self.random.uniform() < 0.01 { 190.0 } else { 0.0 };
        self.hand += stride;
        self.energy = came;
        self.baseline *= 1.0 + 2e-4 * self.random.normal();
        let not_compared =
            idle.then(|| NotCompared { reason: NotComparedReason::IncumbentIdle, text: "the arm did not move".into() });
        let pose = |at: Vector3<f64>| Some([at.x, at.y, at.z, PI, 0.0, 0.0, 0.0]);
        ShadowStep {
            step: number + 1,
            stamp_ns: self.begin_ns + number as i64 * STEP_NS,
            interval_s: 0.25,
            task: "pick and place".into(),
            goal: goal.into(),
            goal_index,
            energy: Some(energy),
            energy_after: Some(came),
            planned: Some(PlannedMove {
                action: planned,
                energy: (energy - 0.03 - 0.004 * self.random.uniform()).max(0.17),
                energy_standing_still: Some(energy + 0.002),
                ..PlannedMove::default()
            }),
            incumbent: Some(ExecutedMove {
                action: executed,
                energy: Some((energy - fall + 0.004 * self.random.normal()).max(0.17)),
                ..ExecutedMove::default()
            }),
            difference: (!idle).then_some(difference),
            surprise: Some(Surprise {
                error,
                baseline_median: (number > 20).then_some(median),
                baseline_mad: (number > 20).then_some(mad),
                z: (number > 20).then_some(z),
            }),
            alarms,
            not_compared,
            planning_ms: Some(planning_ms),
            predictor_calls: 33,
            stop: if planning_ms > 200.0 { "deadline" } else { "converged" }.into(),
            deadline_missed: planning_ms > 230.0,
            frame_age_ms: Some(12.0 + 8.0 * self.random.uniform()),
            joint_state_age_ms: Some(2.0 * self.random.uniform()),
            plan_id: number + 1,
            pose_before: pose(before),
            pose_after: pose(self.hand),
            ..ShadowStep::default()
        }
    }
}

/// A picture of the table with the hand at a place, as the recordings' camera sees it.
pub fn picture(hand: Vector3<f64>, covered: bool) -> Vec<u8> {
    let (width, height) = SIZE;
    let [x, y, z, roll, pitch, yaw] = BASE_FROM_CAMERA;
    let rotation = nalgebra::UnitQuaternion::from_euler_angles(roll, pitch, yaw);
    let project = |point: Vector3<f64>| {
        let p = rotation.inverse() * (point - Vector3::new(x, y, z));
        (f64::from(width) / 2.0 + FOCAL * p.x / p.z, f64::from(height) / 2.0 + FOCAL * p.y / p.z)
    };
    let mut image = RgbImage::from_fn(width, height, |_, v| {
        let shade = (205.0 - 60.0 * f64::from(v) / f64::from(height)) as u8;
        if v > 130 { Rgb([shade, shade - 18, shade - 42]) } else { Rgb([188, 196, 204]) }
    });
    let mut boxed = |centre: (f64, f64), half: (f64, f64), colour: [u8; 3]| {
        let range = |middle: f64, half: f64, most: u32| {
            (middle - half).clamp(0.0, f64::from(most)) as u32..(middle + half).clamp(0.0, f64::from(most)) as u32
        };
        for v in range(centre.1, half.1, height) {
            for u in range(centre.0, half.0, width) {
                image.put_pixel(u, v, Rgb(colour));
            }
        }
    };
    boxed(project(Vector3::new(0.55, -0.18, 0.02)), (13.0, 13.0), [176, 52, 44]);
    boxed(project(Vector3::new(0.48, 0.26, 0.0)), (24.0, 8.0), [70, 120, 84]);
    let (u, v) = project(hand);
    boxed((u, v - 110.0), (15.0, 90.0), [236, 237, 238]);
    boxed((u, v - 24.0), (34.0, 12.0), [60, 64, 70]);
    boxed((u - 20.0, v - 6.0), (5.0, 14.0), [60, 64, 70]);
    boxed((u + 20.0, v - 6.0), (5.0, 14.0), [60, 64, 70]);
    if covered {
        boxed((430.0, 190.0), (120.0, 150.0), [92, 84, 130]);
    }
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, 85).encode_image(&image).unwrap();
    jpeg.into_inner()
}

/// Writes a whole recording of so many steps, with a frame per step.
pub fn record(path: &Path, mut story: Story, steps: u64, pictures: bool) {
    let mut tape = Tape::create(path);
    tape.identity(&[
        ("software_version", env!("CARGO_PKG_VERSION")),
        ("model", "demo"),
        ("sha256.rollout_t1_h1.onnx", "9f2c5a7d41e0b8637c1d2e5f8a90b4c3d6e7f8091a2b3c4d5e6f708192a3b4c5"),
        ("provider", "cpu"),
        ("seed", "0"),
        ("node", "/vjepa_planner"),
        ("ros_domain", "0"),
    ]);
    let place = BASE_FROM_CAMERA.map(|number| format!("{number:?}")).join(", ");
    let configuration = format!(
        "/**:\n  ros__parameters:\n    mode: shadow\n    shadow.base_from_camera: [{place}]\n    shadow:\n      comparison:\n        \
         agree_mm: 15.0\n        agree_deg: 10.0\n        agree_cosine: 0.7\n      alarm:\n        surprise_z: 8.0\n"
    );
    tape.attach("configuration_0.yaml", "application/yaml", configuration.into_bytes());
    for (index, (_, place)) in GOALS.into_iter().enumerate() {
        tape.attach(&format!("goal_1_{index}.png"), "image/png", picture(Vector3::from(place), false));
    }
    for number in 0..steps {
        let hand = story.hand();
        let step = story.step();
        if number == 0 {
            tape.camera_info(step.stamp_ns);
        }
        if pictures {
            let covered = step.alarms.iter().any(|alarm| alarm.kind == AlarmKind::Surprise);
            tape.frame(step.stamp_ns, picture(hand, covered));
        }
        tape.step(&step);
        if number % 40 == 39 {
            tape.status(step.stamp_ns, number / 40);
        }
    }
    tape.finish();
}
