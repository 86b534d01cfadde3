//! The environment variables by which ROS 2 users say whom a node may talk to.

use std::fmt;

/// `ROS_DOMAIN_ID`: nodes in different domains never meet.
pub const DOMAIN_ID: &str = "ROS_DOMAIN_ID";
/// `ROS_LOCALHOST_ONLY`: 1 keeps traffic on this machine; older than, and stronger than, the discovery range.
pub const LOCALHOST_ONLY: &str = "ROS_LOCALHOST_ONLY";
/// `ROS_AUTOMATIC_DISCOVERY_RANGE`: how far nodes look for each other.
pub const DISCOVERY_RANGE: &str = "ROS_AUTOMATIC_DISCOVERY_RANGE";
/// `ROS_STATIC_PEERS`: hosts to announce the node to besides, separated by semicolons.
pub const STATIC_PEERS: &str = "ROS_STATIC_PEERS";

/// The largest domain whose ports exist (RTPS port numbers are 7400 + 250 × domain + …).
pub const MAX_DOMAIN_ID: u16 = 232;

/// How far nodes look for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiscoveryRange {
    /// Nobody, not even on this machine.
    Off,
    /// This machine.
    Localhost,
    /// The network that multicast reaches; the default.
    #[default]
    Subnet,
    /// Whatever the middleware does by itself.
    SystemDefault,
}

impl fmt::Display for DiscoveryRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "OFF",
            Self::Localhost => "LOCALHOST",
            Self::Subnet => "SUBNET",
            Self::SystemDefault => "SYSTEM_DEFAULT",
        })
    }
}

/// Whom the node may talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// DDS domain, 0..=[`MAX_DOMAIN_ID`].
    pub domain_id: u16,
    /// How far nodes look for each other.
    pub discovery_range: DiscoveryRange,
    /// Hosts (addresses or names) to announce the node to besides.
    pub static_peers: Vec<String>,
    /// Things a user should be told: settings that override each other.
    pub warnings: Vec<String>,
}

/// A variable holds something that it cannot mean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?}: expected {expected}")]
pub struct EnvironmentError {
    /// Name of the variable.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
    /// What it may hold.
    pub expected: &'static str,
}

impl Environment {
    /// Reads the variables of this process.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the variable that makes no sense.
    pub fn from_process() -> Result<Self, EnvironmentError> {
        Self::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Interprets the variables that `get` returns. An empty value counts as unset, as in ROS.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the variable that makes no sense.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let set = |name: &'static str| get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let error = |variable, value: String, expected| EnvironmentError { variable, value, expected };
        let mut environment = Self::default();

        if let Some(value) = set(DOMAIN_ID) {
            let parsed = value.parse::<u16>().ok().filter(|id| *id <= MAX_DOMAIN_ID);
            environment.domain_id = parsed.ok_or_else(|| error(DOMAIN_ID, value, "a whole number from 0 to 232"))?;
        }
        let range = match set(DISCOVERY_RANGE) {
            None => None,
            Some(value) => Some(match value.as_str() {
                "OFF" => DiscoveryRange::Off,
                "LOCALHOST" => DiscoveryRange::Localhost,
                "SUBNET" => DiscoveryRange::Subnet,
                "SYSTEM_DEFAULT" => DiscoveryRange::SystemDefault,
                _ => return Err(error(DISCOVERY_RANGE, value, "OFF, LOCALHOST, SUBNET or SYSTEM_DEFAULT")),
            }),
        };
        let localhost_only = match set(LOCALHOST_ONLY) {
            None => false,
            Some(value) => match value.as_str() {
                "0" => false,
                "1" => true,
                _ => return Err(error(LOCALHOST_ONLY, value, "0 or 1")),
            },
        };
        if let Some(value) = set(STATIC_PEERS) {
            for peer in value.split(';').map(str::trim).filter(|peer| !peer.is_empty()) {
                if !is_host(peer) {
                    return Err(error(
                        STATIC_PEERS,
                        value.clone(),
                        "IP addresses or host names, separated by semicolons, without ports",
                    ));
                }
                environment.static_peers.push(peer.to_owned());
            }
        }
        environment.discovery_range = range.unwrap_or_default();
        if localhost_only {
            // As in rcl: the older variable wins, and says so.
            if range.is_some_and(|range| range != DiscoveryRange::Localhost) {
                environment.warnings.push(format!("{LOCALHOST_ONLY}=1 overrides {DISCOVERY_RANGE}"));
            }
            if !environment.static_peers.is_empty() {
                environment.warnings.push(format!("{LOCALHOST_ONLY}=1 overrides {STATIC_PEERS}"));
            }
            environment.discovery_range = DiscoveryRange::Localhost;
            environment.static_peers.clear();
        }
        Ok(environment)
    }
}

/// Whether the text can be an IP address or a host name.
fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
            && text.chars().any(|c| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::parse(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn nothing_set_means_domain_zero_on_the_subnet() {
        assert_eq!(parse(&[]).unwrap(), Environment::default());
        assert_eq!(parse(&[(DOMAIN_ID, ""), (DISCOVERY_RANGE, "")]).unwrap(), Environment::default());
    }

    #[test]
    fn every_variable_is_honoured() {
        let environment = parse(&[
            (DOMAIN_ID, "42"),
            (DISCOVERY_RANGE, "LOCALHOST"),
            (STATIC_PEERS, "192.168.1.2; robot.local;;fe80::1"),
        ])
        .unwrap();
        assert_eq!(environment.domain_id, 42);
        assert_eq!(environment.discovery_range, DiscoveryRange::Localhost);
        assert_eq!(environment.static_peers, ["192.168.1.2", "robot.local", "fe80::1"]);
    }

    #[test]
    fn localhost_only_wins_and_says_so() {
        let environment =
            parse(&[(LOCALHOST_ONLY, "1"), (DISCOVERY_RANGE, "SUBNET"), (STATIC_PEERS, "10.0.0.1")]).unwrap();
        assert_eq!(environment.discovery_range, DiscoveryRange::Localhost);
        assert!(environment.static_peers.is_empty());
        assert_eq!(environment.warnings.len(), 2);
        assert_eq!(parse(&[(LOCALHOST_ONLY, "0")]).unwrap().discovery_range, DiscoveryRange::Subnet);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (variable, value) in [
            (DOMAIN_ID, "-1"),
            (DOMAIN_ID, "233"),
            (DOMAIN_ID, "abc"),
            (LOCALHOST_ONLY, "yes"),
            (DISCOVERY_RANGE, "localhost"),
            (STATIC_PEERS, "10.0.0.1:7400"),
            (STATIC_PEERS, "10.0.0.1,10.0.0.2"),
            (STATIC_PEERS, "999.1.1.1"),
        ] {
            let error = parse(&[(variable, value)]).unwrap_err();
            assert_eq!((error.variable, error.value.as_str()), (variable, value));
        }
    }
}
