//! Why a configuration is refused.

use std::fmt;
use std::path::PathBuf;

use super::parameter::ParameterError;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
    },
    /// By `-p`.
    Override {
        /// `name:=value` as given.
        argument: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Override { argument } => write!(f, "-p {argument}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("parameter file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or an override is not YAML.
    #[error("{what}: {message}")]
    Syntax {
        /// The file or the override.
        what: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// The file is YAML but not a ROS parameter file.
    #[error("{origin}: expected a node name (`{node}` or `/**`) at the top and `ros__parameters` below it")]
    Shape {
        /// The place in the file.
        origin: Origin,
        /// Full name of this node.
        node: String,
    },
    /// A value that was given is refused.
    #[error("{origin}: {source}")]
    Given {
        /// Where it was given.
        origin: Origin,
        /// What is wrong with it.
        source: ParameterError,
    },
    /// A value is missing, or defaults do not fit together.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}
