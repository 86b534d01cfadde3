//! `use_sim_time`: ROS time from `/clock`.

use std::sync::Arc;

use super::messages as msg;
use super::port::{Port, PortError, PortExt as _, Subscription};
use super::qos::{QosProfile, Reliability};
use crate::clock::RosClock;

/// As rclcpp subscribes `/clock`: the newest, best effort.
const CLOCK_QOS: QosProfile = QosProfile { reliability: Reliability::BestEffort, ..QosProfile::DEFAULT.with_depth(1) };

/// Makes ROS time what `/clock` says, until the subscription is dropped. A jump backwards, as when a simulation is
/// reset or a recording begins anew, is followed and said.
///
/// # Errors
/// [`PortError`] when the middleware refuses the subscription.
pub fn follow(port: &dyn Port, clock: Arc<RosClock>) -> Result<Subscription, PortError> {
    clock.simulated();
    port.subscribe::<msg::Clock>("/clock", CLOCK_QOS, move |received| {
        if let Some(back) = clock.set(received.message.clock.into()) {
            tracing::warn!("/clock jumped back by {:.3} s; stamps begin anew", back.as_secs_f64());
        }
    })
}
