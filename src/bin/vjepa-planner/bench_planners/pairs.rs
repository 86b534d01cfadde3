//! A file of start and goal pictures, as `python -m sim.pairs` writes it.

use std::path::Path;

use anyhow::{Context as _, bail};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest as _, Sha256};

use vjepa_planner::robot::pose::{RobotState, STATE_DIM};
use vjepa_planner::world_model::preprocess::RgbView;

/// The format of the file that is understood.
const FORMAT: &str = "1";

/// P start and goal pictures, and where the robot was.
#[derive(Debug, PartialEq)]
pub struct Pairs {
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// Height and width of a picture, px.
    size: (u32, u32),
    /// Bytes, [P,H,W,3].
    start_frames: Vec<u8>,
    goal_frames: Vec<u8>,
    /// [P].
    pub start_states: Vec<RobotState>,
    /// [P].
    pub goal_states: Vec<RobotState>,
    /// Model steps from start to goal, [P].
    pub steps: Vec<u8>,
}

impl Pairs {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, and the tensor at fault.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let (_, head) = SafeTensors::read_metadata(bytes).context("is no safetensors file")?;
        let format = head.metadata().as_ref().and_then(|m| m.get("format")).map_or("missing", String::as_str);
        if format != FORMAT {
            bail!("metadata `format` is {format}, must be {FORMAT}");
        }
        let file = SafeTensors::deserialize(bytes).context("is no safetensors file")?;
        let frames = tensor(&file, "start_frames", Dtype::U8)?;
        let &[count, height, width, 3] = frames.shape() else {
            bail!("tensor `start_frames` has shape {:?}, must be [P,H,W,3]", frames.shape());
        };
        if count == 0 || height == 0 || width == 0 {
            bail!("tensor `start_frames` has shape {:?}: there is nothing in it", frames.shape());
        }
        let sized = |name: &str, dtype, shape: &[usize]| {
            let tensor = tensor(&file, name, dtype)?;
            if tensor.shape() != shape {
                bail!("tensor `{name}` has shape {:?}, must be {shape:?} as `start_frames` has it", tensor.shape());
            }
            Ok(tensor)
        };
        let states = |name: &str| {
            let tensor = sized(name, Dtype::F32, &[count, STATE_DIM])?;
            let numbers: Vec<f64> =
                tensor.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
            if let Some(i) = numbers.iter().position(|v| !v.is_finite()) {
                bail!("tensor `{name}` is not finite for pair {}", i / STATE_DIM);
            }
            Ok(numbers.as_chunks::<STATE_DIM>().0.iter().map(|s| RobotState(*s)).collect::<Vec<_>>())
        };
        let (start_states, goal_states) = (states("start_states")?, states("goal_states")?);
        let goal_frames = sized("goal_frames", Dtype::U8, &[count, height, width, 3])?.data().to_vec();
        let steps = sized("steps", Dtype::U8, &[count])?.data().to_vec();
        if let Some(i) = steps.iter().position(|s| *s == 0) {
            bail!("tensor `steps` is 0 for pair {i}, must be at least 1");
        }
        let side = |n: usize| u32::try_from(n).context("tensor `start_frames` is too large");
        Ok(Self {
            sha256: Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
            size: (side(height)?, side(width)?),
            start_frames: frames.data().to_vec(),
            goal_frames,
            start_states,
            goal_states,
            steps,
        })
    }

    /// Number of pairs, P.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Start and goal picture of each pair.
    pub fn pictures(&self) -> impl Iterator<Item = [RgbView<'_>; 2]> {
        let (height, width) = self.size;
        let length = height as usize * width as usize * 3;
        let view = move |data| RgbView { width, height, data };
        let goals = self.goal_frames.chunks_exact(length);
        self.start_frames.chunks_exact(length).zip(goals).map(move |(start, goal)| [view(start), view(goal)])
    }
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> anyhow::Result<TensorView<'a>> {
    let Ok(tensor) = file.tensor(name) else { bail!("tensor `{name}` is missing") };
    if tensor.dtype() != dtype {
        bail!("tensor `{name}` is of type {:?}, must be {dtype:?}", tensor.dtype());
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Name, type, shape and bytes of a tensor.
    type Part = (&'static str, Dtype, Vec<usize>, Vec<u8>);

    fn good() -> Vec<Part> {
        let states = |value: f32| value.to_le_bytes().repeat(14);
        vec![
            ("start_frames", Dtype::U8, vec![2, 1, 2, 3], (0..12).collect()),
            ("goal_frames", Dtype::U8, vec![2, 1, 2, 3], (12..24).collect()),
            ("start_states", Dtype::F32, vec![2, 7], states(0.5)),
            ("goal_states", Dtype::F32, vec![2, 7], states(0.25)),
            ("steps", Dtype::U8, vec![2], vec![1, 4]),
        ]
    }

    fn bytes(parts: &[Part], format: &str) -> Vec<u8> {
        let views = parts.iter().map(|(name, dtype, shape, data)| {
            (name.to_string(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let metadata = HashMap::from([("format".to_owned(), format.to_owned())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    #[test]
    fn a_good_file_is_read() {
        let pairs = Pairs::parse(&bytes(&good(), "1")).unwrap();
        assert_eq!((pairs.len(), pairs.sha256.len()), (2, 64));
        assert_eq!(pairs.goal_states[1], RobotState([0.25; 7]));
        let [start, goal] = pairs.pictures().nth(1).unwrap();
        assert_eq!((start.width, start.height, start.data), (2, 1, &[6, 7, 8, 9, 10, 11][..]));
        assert_eq!(goal.data[0], 18);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut Vec<Part>);
        let cases: [(&[&str], Change); 8] = [
            (&["`goal_frames`", "missing"], |p| drop(p.remove(1))),
            (&["`start_frames`", "[P,H,W,3]"], |p| p[0].2 = vec![2, 6]),
            (&["`start_frames`", "nothing"], |p| (p[0].2, p[0].3) = (vec![0, 1, 2, 3], vec![])),
            (&["`goal_frames`", "[2, 1, 2, 3]"], |p| p[1].2 = vec![2, 2, 1, 3]),
            (&["`start_states`", "F32"], |p| (p[2].1, p[2].2) = (Dtype::U8, vec![2, 28])),
            (&["`goal_states`", "pair 1"], |p| p[3].3[30..32].copy_from_slice(&[0xc0, 0x7f])),
            (&["`steps`", "[2]"], |p| p[4].2 = vec![1, 2]),
            (&["`steps`", "pair 0"], |p| p[4].3[0] = 0),
        ];
        for (words, change) in cases {
            let mut parts = good();
            change(&mut parts);
            let error = format!("{:#}", Pairs::parse(&bytes(&parts, "1")).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        }
        let error = |bytes: &[u8]| format!("{:#}", Pairs::parse(bytes).unwrap_err());
        assert!(error(&bytes(&good(), "2")).contains("`format` is 2"));
        assert!(error(b"no").contains("safetensors"));
    }
}
