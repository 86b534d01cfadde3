//! Robot descriptions (URDF): finds the chain from a base link to a tip link and the limits of its joints.
//!
//! Works from a file or from the text that ROS publishes on `/robot_description`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use nalgebra::{Isometry3, Translation3, Unit, UnitQuaternion, Vector3};

use super::joints::{JointName, MAX_DOF};
use super::kinematics::{Chain, ChainJoint, DescribedLimits, JointKind};
use super::limits::{JointLimitConfig, JointLimitError, StatedLimits};

/// What is wrong with a robot description, and where it came from.
#[derive(Debug, thiserror::Error)]
#[error("robot description {origin}: {problem}")]
pub struct DescriptionError {
    /// File path or topic that the description came from.
    pub origin: String,
    /// What is wrong.
    pub problem: DescriptionProblem,
}

/// What is wrong with a robot description.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionProblem {
    /// The file cannot be read.
    #[error("cannot read the file: {0}; check the path in the configuration")]
    Unreadable(std::io::Error),
    /// Not a URDF.
    #[error("not a valid URDF: {0}")]
    Syntax(urdf_rs::UrdfError),
    /// A configured link is not in the description.
    #[error("there is no link `{link}`; links are: {available}")]
    MissingLink {
        /// The configured link.
        link: String,
        /// Links of the description.
        available: String,
    },
    /// A configured joint is not in the description.
    #[error("there is no joint `{joint}`; joints are: {available}")]
    MissingJoint {
        /// The configured joint.
        joint: String,
        /// Joints of the description.
        available: String,
    },
    /// The tip does not hang on the base.
    #[error(
        "link `{tip}` does not hang on link `{base}` (its chain of parents ends at `{reached}`); swap or correct them"
    )]
    NoChain {
        /// Configured base link.
        base: String,
        /// Configured tip link.
        tip: String,
        /// Where the way from the tip upwards ended.
        reached: String,
    },
    /// A link is the child of two joints, or its own ancestor.
    #[error("link `{link}` is the child of more than one joint or of itself; a robot description must be a tree")]
    NotATree {
        /// The link.
        link: String,
    },
    /// Base and tip have no movable joint between them.
    #[error("no movable joint between link `{base}` and link `{tip}`")]
    NoMovableJoint {
        /// Configured base link.
        base: String,
        /// Configured tip link.
        tip: String,
    },
    /// More joints than [`MAX_DOF`].
    #[error("{count} movable joints between the base and tip links; at most {MAX_DOF} are supported")]
    TooManyJoints {
        /// Joints found.
        count: usize,
    },
    /// A joint type that a serial arm cannot have.
    #[error("joint `{joint}` is of type {kind}; supported are fixed, revolute, continuous and prismatic")]
    UnsupportedJointType {
        /// The joint.
        joint: String,
        /// Its type.
        kind: String,
    },
    /// A joint of the chain follows another joint.
    #[error("joint `{joint}` mimics `{leader}`; mimic joints cannot be part of the arm's chain")]
    Mimic {
        /// The joint.
        joint: String,
        /// The joint that it follows.
        leader: String,
    },
    /// A limit that is stated and makes no sense.
    #[error("joint `{joint}` has an unusable {what} limit ({value}); correct its <limit>")]
    UnusableLimit {
        /// The joint.
        joint: String,
        /// `position` or `velocity`.
        what: &'static str,
        /// The numbers found.
        value: String,
    },
    /// Limits that are missing, or settings that do not fit them.
    #[error(transparent)]
    Limits(#[from] JointLimitError),
    /// An origin or axis with NaN, infinity or zero length.
    #[error("joint `{joint}` has an invalid {what}: {value}")]
    BadGeometry {
        /// The joint.
        joint: String,
        /// `origin` or `axis`.
        what: &'static str,
        /// The numbers found.
        value: String,
    },
}

/// A parsed robot description.
#[derive(Clone, Debug)]
pub struct RobotDescription {
    robot: urdf_rs::Robot,
    origin: String,
}

impl RobotDescription {
    /// Reads a URDF file (plain URDF; xacro must be expanded before).
    ///
    /// # Errors
    /// When the file cannot be read or is no URDF.
    pub fn from_file(path: &Path) -> Result<Self, DescriptionError> {
        let origin = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_text(&text, &origin),
            Err(error) => Err(DescriptionError { origin, problem: DescriptionProblem::Unreadable(error) }),
        }
    }

    /// Parses the text of a URDF; `origin` is what errors name as its source, such as `/robot_description`.
    ///
    /// # Errors
    /// When the text is no URDF.
    pub fn from_text(text: &str, origin: &str) -> Result<Self, DescriptionError> {
        match urdf_rs::read_from_string(&with_velocities(text)) {
            Ok(robot) => Ok(Self { robot, origin: origin.to_owned() }),
            Err(error) => {
                Err(DescriptionError { origin: origin.to_owned(), problem: DescriptionProblem::Syntax(error) })
            }
        }
    }

    /// Where the description came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The chain from `base_link` to `tip_link`, with the limits that the description states.
    ///
    /// # Errors
    /// As [`Self::chain_within`].
    pub fn chain(&self, base_link: &str, tip_link: &str) -> Result<Chain, DescriptionError> {
        self.chain_within(base_link, tip_link, &BTreeMap::new())
    }

    /// The chain from `base_link` to `tip_link`, its limits tightened and completed by the `own` ones of joints by name.
    ///
    /// # Errors
    /// Names the link or joint: a link is missing, the tip does not hang on the base, a joint is of an unsupported
    /// type, mimics another, lacks limits or is given wider ones, or has an invalid origin or axis.
    pub fn chain_within(
        &self,
        base_link: &str,
        tip_link: &str,
        own: &BTreeMap<String, JointLimitConfig>,
    ) -> Result<Chain, DescriptionError> {
        self.find_chain(base_link, tip_link, own).map_err(|problem| self.error(problem))
    }

    /// Limits of one joint by name as the description states them, for joints beside the chain such as a finger.
    ///
    /// # Errors
    /// As [`Self::joint_limits_within`].
    pub fn joint_limits(&self, joint: &str) -> Result<DescribedLimits, DescriptionError> {
        self.joint_limits_within(joint, &BTreeMap::new())
    }

    /// Limits of one joint by name, tightened and completed by its `own` ones.
    ///
    /// # Errors
    /// When there is no such joint, or it is not movable, or its limits are missing or given wider ones.
    pub fn joint_limits_within(
        &self,
        joint: &str,
        own: &BTreeMap<String, JointLimitConfig>,
    ) -> Result<DescribedLimits, DescriptionError> {
        let Some(found) = self.robot.joints.iter().find(|j| j.name == joint) else {
            let available = list(self.robot.joints.iter().map(|j| j.name.as_str()));
            return Err(self.error(DescriptionProblem::MissingJoint { joint: joint.to_owned(), available }));
        };
        let limits = match kind_of(found) {
            Ok(Some(kind)) => limits_of(found, kind, own),
            Ok(None) => Err(DescriptionProblem::UnsupportedJointType { joint: joint.to_owned(), kind: "fixed".into() }),
            Err(problem) => Err(problem),
        };
        limits.map_err(|problem| self.error(problem))
    }

    fn error(&self, problem: DescriptionProblem) -> DescriptionError {
        DescriptionError { origin: self.origin.clone(), problem }
    }

    fn find_chain(
        &self,
        base_link: &str,
        tip_link: &str,
        own: &BTreeMap<String, JointLimitConfig>,
    ) -> Result<Chain, DescriptionProblem> {
        for link in [base_link, tip_link] {
            if !self.robot.links.iter().any(|l| l.name == link) {
                let available = list(self.robot.links.iter().map(|l| l.name.as_str()));
                return Err(DescriptionProblem::MissingLink { link: link.to_owned(), available });
            }
        }
        let path = self.path(base_link, tip_link)?;
        let mut joints = Vec::new();
        let mut previous_from_here = Isometry3::identity();
        for joint in path {
            previous_from_here *= origin_of(joint)?;
            let Some(kind) = kind_of(joint)? else { continue };
            if let Some(mimic) = &joint.mimic {
                return Err(DescriptionProblem::Mimic { joint: joint.name.clone(), leader: mimic.joint.clone() });
            }
            joints.push(ChainJoint {
                name: JointName::from(joint.name.as_str()),
                kind,
                previous_from_joint: previous_from_here,
                axis: axis_of(joint)?,
                limits: limits_of(joint, kind, own)?,
            });
            previous_from_here = Isometry3::identity();
        }
        match joints.len() {
            0 => Err(DescriptionProblem::NoMovableJoint { base: base_link.to_owned(), tip: tip_link.to_owned() }),
            count if count > MAX_DOF => Err(DescriptionProblem::TooManyJoints { count }),
            _ => Ok(Chain::new(base_link.to_owned(), tip_link.to_owned(), joints, previous_from_here)),
        }
    }

    /// Joints from base to tip.
    fn path(&self, base_link: &str, tip_link: &str) -> Result<Vec<&urdf_rs::Joint>, DescriptionProblem> {
        let mut parent_joint = HashMap::new();
        for joint in &self.robot.joints {
            if parent_joint.insert(joint.child.link.as_str(), joint).is_some() {
                return Err(DescriptionProblem::NotATree { link: joint.child.link.clone() });
            }
        }
        let mut path = Vec::new();
        let mut seen = HashSet::new();
        let mut link = tip_link;
        while link != base_link {
            if !seen.insert(link) {
                return Err(DescriptionProblem::NotATree { link: link.to_owned() });
            }
            let Some(&joint) = parent_joint.get(link) else {
                return Err(DescriptionProblem::NoChain {
                    base: base_link.to_owned(),
                    tip: tip_link.to_owned(),
                    reached: link.to_owned(),
                });
            };
            path.push(joint);
            link = &joint.parent.link;
        }
        path.reverse();
        Ok(path)
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// `None` for a fixed joint.
fn kind_of(joint: &urdf_rs::Joint) -> Result<Option<JointKind>, DescriptionProblem> {
    match joint.joint_type {
        urdf_rs::JointType::Fixed => Ok(None),
        urdf_rs::JointType::Revolute => Ok(Some(JointKind::Revolute)),
        urdf_rs::JointType::Continuous => Ok(Some(JointKind::Continuous)),
        urdf_rs::JointType::Prismatic => Ok(Some(JointKind::Prismatic)),
        ref other => Err(DescriptionProblem::UnsupportedJointType {
            joint: joint.name.clone(),
            kind: format!("{other:?}").to_lowercase(),
        }),
    }
}

fn origin_of(joint: &urdf_rs::Joint) -> Result<Isometry3<f64>, DescriptionProblem> {
    let ([x, y, z], [roll, pitch, yaw]) = (joint.origin.xyz.0, joint.origin.rpy.0);
    if ![x, y, z, roll, pitch, yaw].iter().all(|v| v.is_finite()) {
        let value = format!("xyz {:?}, rpy {:?}", joint.origin.xyz.0, joint.origin.rpy.0);
        return Err(DescriptionProblem::BadGeometry { joint: joint.name.clone(), what: "origin", value });
    }
    Ok(Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::from_euler_angles(roll, pitch, yaw)))
}

fn axis_of(joint: &urdf_rs::Joint) -> Result<Unit<Vector3<f64>>, DescriptionProblem> {
    let axis = Vector3::from(joint.axis.xyz.0);
    let bad = || DescriptionProblem::BadGeometry {
        joint: joint.name.clone(),
        what: "axis",
        value: format!("{:?}", joint.axis.xyz.0),
    };
    if !axis.iter().all(|v| v.is_finite()) {
        return Err(bad());
    }
    Unit::try_new(axis, 1e-6).ok_or_else(bad)
}

/// The limits of a joint: the stated ones, tightened and completed by its `own`.
fn limits_of(
    joint: &urdf_rs::Joint,
    kind: JointKind,
    own: &BTreeMap<String, JointLimitConfig>,
) -> Result<DescribedLimits, DescriptionProblem> {
    let own = own.get(&joint.name).copied().unwrap_or_default();
    Ok(stated_limits(joint, kind)?.tightened(&joint.name, &own)?.complete(&joint.name, kind)?)
}

/// The parser fills what is missing with zeros, and with infinities in URDF 1.2; neither is a limit.
fn stated_limits(joint: &urdf_rs::Joint, kind: JointKind) -> Result<StatedLimits, DescriptionProblem> {
    let urdf_rs::JointLimit { lower, upper, velocity, .. } = joint.limit;
    let unusable = |what, value| DescriptionProblem::UnusableLimit { joint: joint.name.clone(), what, value };
    let stated = |value: f64| (value.is_finite() && value > 0.0).then_some(value);
    let is_endless = kind == JointKind::Continuous;
    let position = (!is_endless && (lower, upper) != (0.0, 0.0)).then_some((lower, upper));
    if let Some((lower, upper)) = position
        && !(lower.is_finite() && upper.is_finite() && lower < upper)
    {
        return Err(unusable("position", format!("lower {lower}, upper {upper}")));
    }
    if velocity.is_nan() || velocity < 0.0 {
        return Err(unusable("velocity", format!("{velocity}")));
    }
    Ok(StatedLimits {
        lower: position.map(|(lower, _)| lower),
        upper: position.map(|(_, upper)| upper),
        velocity: stated(velocity),
        effort: stated(joint.limit.effort),
        // A stop is a deceleration, so the lower of the two is what a trajectory may use.
        acceleration: stated(joint.limit.acceleration.min(joint.limit.deceleration)),
        jerk: stated(joint.limit.jerk),
    })
}

/// The parser insists on a velocity in a `<limit>`, which others leave out; a zero stands for none.
fn with_velocities(text: &str) -> String {
    const TAG: &str = "<limit";
    let lacks_velocity = |attributes: &str| {
        let element = attributes.split('>').next().unwrap_or_default();
        let is_limit = attributes.starts_with(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'));
        is_limit && !element.contains("velocity")
    };
    let mut parts = text.split(TAG);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for attributes in parts {
        out.push_str(TAG);
        if lacks_velocity(attributes) {
            out.push_str(r#" velocity="0""#);
        }
        out.push_str(attributes);
    }
    out
}
