//! Options that the commands share.

use std::path::PathBuf;

use clap::Args;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use vjepa_planner::world_model::runtime::{Provider, RuntimeConfig};

/// Which model, and what runs it.
#[derive(Args, Debug)]
pub struct ModelOptions {
    /// Model directory: the one with `manifest.yaml`
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// What runs the graphs: cpu, cuda or tensorrt
    #[arg(long, value_name = "P", default_value = "cpu", value_parser = parse_name::<Provider>)]
    provider: Provider,
    /// What to use when that cannot be had, in this order; without it, that is an error
    #[arg(long, value_name = "P,…", value_delimiter = ',', value_parser = parse_name::<Provider>)]
    fallback: Vec<Provider>,
    /// Processor threads inside one operation
    #[arg(long, value_name = "N", default_value_t = RuntimeConfig::default().intra_op_threads)]
    threads: usize,
    /// Threads among which the candidates of a call are divided (cpu), each with N of --threads; 0: two for a small
    /// model, unless --threads is above 1
    #[arg(long, value_name = "N", default_value_t = RuntimeConfig::default().candidate_threads)]
    lanes: usize,
    /// Let these threads spin while they wait: sooner answers, at the price of the cores
    #[arg(long)]
    spin: bool,
    /// One JSON object on standard output instead of text; units are in the names
    #[arg(long)]
    pub json: bool,
}

impl ModelOptions {
    /// How sessions are made.
    pub fn runtime(&self) -> RuntimeConfig {
        RuntimeConfig {
            provider: self.provider,
            fallback: self.fallback.clone(),
            intra_op_threads: self.threads,
            candidate_threads: self.lanes,
            intra_op_spinning: self.spin,
            ..RuntimeConfig::default()
        }
    }
}

/// By the name that it has in the node's parameters.
pub fn parse_name<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, Error> {
    let name: StrDeserializer<'_, Error> = name.into_deserializer();
    T::deserialize(name)
}
