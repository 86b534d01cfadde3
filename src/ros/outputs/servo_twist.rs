//! `geometry_msgs/TwistStamped`, for MoveIt Servo (`command_in_type: speed_units`). Servo ignores commands with old
//! stamps, so the stamp is the time of sending.

use std::sync::Arc;

use crate::clock::Clock;
use crate::command::{SinkError, TwistCommand};
use crate::ros::messages::{Header, TwistStamped};
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;

/// A publisher of the tip's velocities.
pub struct ServoTwistOutput {
    publisher: Publisher<TwistStamped>,
    clock: Arc<dyn Clock>,
    /// Reused, so that streaming allocates nothing here.
    message: TwistStamped,
}

impl ServoTwistOutput {
    /// Publishes on `topic`, such as `/servo_node/delta_twist_cmds`, in the frame `base_frame`.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid or the middleware refuses.
    pub fn new(port: &dyn Port, topic: &str, base_frame: &str, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let header = Header { frame_id: base_frame.to_owned(), ..Header::default() };
        let message = TwistStamped { header, ..TwistStamped::default() };
        Ok(Self { publisher: port.publisher(topic, QosProfile::DEFAULT)?, clock, message })
    }

    /// Sends a velocity.
    ///
    /// # Errors
    /// When the middleware does not take the message.
    pub fn send(&mut self, command: &TwistCommand) -> Result<(), SinkError> {
        self.message.header.stamp = self.clock.ros().into();
        self.message.twist.linear = command.linear.into();
        self.message.twist.angular = command.angular.into();
        Ok(self.publisher.publish(&self.message)?)
    }
}
