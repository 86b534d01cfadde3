//! The command gate with the Panda: what gets out, what does not, and how the arm comes to rest.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

#[path = "../common/mod.rs"]
mod common;
mod joining;
mod judging;
mod random_streams;
mod rig;
mod stopping;
mod streaming;
