//! The gate's thread: what its requests do and what it reports.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::arm::{GateBench, moved};
use vjepa_planner::safety::state_machine::SafetyState;

#[test]
fn without_a_request_to_activate_the_gate_stays_inactive_and_sends_nothing() {
    let mut bench = GateBench::new(false);
    bench.feed(Duration::from_millis(500));
    assert_eq!(bench.report().state, SafetyState::Inactive);
    let refusal = bench.propose(moved([0.03, 0.0, 0.0])).unwrap_err();
    assert!(refusal.contains("inactive"), "{refusal}");
    assert_eq!(bench.sent.trajectories(), 0);
    // Asked for in the wrong state, motion is refused and not remembered.
    bench.raise(|r| &r.enable);
    bench.raise(|r| &r.disable);
    bench.feed(Duration::from_millis(50));
    bench.raise(|r| &r.activate);
    bench.feed_until("active", |report| report.state == SafetyState::Active);
}

#[test]
fn after_deactivating_the_arm_comes_to_rest_and_nothing_more_is_sent() {
    let mut bench = GateBench::new(true);
    bench.feed_until("active", |report| report.state == SafetyState::Active);
    bench.propose(moved([0.05, 0.0, 0.0])).unwrap();
    assert!(!bench.report().at_rest);
    bench.raise(|r| &r.deactivate);
    bench.feed_until("inactive and at rest", |report| report.state == SafetyState::Inactive && report.at_rest);
    assert_eq!(bench.sent.trajectories(), 2, "the motion and its stop");
    bench.raise(|r| &r.enable);
    bench.feed(Duration::from_millis(400));
    assert!(bench.propose(moved([0.0, 0.0, 0.0])).is_err());
    assert_eq!((bench.report().state, bench.sent.trajectories()), (SafetyState::Inactive, 2));
    bench.raise(|r| &r.activate);
    bench.feed_until("active again", |report| report.state == SafetyState::Active);
}

#[test]
fn a_reset_while_inactive_ends_the_fault_but_does_not_activate() {
    let mut bench = GateBench::new(true);
    bench.feed_until("active", |report| report.state == SafetyState::Active);
    bench.raise(|r| &r.deactivate);
    bench.feed_until("inactive", |report| report.state == SafetyState::Inactive);
    bench.raise(|r| &r.stop);
    bench.feed_until("stopped", |report| report.state == SafetyState::Faulted);
    bench.raise(|r| &r.activate);
    bench.feed(Duration::from_millis(50));
    assert_eq!(bench.report().state, SafetyState::Faulted, "a stop outlives activation");
    bench.raise(|r| &r.deactivate);
    bench.raise(|r| &r.reset);
    bench.feed_until("inactive", |report| report.state == SafetyState::Inactive);
    bench.feed(Duration::from_millis(300));
    assert_eq!(bench.report().state, SafetyState::Inactive);
}

#[test]
fn a_stop_among_other_requests_wins() {
    let mut bench = GateBench::new(true);
    bench.feed_until("active", |report| report.state == SafetyState::Active);
    bench.requests.enable.store(true, Ordering::Release);
    bench.requests.activate.store(true, Ordering::Release);
    bench.raise(|r| &r.stop);
    bench.feed(Duration::from_millis(300));
    assert_eq!(bench.report().state, SafetyState::Faulted);
    bench.raise(|r| &r.reset);
    bench.feed(Duration::from_millis(300));
    assert_eq!(bench.report().state, SafetyState::Shadow, "motion has to be allowed anew");
}
