//! Tasks: read on the main thread, pictures and all, so that the planning thread never touches a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::camera::decode::{FrameError, RawImage};
use crate::camera::file::{self, PictureError};
use crate::camera::pixels::PixelBuffer;
use crate::config::parameter::{parameters, runtime};
use crate::planner::goal_sequence::{Goal, OnTimeout, Switch, Task, TaskError};
use crate::ros::messages::Image;
use crate::share;
use crate::world_model::preprocess::{PreprocessError, Preprocessor};

parameters! {
    /// Goals that come as one picture: from a file, a topic, or the camera.
    pub struct GoalConfig {
        /// Goal image to begin with at activation; empty: none.
        image: PathBuf = PathBuf::new() => runtime(),
        /// Actions allowed towards such a goal.
        max_steps: u32 = 100 => runtime().range(1..=1_000_000),
        /// Energy below which it may count as reached.
        energy_below: f64 = Switch::default().energy_below => runtime().range(0.0..=1e6),
        /// Steps over which the energy has to be settled; 0: the threshold alone decides.
        settle_steps: usize = Switch::default().settle_steps => runtime().range(0..=64),
        /// Largest difference between the energies of these steps.
        settle_change: f64 = Switch::default().settle_change => runtime().range(0.0..=1e6),
    }
}

/// Where a task comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// A task file.
    File(PathBuf),
    /// A goal image file.
    GoalFile(PathBuf),
    /// A goal image from a topic.
    GoalMessage(Box<Image>),
    /// A frame of the camera.
    GoalFrame(PixelBuffer),
}

impl TaskSource {
    /// What status calls it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) | Self::GoalFile(path) => path.display().to_string(),
            Self::GoalMessage(_) => "~/goal_image".to_owned(),
            Self::GoalFrame(..) => "~/capture_goal".to_owned(),
        }
    }
}

/// What the main thread tells the planning thread.
#[derive(Debug)]
pub struct TaskMessage {
    /// Counts the tasks given, from 1.
    pub id: u64,
    /// The file, as it was given, or the topic or service.
    pub file: Arc<str>,
    /// The task, or why there is none (any more).
    pub task: Result<LoadedTask, Arc<str>>,
}

/// A task with everything that planning needs of it.
#[derive(Clone, Debug)]
pub struct LoadedTask {
    /// The task file's content.
    pub task: Task,
    /// Names of the goals.
    pub goal_names: Vec<Arc<str>>,
    /// Goal images as model input, `[goals, S, S, 3]`.
    pub pictures: Arc<[f32]>,
}

/// Why a task cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The task file is not in order.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A goal image message cannot be used.
    #[error("{topic}: {source}")]
    Message {
        /// Where it came from.
        topic: String,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A goal image is missing or broken.
    #[error("goal `{goal}`: {source}")]
    Picture {
        /// Name of the goal.
        goal: String,
        /// What is wrong with its image.
        source: PictureError,
    },
    /// A goal image cannot become model input.
    #[error("goal `{goal}`: {source}")]
    Preprocess {
        /// Name of the goal.
        goal: String,
        /// What is wrong.
        source: PreprocessError,
    },
}

/// Reads a task, and brings its goal images to the model's size by the way that camera frames take: whole pictures of
/// the same camera, cut and turned as these.
///
/// # Errors
/// [`LoadError`], naming the file, the field or the goal.
pub fn load(
    source: &TaskSource,
    settings: &GoalConfig,
    preprocessor: &mut Preprocessor,
) -> Result<LoadedTask, LoadError> {
    match source {
        TaskSource::File(path) => {
            let task = Task::load(&share::locate(path))?;
            let pictures =
                task.goals.iter().map(|goal| picture(&goal.name, &goal.image)).collect::<Result<Vec<_>, _>>()?;
            prepare(task, &pictures, preprocessor)
        }
        TaskSource::GoalFile(path) => {
            one_goal(source, path, picture(&source.name(), &share::locate(path))?, settings, preprocessor)
        }
        TaskSource::GoalMessage(image) => {
            let mut picture = PixelBuffer::default();
            RawImage::try_from(&**image)
                .and_then(|raw| picture.load(&raw))
                .map_err(|error| LoadError::Message { topic: source.name(), source: error })?;
            one_goal(source, Path::new(""), picture, settings, preprocessor)
        }
        TaskSource::GoalFrame(picture) => one_goal(source, Path::new(""), picture.clone(), settings, preprocessor),
    }
}

fn picture(goal: &str, path: &Path) -> Result<PixelBuffer, LoadError> {
    let file = file::load(path).map_err(|source| LoadError::Picture { goal: goal.to_owned(), source })?;
    Ok(PixelBuffer::from_rgb(file.width as u32, file.height as u32, file.rgb))
}

/// A task with a single goal.
fn one_goal(
    source: &TaskSource,
    image: &Path,
    picture: PixelBuffer,
    settings: &GoalConfig,
    preprocessor: &mut Preprocessor,
) -> Result<LoadedTask, LoadError> {
    let GoalConfig { max_steps, energy_below, settle_steps, settle_change, .. } = *settings;
    let switch = Switch { energy_below, settle_steps, settle_change };
    let goal = Goal { name: source.name(), image: image.to_owned(), max_steps, switch };
    let task = Task { name: source.name(), goals: vec![goal], on_timeout: OnTimeout::Abort, max_retries: 0 };
    prepare(task, &[picture], preprocessor)
}

fn prepare(task: Task, pictures: &[PixelBuffer], preprocessor: &mut Preprocessor) -> Result<LoadedTask, LoadError> {
    let frame_len = preprocessor.output_len();
    let mut inputs = vec![0.0; pictures.len() * frame_len];
    for ((goal, picture), input) in task.goals.iter().zip(pictures).zip(inputs.chunks_exact_mut(frame_len)) {
        preprocessor
            .run_raw(&picture.view(), input)
            .map_err(|source| LoadError::Preprocess { goal: goal.name.clone(), source })?;
    }
    let goal_names = task.goals.iter().map(|goal| Arc::from(goal.name.as_str())).collect();
    Ok(LoadedTask { task, goal_names, pictures: inputs.into() })
}
