//! Which adapter a node runs on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::arguments::Remapper;
use super::dds::DdsPort;
use super::environment::{Environment, EnvironmentError};
use super::port::{Port, PortError};
use crate::clock::Clock;
use crate::threads::with_threads_that_go_first;

/// The way into the ROS graph. The default is [`Adapter::R2r`] in a build with the feature `r2r`, else
/// [`Adapter::Dds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// A DDS participant of its own; needs no ROS installation.
    Dds,
    /// A node of the installed ROS 2, with its middleware.
    R2r,
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An environment variable makes no sense.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The adapter cannot join the network.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// There is no adapter of this name, or not in this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("adapter `{0}`: {1}")]
pub struct UnknownAdapter(String, &'static str);

impl Adapter {
    /// The adapter that the arguments before `--ros-args` ask for, and the arguments that are left.
    ///
    /// # Errors
    /// [`UnknownAdapter`] when `--adapter` has no value or one that this build does not have.
    pub fn from_arguments(arguments: Vec<String>) -> Result<(Self, Vec<String>), UnknownAdapter> {
        let mut adapter = Self::default();
        let mut others = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--adapter") {
                Some("") => adapter = arguments.next().unwrap_or_default().parse()?,
                Some(value) if value.starts_with('=') => adapter = value.trim_start_matches('=').parse()?,
                _ => others.push(argument),
            }
        }
        Ok((adapter, others))
    }

    /// Joins the network as the node that `names` is for. The middleware's threads get this `realtime_priority`; 0: none.
    ///
    /// # Errors
    /// [`OpenError`] when the environment makes no sense or the adapter refuses.
    pub fn open(
        self,
        names: Remapper,
        clock: Arc<dyn Clock>,
        realtime_priority: u8,
    ) -> Result<Arc<dyn Port>, OpenError> {
        with_threads_that_go_first(realtime_priority, "the middleware", || self.join_network(names, clock))
    }

    fn join_network(self, names: Remapper, clock: Arc<dyn Clock>) -> Result<Arc<dyn Port>, OpenError> {
        match self {
            Self::Dds => Ok(Arc::new(DdsPort::open(names, &Environment::from_process()?, clock)?)),
            #[cfg(feature = "r2r")]
            Self::R2r => Ok(Arc::new(super::r2r::R2rPort::open(names, clock)?)),
            #[cfg(not(feature = "r2r"))]
            Self::R2r => Err(PortError::Unsupported(WITHOUT_R2R.to_owned()).into()),
        }
    }
}

#[cfg(not(feature = "r2r"))]
const WITHOUT_R2R: &str = "this executable was built without the feature r2r";

impl Default for Adapter {
    fn default() -> Self {
        if cfg!(feature = "r2r") { Self::R2r } else { Self::Dds }
    }
}

impl FromStr for Adapter {
    type Err = UnknownAdapter;

    fn from_str(name: &str) -> Result<Self, UnknownAdapter> {
        match name {
            "dds" => Ok(Self::Dds),
            #[cfg(feature = "r2r")]
            "r2r" => Ok(Self::R2r),
            #[cfg(not(feature = "r2r"))]
            "r2r" => Err(UnknownAdapter(name.to_owned(), WITHOUT_R2R)),
            _ => Err(UnknownAdapter(name.to_owned(), "expected dds or r2r")),
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dds => "dds",
            Self::R2r => "r2r",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Adapter, Vec<String>), UnknownAdapter> {
        Adapter::from_arguments(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn the_adapter_is_taken_out_of_the_arguments() {
        for line in ["a --adapter dds b", "a --adapter=dds b"] {
            assert_eq!(parse(line).unwrap(), (Adapter::Dds, vec!["a".to_owned(), "b".to_owned()]));
        }
        assert_eq!(parse("a").unwrap(), (Adapter::default(), vec!["a".to_owned()]));
        assert_eq!(parse("--adapters x").unwrap().1, ["--adapters", "x"]);
    }

    #[test]
    fn an_adapter_that_is_not_there_is_refused() {
        for line in ["--adapter", "--adapter ros1", "--adapter="] {
            assert!(parse(line).unwrap_err().to_string().contains("expected dds or r2r"), "{line}");
        }
        assert_eq!(parse("--adapter r2r").is_ok(), cfg!(feature = "r2r"));
    }
}
