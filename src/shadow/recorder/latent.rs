//! Latents as messages: `std_msgs/msg/UInt8MultiArray` whose layout says what they are of and how the bytes are to be read.

use half::f16;

use super::plans::LatentOf;
use super::settings::Latents;
use crate::clock::RosTime;
use crate::ros::messages::{MultiArrayDimension, MultiArrayLayout, UInt8MultiArray};

/// A latent [tokens, dim] as a message; `None` when they are not recorded.
pub fn to_message(of: LatentOf, numbers: &[f32], tokens: usize, precision: Latents) -> Option<UInt8MultiArray> {
    let (unit, size, data): (_, u32, Vec<u8>) = match precision {
        Latents::Off => return None,
        Latents::F16 => ("f16le", 2, numbers.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect()),
        Latents::F32 => ("f32le", 4, numbers.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    let label = match of {
        LatentOf::Frame(stamp) => format!("frame {}", stamp.0),
        LatentOf::Goal(task, goal) => format!("goal {task} {goal}"),
    };
    let tokens = u32::try_from(tokens.max(1)).ok()?;
    let total = u32::try_from(data.len()).ok()?;
    let dimension = |label: &str, size: u32, stride: u32| MultiArrayDimension { label: label.to_owned(), size, stride };
    let dim = vec![
        dimension(&label, 1, total),
        dimension("token", tokens, total),
        dimension("channel", total / size / tokens, total / tokens),
        dimension(unit, size, size),
    ];
    Some(UInt8MultiArray { layout: MultiArrayLayout { dim, data_offset: 0 }, data })
}

/// The reverse: what it is of, its numbers, and whether they are as they were (f32).
pub fn from_message(message: &UInt8MultiArray) -> Option<(LatentOf, Vec<f32>, bool)> {
    let dim = &message.layout.dim;
    let mut words = dim.first()?.label.split(' ');
    let of = match (words.next()?, words.next()?, words.next()) {
        ("frame", stamp, None) => LatentOf::Frame(RosTime(stamp.parse().ok()?)),
        ("goal", task, Some(goal)) => LatentOf::Goal(task.parse().ok()?, goal.parse().ok()?),
        _ => return None,
    };
    match dim.last()?.label.as_str() {
        "f16le" => {
            let halves = message.data.as_chunks::<2>().0;
            Some((of, halves.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(), false))
        }
        "f32le" => {
            let floats = message.data.as_chunks::<4>().0;
            Some((of, floats.iter().map(|b| f32::from_le_bytes(*b)).collect(), true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_comes_back() {
        let numbers = [0.5, -1.25, 3.0e-5, 1.0 / 3.0];
        for of in [LatentOf::Frame(RosTime(-7)), LatentOf::Goal(3, 1)] {
            let message = to_message(of, &numbers, 2, Latents::F32).unwrap();
            assert_eq!(message.layout.dim.iter().map(|d| d.size).collect::<Vec<_>>(), [1, 2, 2, 4]);
            assert_eq!(from_message(&message), Some((of, numbers.to_vec(), true)));
            let (_, halves, exact) = from_message(&to_message(of, &numbers, 2, Latents::F16).unwrap()).unwrap();
            assert!(!exact && halves.iter().zip(numbers).all(|(a, b)| (a - b).abs() < 1e-3));
        }
        assert_eq!(to_message(LatentOf::Goal(1, 0), &numbers, 2, Latents::Off), None);
    }
}
