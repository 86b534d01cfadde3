//! What the controller in charge is told by others: its command topic, listened to in shadow mode.

use triple_buffer::Input;

use crate::robot::joints::{JointName, JointVector};
use crate::ros::messages::{Float64MultiArray, JointTrajectory};
use crate::ros::port::{Port, PortError, PortExt as _, Subscription};
use crate::ros::qos::QosProfile;
use crate::shadow::IncumbentType;

/// Takes commands and leaves the newest in a slot, in the order of the chain.
pub struct IncumbentInput {
    topic: String,
    joints: Vec<JointName>,
    newest: Input<Option<JointVector>>,
    /// What was wrong with the last message; said once.
    problem: bool,
}

impl IncumbentInput {
    /// For commands on `topic` (empty: none) to `joints`, base to tip.
    pub fn new(topic: &str, joints: Vec<JointName>, newest: Input<Option<JointVector>>) -> Self {
        Self { topic: topic.to_owned(), joints, newest, problem: false }
    }

    /// Listens, if there is a topic.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn subscribe(mut self, port: &dyn Port, kind: IncumbentType) -> Result<Option<Subscription>, PortError> {
        if self.topic.is_empty() {
            return Ok(None);
        }
        let topic = self.topic.clone();
        // Best effort hears reliable publishers too, and never holds one up.
        let qos = QosProfile::SENSOR_DATA;
        Ok(Some(match kind {
            IncumbentType::JointTrajectory => port.subscribe::<JointTrajectory>(&topic, qos, move |received| {
                let message = &received.message;
                self.take(message.points.last().and_then(|last| self.picked(&message.joint_names, &last.positions)));
            })?,
            IncumbentType::JointPositions => port.subscribe::<Float64MultiArray>(&topic, qos, move |received| {
                let data = &received.message.data;
                let fits = data.len() == self.joints.len();
                self.take(if fits { JointVector::from_slice(data) } else { None });
            })?,
        }))
    }

    /// The chain's joints out of a message; `None` when one is missing.
    fn picked(&self, names: &[String], positions: &[f64]) -> Option<JointVector> {
        let mut picked = JointVector::zeros(self.joints.len());
        for (joint, out) in self.joints.iter().zip(picked.iter_mut()) {
            let place = names.iter().position(|name| **name == **joint)?;
            *out = *positions.get(place)?;
        }
        Some(picked)
    }

    fn take(&mut self, command: Option<JointVector>) {
        match command.filter(JointVector::is_finite) {
            Some(command) => {
                self.newest.write(Some(command));
                self.problem = false;
            }
            None if !self.problem => {
                self.problem = true;
                tracing::warn!("{}: a command that is not one finite position per joint of the chain", self.topic);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use triple_buffer::triple_buffer;

    #[test]
    fn joints_are_found_by_name_and_what_does_not_fit_is_left_out() {
        let (newest, mut seen) = triple_buffer(&None);
        let mut input = IncumbentInput::new("/arm", vec!["a".into(), "b".into()], newest);
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        input.take(input.picked(&names(&["b", "x", "a"]), &[2.0, 9.0, 1.0]));
        assert_eq!(seen.read().unwrap()[..], [1.0, 2.0]);
        for (given, positions) in [(names(&["b", "x"]), [1.0, 1.0]), (names(&["a", "b"]), [f64::NAN, 1.0])] {
            input.take(input.picked(&given, &positions));
        }
        input.take(input.picked(&names(&["a", "b"]), &[1.0]));
        assert_eq!(seen.read().unwrap()[..], [1.0, 2.0], "the last good one stays");
    }
}
