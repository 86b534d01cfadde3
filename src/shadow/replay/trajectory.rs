//! Trajectories in NumPy's format (.npz), as the V-JEPA 2 repository brings one: `observations` [1,T,H,W,3] in u8 and
//! end-effector `states` [1,T,7] in the layout of [`crate::robot::pose`], a model step apart.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar};
use zip::ZipArchive;

use super::ReplayError;
use super::frames::Stepper;
use super::output::StepLog;
use crate::camera::file::Picture;
use crate::clock::RosTime;
use crate::config::Config;
use crate::robot::pose::{RobotState, STATE_DIM};
use crate::world_model::WorldModel;

/// Largest array, bytes.
const MAX_BYTES: u64 = 4 << 30;

/// Pictures and states, [T] each.
#[derive(Debug)]
pub struct Trajectory {
    /// What was seen.
    pub pictures: Vec<Picture>,
    /// Where the end effector was.
    pub states: Vec<RobotState>,
}

/// Reads a trajectory.
///
/// # Errors
/// [`ReplayError::Lacks`], naming the array and what it should be.
pub fn read(path: &Path) -> Result<Trajectory, ReplayError> {
    let lacks = |reason: String| ReplayError::Lacks { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| lacks(error.to_string()))?;
    let mut archive = ZipArchive::new(file).map_err(|error| lacks(format!("is no .npz file: {error}")))?;
    let mut array = |name: &str| {
        let missing = |error: &dyn std::fmt::Display| lacks(format!("array `{name}`: {error}"));
        let entry = archive.by_name(&format!("{name}.npy")).map_err(|error| missing(&error))?;
        let mut bytes = Vec::new();
        entry.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| missing(&error))?;
        Ok::<_, ReplayError>(bytes)
    };
    let (observations, states) = (array("observations")?, array("states")?);
    let wrong = |name: &str, wanted: &str, shape: &[u64]| {
        lacks(format!("array `{name}` is {shape:?}; expected {wanted}, in C order"))
    };
    let open = |name: &str, bytes| NpyFile::new(bytes).map_err(|error| lacks(format!("array `{name}`: {error}")));

    let observations = open("observations", observations.as_slice())?;
    let shape = observations.shape().to_vec();
    let (frames, height, width) = match shape[..] {
        [1, frames, height, width, 3] | [frames, height, width, 3] if observations.order() == Order::C => {
            (frames as usize, height as usize, width as usize)
        }
        _ => return Err(wrong("observations", "[1, T, H, W, 3] of u8", &shape)),
    };
    let pixels: Vec<u8> = observations.into_vec().map_err(|error| lacks(format!("array `observations`: {error}")))?;

    let states = open("states", states.as_slice())?;
    let shape = states.shape().to_vec();
    let fits = matches!(shape[..], [1, t, 7] | [t, 7] if t as usize == frames) && states.order() == Order::C;
    if !fits || frames == 0 || width == 0 || height == 0 {
        return Err(wrong("states", "[1, T, 7] of floats, as many as observations", &shape));
    }
    let damaged = |error: std::io::Error| lacks(format!("array `states`: {error}"));
    let half = matches!(states.dtype(), DType::Plain(kind)
        if kind.type_char() == TypeChar::Float && kind.size_field() == 4);
    let numbers: Vec<f64> = if half {
        states.into_vec::<f32>().map_err(damaged)?.into_iter().map(f64::from).collect()
    } else {
        states.into_vec::<f64>().map_err(damaged)?
    };
    let pictures = pixels.chunks_exact(width * height * 3);
    Ok(Trajectory {
        pictures: pictures.map(|rgb| Picture { width, height, rgb: rgb.to_owned() }).collect(),
        states: numbers.as_chunks::<STATE_DIM>().0.iter().copied().map(RobotState).collect(),
    })
}

/// Plans from each picture but the last toward the last; answers how many steps were made.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(
    trajectory: &Trajectory,
    config: &Config,
    model: &mut dyn WorldModel,
    out: &mut StepLog,
) -> Result<u64, ReplayError> {
    let Some(goal) = trajectory.pictures.last() else { return Ok(0) };
    out.goal(goal)?;
    let mut stepper = Stepper::new(config, model, "last picture of the trajectory", goal)?;
    let step_ns = (1e9 / model.spec().rate_hz) as i64;
    let mut steps = 0;
    let mut stamp = RosTime(0);
    for (picture, state) in trajectory.pictures.iter().zip(&trajectory.states) {
        out.picture(picture, stamp)?;
        if let Some(step) = stepper.observe(model, stamp, picture, *state)? {
            out.step(step)?;
            steps += 1;
        }
        stamp = RosTime(stamp.0 + step_ns);
    }
    Ok(steps)
}
