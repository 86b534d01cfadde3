//! The r2r adapter: the suite over the port, on the ROS 2 that is sourced (`make test-ros`).
//!
//! `rcl` has one context in a process, in the domain that the environment names; it must keep to loopback.
#![cfg(all(feature = "r2r", not(feature = "r2r-doc-only")))]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;

use vjepa_planner::clock::SystemClock;
use vjepa_planner::ros::arguments::Remapper;
use vjepa_planner::ros::environment::{DiscoveryRange, Environment};
use vjepa_planner::ros::port::Port;
use vjepa_planner::ros::r2r::R2rPort;

#[macro_use]
mod port;

use port::Adapter;

const R2R: Adapter = Adapter { domain, open, tells_source: false, shares_domain: true };

port_suite! { R2R }

fn domain() -> u16 {
    let environment = Environment::from_process().unwrap();
    assert_eq!(environment.discovery_range, DiscoveryRange::Localhost, "run `make test-ros`");
    environment.domain_id
}

fn open(_domain: u16, names: Remapper, clock: Arc<SystemClock>) -> Arc<dyn Port> {
    Arc::new(R2rPort::open(names, clock).unwrap())
}
