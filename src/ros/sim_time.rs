//! `use_sim_time`: ROS time from `/clock`.

use std::sync::Arc;

use super::messages as msg;
use super::port::{Port, PortError, PortExt as _, Received, Subscription};
use super::qos::{QosProfile, Reliability};
use crate::clock::RosClock;

/// As rclcpp subscribes `/clock`: the newest, best effort.
const CLOCK_QOS: QosProfile = QosProfile { reliability: Reliability::BestEffort, ..QosProfile::DEFAULT.with_depth(1) };

/// Where ROS time comes from: the machine, or `/clock` until this is dropped.
pub struct TimeSource {
    clock: Arc<RosClock>,
    /// To `/clock`, while ROS time is simulated.
    subscription: Option<Subscription>,
}

impl TimeSource {
    /// The machine's time, until [`Self::follow`] says otherwise.
    pub fn new(clock: Arc<RosClock>) -> Self {
        Self { clock, subscription: None }
    }

    /// Makes ROS time what `/clock` says (`simulated`) or the machine's, unless it is that already. Simulated time is zero
    /// until the first message. A jump backwards, as when a simulation is reset or a recording begins anew, is followed and
    /// said.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses the subscription; then ROS time stays the machine's.
    pub fn follow(&mut self, simulated: bool, port: &dyn Port) -> Result<(), PortError> {
        if simulated == self.subscription.is_some() {
            return Ok(());
        }
        if simulated {
            let clock = Arc::clone(&self.clock);
            let told = move |received: Received<msg::Clock>| {
                if let Some(back) = clock.set(received.message.clock.into()) {
                    tracing::warn!("/clock jumped back by {:.3} s; stamps begin anew", back.as_secs_f64());
                }
            };
            self.subscription = Some(port.subscribe::<msg::Clock>("/clock", CLOCK_QOS, told)?);
            self.clock.simulate();
        } else {
            self.subscription = None;
            self.clock.use_machine();
        }
        Ok(())
    }
}
