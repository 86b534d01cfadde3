//! The way out: the outputs that the configuration names. Only the command gate holds a [`Sink`].

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, MonotonicTime};
use crate::command::gripper_goals::GripperReport;
use crate::command::settings::{ArmOutput, GripperFailure, GripperOutput};
use crate::command::{
    ArmCommands, CommandSink, GripperCommand, JointPositionsCommand, JointTrajectoryCommand, SinkError, TwistCommand,
};
use crate::config::Command;
use crate::ros::outputs::{
    ForwardCommandOutput, GripperAction, GripperActionOutput, JointTrajectoryOutput, ServoTwistOutput,
};
use crate::ros::port::{Port, PortError};

/// Where commands go.
pub enum Sink {
    /// To the controllers.
    Controllers(Box<Controllers>),
    /// Nowhere: in shadow mode there is no publisher at all.
    Nowhere,
}

/// Publishers for the controllers of arm and gripper.
pub struct Controllers {
    arm: Arm,
    gripper: Gripper,
    gripper_failure: GripperFailure,
    period: Duration,
}

enum Arm {
    JointTrajectory(JointTrajectoryOutput),
    ForwardCommand(ForwardCommandOutput),
    ServoTwist(ServoTwistOutput),
}

enum Gripper {
    JointTrajectory(JointTrajectoryOutput),
    ForwardCommand(ForwardCommandOutput),
    Action(Box<GripperActionOutput>),
    None,
}

impl Sink {
    /// Publishers for the controllers' topics; twists are in `base_frame` and stamped by `clock`.
    ///
    /// # Errors
    /// [`PortError`] when a topic name is invalid or the middleware refuses.
    pub fn controllers(
        port: &dyn Port,
        command: &Command,
        base_frame: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, PortError> {
        let (arm_topic, gripper_topic) = (&command.arm_topic, &command.gripper_topic);
        let arm = match command.output {
            ArmOutput::JointTrajectory => Arm::JointTrajectory(JointTrajectoryOutput::new(port, arm_topic)?),
            ArmOutput::ForwardCommand => Arm::ForwardCommand(ForwardCommandOutput::new(port, arm_topic)?),
            ArmOutput::ServoTwist => {
                Arm::ServoTwist(ServoTwistOutput::new(port, arm_topic, base_frame, Arc::clone(clock))?)
            }
        };
        let action = |kind| {
            let (min_change, max_effort) = (command.gripper_min_change, command.gripper_max_effort);
            GripperActionOutput::new(port, kind, gripper_topic, min_change, max_effort, Arc::clone(clock))
                .map(|output| Gripper::Action(Box::new(output)))
        };
        let gripper = match command.gripper_output {
            GripperOutput::JointTrajectory => {
                Gripper::JointTrajectory(JointTrajectoryOutput::new(port, gripper_topic)?)
            }
            GripperOutput::ForwardCommand => Gripper::ForwardCommand(ForwardCommandOutput::new(port, gripper_topic)?),
            GripperOutput::GripperCommand => action(GripperAction::Gripper)?,
            GripperOutput::ParallelGripperCommand => action(GripperAction::Parallel)?,
            GripperOutput::None => Gripper::None,
        };
        let period = Duration::from_secs_f64(1.0 / command.rate_hz);
        let gripper_failure = command.gripper_failure;
        Ok(Self::Controllers(Box::new(Controllers { arm, gripper, gripper_failure, period })))
    }

    /// What the status shows of a gripper that is moved by an action.
    pub fn gripper_report(&self) -> Option<Arc<GripperReport>> {
        match self {
            Self::Controllers(controllers) => match &controllers.gripper {
                Gripper::Action(output) => Some(output.report()),
                _ => None,
            },
            Self::Nowhere => None,
        }
    }

    fn gripper_action(&mut self) -> Option<(&mut GripperActionOutput, GripperFailure)> {
        let Self::Controllers(controllers) = self else { return None };
        match &mut controllers.gripper {
            Gripper::Action(output) => Some((output, controllers.gripper_failure)),
            _ => None,
        }
    }

    fn arm(&mut self) -> Option<&mut Arm> {
        match self {
            Self::Controllers(controllers) => Some(&mut controllers.arm),
            Self::Nowhere => None,
        }
    }
}

impl CommandSink for Sink {
    fn arm_commands(&self) -> ArmCommands {
        let Self::Controllers(controllers) = self else { return ArmCommands::Trajectories };
        let period = controllers.period;
        match controllers.arm {
            Arm::JointTrajectory(_) => ArmCommands::Trajectories,
            Arm::ForwardCommand(_) => ArmCommands::Positions { period },
            Arm::ServoTwist(_) => ArmCommands::Twists { period },
        }
    }

    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError> {
        match self.arm() {
            Some(Arm::JointTrajectory(output)) => output.send(command),
            _ => Err(no_output()),
        }
    }

    fn joint_positions(&mut self, command: &JointPositionsCommand) -> Result<(), SinkError> {
        match self.arm() {
            Some(Arm::ForwardCommand(output)) => output.send(command),
            _ => Err(no_output()),
        }
    }

    fn twist(&mut self, command: &TwistCommand) -> Result<(), SinkError> {
        match self.arm() {
            Some(Arm::ServoTwist(output)) => output.send(command),
            _ => Err(no_output()),
        }
    }

    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        let Self::Controllers(controllers) = self else { return Err(no_output()) };
        match &mut controllers.gripper {
            Gripper::JointTrajectory(output) => output.send_gripper(command),
            Gripper::ForwardCommand(output) => output.send_gripper(command),
            Gripper::Action(output) => {
                output.send_gripper(command);
                Ok(())
            }
            Gripper::None => Ok(()),
        }
    }

    fn turn(&mut self, now: MonotonicTime) -> Result<(), SinkError> {
        let Some((output, failure)) = self.gripper_action() else { return Ok(()) };
        let result = output.turn(now);
        match failure {
            GripperFailure::Report => Ok(()),
            GripperFailure::Fault => result,
        }
    }

    fn halt(&mut self) {
        if let Some((output, _)) = self.gripper_action() {
            output.halt();
        }
    }
}

fn no_output() -> SinkError {
    SinkError { reason: "there is no output for this command".to_owned() }
}
