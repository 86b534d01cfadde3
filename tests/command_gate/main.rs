//! The command gate with the Panda: what gets out, what does not, and how the arm comes to rest.

#[path = "../common/mod.rs"]
mod common;
mod judging;
mod random_streams;
mod rig;
mod stopping;
