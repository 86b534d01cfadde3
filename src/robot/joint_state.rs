//! Joint states: from messages with joints in any order to samples in chain order, and their recent history.

use crate::clock::{MonotonicTime, RosTime};

use super::joints::{JointName, JointVector};
use super::kinematics::Chain;

/// The arm and the gripper at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointSample {
    /// Stamp of the message, ROS time of the measurement.
    pub stamp: RosTime,
    /// When the message arrived here.
    pub arrival: MonotonicTime,
    /// Positions in chain order, rad or m.
    pub positions: JointVector,
    /// Velocities in chain order, rad/s or m/s, where the message has them.
    pub velocities: Option<JointVector>,
    /// Position of the gripper's joint, where the mapper was given one (m for a sliding finger).
    pub gripper_position: Option<f64>,
}

/// Why a joint-state message is not used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JointStateError {
    /// A joint of the chain is not in the message.
    #[error("joint `{joint}` is not in the joint states (received: {received}); compare the URDF with the driver")]
    MissingJoint {
        /// The joint that is missing.
        joint: JointName,
        /// Names in the message.
        received: String,
    },
    /// A joint appears twice.
    #[error("joint `{joint}` appears more than once in the joint states")]
    DuplicateJoint {
        /// The joint.
        joint: JointName,
    },
    /// Arrays of different lengths.
    #[error("joint states have {names} names but {values} {what}")]
    LengthMismatch {
        /// Names in the message.
        names: usize,
        /// `positions` or `velocities`.
        what: &'static str,
        /// Numbers in that array.
        values: usize,
    },
    /// NaN or infinity for a joint of the chain.
    #[error("joint `{joint}` has a {what} of {value}")]
    NotFinite {
        /// The joint.
        joint: JointName,
        /// `position` or `velocity`.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// A stamp that is not later than the previous one.
    #[error(
        "joint states with a stamp {:.6} s before the previous one: messages out of order, repeated, or from a second publisher",
        previous.seconds_since(*received)
    )]
    StampNotIncreasing {
        /// Stamp of the newest message used.
        previous: RosTime,
        /// Stamp of this message.
        received: RosTime,
    },
}

/// Picks the chain's joints, and the gripper's, out of joint-state messages.
///
/// Names are looked up once; as long as messages keep their order, mapping does not search and does not allocate.
#[derive(Clone, Debug)]
pub struct JointStateMapper {
    /// Joints of the chain, then the gripper's if there is one.
    joints: Vec<JointName>,
    dof: usize,
    /// Where each of `joints` stands in a message of `message_len` joints.
    places: Vec<usize>,
    message_len: usize,
    newest: Option<(RosTime, MonotonicTime)>,
    restart_after: std::time::Duration,
}

impl JointStateMapper {
    /// A mapper onto `chain` and, if named, the gripper's joint.
    ///
    /// Stamps must increase. When none has for `restart_after` of monotonic time (a restarted driver or simulator, a
    /// corrected clock), the next message is taken as a new beginning.
    pub fn new(chain: &Chain, gripper_joint: Option<&str>, restart_after: std::time::Duration) -> Self {
        let mut joints: Vec<JointName> = chain.joints().iter().map(|joint| joint.name.clone()).collect();
        joints.extend(gripper_joint.map(JointName::from));
        Self { joints, dof: chain.dof(), places: Vec::new(), message_len: 0, newest: None, restart_after }
    }

    /// The sample in a message that arrived at `arrival`. `velocities` may be empty. Joints that the mapper was not
    /// asked for are ignored, whatever their numbers.
    ///
    /// # Errors
    /// A joint is missing or appears twice, arrays differ in length, a number is not finite, or the stamp is not later
    /// than the last. The message is then not used at all.
    pub fn map<S: AsRef<str>>(
        &mut self,
        names: &[S],
        positions: &[f64],
        velocities: &[f64],
        stamp: RosTime,
        arrival: MonotonicTime,
    ) -> Result<JointSample, JointStateError> {
        for (what, values) in [("positions", positions), ("velocities", velocities)] {
            let may_be_empty = what == "velocities";
            if values.len() != names.len() && !(may_be_empty && values.is_empty()) {
                return Err(JointStateError::LengthMismatch { names: names.len(), what, values: values.len() });
            }
        }
        self.find_places(names)?;
        let sample = JointSample {
            stamp,
            arrival,
            positions: self.pick("position", positions)?,
            velocities: if velocities.is_empty() { None } else { Some(self.pick("velocity", velocities)?) },
            gripper_position: match self.joints.get(self.dof) {
                Some(joint) => Some(finite(joint, "position", positions[self.places[self.dof]])?),
                None => None,
            },
        };
        if let Some((previous, previous_arrival)) = self.newest
            && stamp <= previous
            && arrival.since(previous_arrival) < self.restart_after
        {
            return Err(JointStateError::StampNotIncreasing { previous, received: stamp });
        }
        self.newest = Some((stamp, arrival));
        Ok(sample)
    }

    /// Fills `places`; nothing to do when the message is laid out as the last one.
    fn find_places<S: AsRef<str>>(&mut self, names: &[S]) -> Result<(), JointStateError> {
        let same_layout = self.message_len == names.len()
            && self.places.len() == self.joints.len()
            && self.joints.iter().zip(&self.places).all(|(joint, &place)| names[place].as_ref() == &**joint);
        if same_layout {
            return Ok(());
        }
        self.places.clear();
        for joint in &self.joints {
            let mut found = names.iter().enumerate().filter(|(_, name)| name.as_ref() == &**joint);
            let Some((place, _)) = found.next() else {
                let received = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
                return Err(JointStateError::MissingJoint { joint: joint.clone(), received });
            };
            if found.next().is_some() {
                return Err(JointStateError::DuplicateJoint { joint: joint.clone() });
            }
            self.places.push(place);
        }
        self.message_len = names.len();
        Ok(())
    }

    fn pick(&self, what: &'static str, values: &[f64]) -> Result<JointVector, JointStateError> {
        let mut picked = JointVector::zeros(self.dof);
        for (i, out) in picked.iter_mut().enumerate() {
            *out = finite(&self.joints[i], what, values[self.places[i]])?;
        }
        Ok(picked)
    }
}

fn finite(joint: &JointName, what: &'static str, value: f64) -> Result<f64, JointStateError> {
    if value.is_finite() { Ok(value) } else { Err(JointStateError::NotFinite { joint: joint.clone(), what, value }) }
}

/// Why the history has no sample for a stamp.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum HistoryError {
    /// No joint state yet.
    #[error("no joint state has arrived yet")]
    Empty,
    /// The stamp is older than the history.
    #[error(
        "the oldest joint state is {by_s:.3} s later than the wanted time; are the clocks of camera and robot in step?"
    )]
    TooOld {
        /// Distance to the oldest sample, s.
        by_s: f64,
    },
    /// The stamp is newer than the history.
    #[error(
        "the newest joint state is {by_s:.3} s earlier than the wanted time; are the clocks of camera and robot in step?"
    )]
    TooNew {
        /// Distance to the newest sample, s.
        by_s: f64,
    },
    /// Joint states around the stamp are too far apart.
    #[error("joint states around the wanted time are {gap_s:.3} s apart")]
    Gap {
        /// Distance between the two neighbours, s.
        gap_s: f64,
    },
}

/// The newest joint samples, for asking where the arm was when a frame was taken. Fixed capacity; adding to it and
/// asking it do not allocate.
#[derive(Clone, Debug)]
pub struct JointHistory {
    /// Ring, oldest at `start`; stamps increase.
    samples: Vec<JointSample>,
    capacity: usize,
    start: usize,
    max_extrapolation_s: f64,
    max_gap_s: f64,
}

impl JointHistory {
    /// A history of `capacity` samples (at least 2). A stamp up to `max_extrapolation_s` outside of it gets the nearest
    /// sample's positions; between samples more than `max_gap_s` apart it does not interpolate.
    pub fn new(capacity: usize, max_extrapolation_s: f64, max_gap_s: f64) -> Self {
        let capacity = capacity.max(2);
        Self { samples: Vec::with_capacity(capacity), capacity, start: 0, max_extrapolation_s, max_gap_s }
    }

    /// Adds a sample. One that is not later than the newest begins the history anew, as after a restart of the driver
    /// (the mapper has refused mere disorder before).
    pub fn push(&mut self, sample: JointSample) {
        if self
            .newest()
            .is_some_and(|newest| sample.stamp <= newest.stamp || sample.positions.len() != newest.positions.len())
        {
            self.samples.clear();
            self.start = 0;
        }
        if self.samples.len() < self.capacity {
            self.samples.push(sample);
        } else {
            self.samples[self.start] = sample;
            self.start = (self.start + 1) % self.capacity;
        }
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<&JointSample> {
        self.samples.len().checked_sub(1).map(|last| self.get(last))
    }

    /// Samples kept.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True before the first sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The joints at `stamp`: positions, velocities and gripper interpolated linearly between the samples around it;
    /// `arrival` is the later neighbour's.
    ///
    /// # Errors
    /// When the history is empty, does not reach to `stamp` within the extrapolation bound, or has a gap there.
    pub fn at(&self, stamp: RosTime) -> Result<JointSample, HistoryError> {
        let Some(newest) = self.newest() else { return Err(HistoryError::Empty) };
        let oldest = self.get(0);
        if stamp >= newest.stamp {
            let by_s = seconds(stamp, newest.stamp);
            let within = by_s <= self.max_extrapolation_s;
            return if within { Ok(JointSample { stamp, ..*newest }) } else { Err(HistoryError::TooNew { by_s }) };
        }
        if stamp <= oldest.stamp {
            let by_s = seconds(oldest.stamp, stamp);
            let within = by_s <= self.max_extrapolation_s;
            return if within { Ok(JointSample { stamp, ..*oldest }) } else { Err(HistoryError::TooOld { by_s }) };
        }
        let later = self.first_later_than(stamp);
        let (before, after) = (self.get(later - 1), self.get(later));
        let gap_s = seconds(after.stamp, before.stamp);
        if gap_s > self.max_gap_s {
            return Err(HistoryError::Gap { gap_s });
        }
        let share = seconds(stamp, before.stamp) / gap_s;
        let mix = |a: &JointVector, b: &JointVector| a.add_scaled(share, &b.minus(a));
        Ok(JointSample {
            stamp,
            arrival: after.arrival,
            positions: mix(&before.positions, &after.positions),
            velocities: before.velocities.zip(after.velocities).map(|(a, b)| mix(&a, &b)),
            gripper_position: before.gripper_position.zip(after.gripper_position).map(|(a, b)| a + share * (b - a)),
        })
    }

    /// Sample `index`, counted from the oldest.
    fn get(&self, index: usize) -> &JointSample {
        &self.samples[(self.start + index) % self.samples.len()]
    }

    /// Index of the first sample with a stamp after `stamp`; binary search.
    fn first_later_than(&self, stamp: RosTime) -> usize {
        let (mut low, mut high) = (0, self.samples.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).stamp <= stamp { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Seconds from `earlier` to `later`, exact to the nanosecond also for stamps of today.
fn seconds(later: RosTime, earlier: RosTime) -> f64 {
    later.0.saturating_sub(earlier.0) as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::robot::urdf::RobotDescription;

    fn chain() -> Chain {
        let text = r#"<robot name="two">
            <link name="base"/><link name="upper"/><link name="tip"/>
            <joint name="a" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
              <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
            <joint name="b" type="revolute"><parent link="upper"/><child link="tip"/><origin xyz="1 0 0"/>
              <axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
        </robot>"#;
        RobotDescription::from_text(text, "two").unwrap().chain("base", "tip").unwrap()
    }

    fn mapper() -> JointStateMapper {
        JointStateMapper::new(&chain(), Some("finger"), Duration::from_millis(500))
    }

    fn ms(ms: u64) -> MonotonicTime {
        MonotonicTime(ms * 1_000_000)
    }

    fn stamp(ms: i64) -> RosTime {
        RosTime(1_790_000_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn joints_come_out_in_chain_order_whatever_the_message_order() {
        let mut mapper = mapper();
        let first = mapper.map(&["b", "x", "finger", "a"], &[2.0, f64::NAN, 0.02, 1.0], &[], stamp(0), ms(0)).unwrap();
        assert_eq!(&first.positions[..], &[1.0, 2.0]);
        assert_eq!((first.velocities, first.gripper_position), (None, Some(0.02)));
        let second = mapper.map(&["a", "b", "finger"], &[1.0, 2.0, 0.0], &[3.0, 4.0, 0.0], stamp(5), ms(5)).unwrap();
        assert_eq!(&second.velocities.unwrap()[..], &[3.0, 4.0]);
    }

    #[test]
    fn a_missing_joint_is_named_beside_what_was_received() {
        let error = mapper().map(&["a", "joint_b", "finger"], &[0.0; 3], &[], stamp(0), ms(0)).unwrap_err();
        assert!(error.to_string().contains("joint `b` is not in the joint states (received: a, joint_b, finger)"));
        let error = mapper().map(&["a", "b"], &[0.0; 2], &[], stamp(0), ms(0)).unwrap_err();
        assert!(matches!(error, JointStateError::MissingJoint { joint, .. } if &*joint == "finger"));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let names = ["a", "b", "finger"];
        let mut mapper = mapper();
        let lengths = mapper.map(&names, &[0.0; 2], &[], stamp(0), ms(0)).unwrap_err();
        assert_eq!(lengths, JointStateError::LengthMismatch { names: 3, what: "positions", values: 2 });
        let lengths = mapper.map(&names, &[0.0; 3], &[0.0], stamp(0), ms(0)).unwrap_err();
        assert_eq!(lengths, JointStateError::LengthMismatch { names: 3, what: "velocities", values: 1 });
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for place in 0..3 {
                let mut positions = [0.0; 3];
                positions[place] = bad;
                let error = mapper.map(&names, &positions, &[], stamp(0), ms(0)).unwrap_err();
                assert!(matches!(error, JointStateError::NotFinite { what: "position", .. }), "{error}");
            }
        }
        let error = mapper.map(&names, &[0.0; 3], &[f64::NAN, 0.0, 0.0], stamp(0), ms(0)).unwrap_err();
        assert!(error.to_string().contains("joint `a` has a velocity of NaN"), "{error}");
        let error = mapper.map(&["a", "a", "b", "finger"], &[0.0; 4], &[], stamp(0), ms(0)).unwrap_err();
        assert!(matches!(error, JointStateError::DuplicateJoint { .. }));
        assert!(mapper.map(&names, &[0.0; 3], &[], stamp(0), ms(0)).is_ok(), "refused messages leave no trace");
    }

    #[test]
    fn stamps_must_increase_until_a_restart() {
        let names = ["a", "b", "finger"];
        let mut mapper = mapper();
        let mut map = |at, arrival| mapper.map(&names, &[0.0; 3], &[], stamp(at), ms(arrival));
        assert!(map(1000, 0).is_ok());
        assert!(matches!(map(1000, 5), Err(JointStateError::StampNotIncreasing { .. })), "repeated");
        assert!(matches!(map(0, 10), Err(JointStateError::StampNotIncreasing { .. })), "earlier");
        assert!(map(1005, 15).is_ok(), "the original publisher goes on");
        assert!(map(20, 514).is_err());
        assert!(map(25, 515).is_ok(), "silent for the restart time: a new beginning");
        assert!(map(30, 520).is_ok());
    }

    fn sample(at: i64, position: f64) -> JointSample {
        JointSample {
            stamp: stamp(at),
            arrival: ms(u64::try_from(at).unwrap()),
            positions: JointVector::repeat(2, position),
            velocities: None,
            gripper_position: Some(position / 100.0),
        }
    }

    #[test]
    fn history_interpolates_between_samples_and_keeps_the_newest() {
        let mut history = JointHistory::new(4, 0.010, 0.1);
        assert_eq!(history.at(stamp(0)), Err(HistoryError::Empty));
        for i in 0..10 {
            history.push(sample(i * 10, i as f64));
        }
        assert_eq!(history.len(), 4);
        for (at, expected) in [(60, 6.0), (65, 6.5), (88, 8.8), (90, 9.0), (97, 9.0), (52, 6.0)] {
            let found = history.at(stamp(at)).unwrap();
            assert!((found.positions[1] - expected).abs() < 1e-9, "{at}: {found:?}");
            assert!((found.gripper_position.unwrap() - expected / 100.0).abs() < 1e-9);
            assert_eq!(found.stamp, stamp(at));
        }
        assert!(matches!(history.at(stamp(101)), Err(HistoryError::TooNew { .. })));
        assert!(matches!(history.at(stamp(49)), Err(HistoryError::TooOld { .. })));
    }

    #[test]
    fn history_refuses_gaps_and_begins_anew_after_a_restart() {
        let mut history = JointHistory::new(8, 0.010, 0.1);
        history.push(sample(0, 0.0));
        history.push(sample(150, 1.0));
        assert!(matches!(history.at(stamp(70)), Err(HistoryError::Gap { gap_s }) if (gap_s - 0.15).abs() < 1e-9));
        history.push(sample(20, 5.0));
        assert_eq!(history.len(), 1);
        assert_eq!(history.at(stamp(20)).unwrap().positions[0], 5.0);
    }
}
