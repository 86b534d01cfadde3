//! Tasks: read on the main thread, pictures and all, so that the planning thread never touches a file.

use std::path::Path;
use std::sync::Arc;

use crate::camera::file::{self, PictureError};
use crate::planner::goal_sequence::{Task, TaskError};
use crate::share;
use crate::world_model::preprocess::{PreprocessError, Preprocessor, RgbView};

/// What the main thread tells the planning thread.
#[derive(Debug)]
pub struct TaskMessage {
    /// Counts the tasks given, from 1.
    pub id: u64,
    /// The file, as it was given.
    pub file: Arc<str>,
    /// The task, or why there is none.
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
    pub pictures: Vec<f32>,
}

/// Why a task cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The task file is not in order.
    #[error(transparent)]
    Task(#[from] TaskError),
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

/// Reads a task file and its goal images, and brings the images to the model's size by the way that camera frames take.
///
/// # Errors
/// [`LoadError`], naming the file, the field or the goal.
pub fn load(path: &Path, preprocessor: &mut Preprocessor) -> Result<LoadedTask, LoadError> {
    let task = Task::load(&share::locate(path))?;
    let frame_len = preprocessor.output_len();
    let mut pictures = vec![0.0; task.goals.len() * frame_len];
    for (goal, input) in task.goals.iter().zip(pictures.chunks_exact_mut(frame_len)) {
        let picture =
            file::load(&goal.image).map_err(|source| LoadError::Picture { goal: goal.name.clone(), source })?;
        let view = RgbView { width: picture.width as u32, height: picture.height as u32, data: &picture.rgb };
        preprocessor.run(view, input).map_err(|source| LoadError::Preprocess { goal: goal.name.clone(), source })?;
    }
    let goal_names = task.goals.iter().map(|goal| Arc::from(goal.name.as_str())).collect();
    Ok(LoadedTask { task, goal_names, pictures })
}
