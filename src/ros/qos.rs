//! Quality of service: what a publisher promises and a subscription asks for, by the names ROS 2 users know.

use std::fmt;

use crate::config::parameter::{choices, parameters, read_only};

choices! {
    /// Whether lost messages are sent again.
    pub enum Reliability {
        /// Lost messages stay lost; the newest matters most.
        BestEffort = "best_effort",
        /// Lost messages are sent again while the publisher still keeps them.
        Reliable = "reliable",
    }
}

choices! {
    /// Whether a subscription that comes late receives what was published before.
    pub enum Durability {
        /// Only messages published while the subscription exists.
        Volatile = "volatile",
        /// The last `depth` messages are kept for subscriptions that come later ("latched").
        TransientLocal = "transient_local",
    }
}

choices! {
    /// Which messages are kept. This node works on the newest ones, so there is one answer.
    pub enum History {
        /// The last `depth`.
        KeepLast = "keep_last",
    }
}

/// A quality-of-service profile. History is always "keep last `depth`".
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QosProfile {
    /// Whether lost messages are sent again.
    pub reliability: Reliability,
    /// Whether late subscriptions receive old messages.
    pub durability: Durability,
    /// How many messages are kept, at least 1.
    pub depth: u16,
}

impl QosProfile {
    /// `rmw_qos_profile_sensor_data`: best effort, depth 5. Images and joint states.
    pub const SENSOR_DATA: Self =
        Self { reliability: Reliability::BestEffort, durability: Durability::Volatile, depth: 5 };
    /// `rmw_qos_profile_default`: reliable, depth 10. Commands, status and operator input.
    pub const DEFAULT: Self = Self { reliability: Reliability::Reliable, durability: Durability::Volatile, depth: 10 };
    /// Reliable, depth 1, kept for late subscriptions: `/robot_description` and the like.
    pub const TRANSIENT_LOCAL: Self =
        Self { reliability: Reliability::Reliable, durability: Durability::TransientLocal, depth: 1 };
    /// `rmw_qos_profile_services_default`: reliable, depth 10.
    pub const SERVICES: Self = Self::DEFAULT;

    /// Profile with the given name: `sensor_data`, `default`, `transient_local` or `services`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sensor_data" => Some(Self::SENSOR_DATA),
            "default" => Some(Self::DEFAULT),
            "transient_local" => Some(Self::TRANSIENT_LOCAL),
            "services" => Some(Self::SERVICES),
            _ => None,
        }
    }

    /// This profile with another depth (0 counts as 1).
    pub const fn with_depth(self, depth: u16) -> Self {
        Self { depth: if depth == 0 { 1 } else { depth }, ..self }
    }

    /// Why a publisher with this profile cannot serve a subscription that asks for `requested`; `None` when it can.
    pub fn incompatibility(&self, requested: &Self) -> Option<&'static str> {
        if self.reliability == Reliability::BestEffort && requested.reliability == Reliability::Reliable {
            Some("the publisher is best effort, the subscription asks for reliable")
        } else if self.durability == Durability::Volatile && requested.durability == Durability::TransientLocal {
            Some("the publisher is volatile, the subscription asks for transient local")
        } else {
            None
        }
    }
}

parameters! {
    /// Quality of service of one topic, where it is to differ from the node's own.
    #[derive(Copy)]
    pub struct TopicOverrides {
        /// The node's publisher.
        publisher: QosOverride = QosOverride::default(),
        /// The node's subscription.
        subscription: QosOverride = QosOverride::default(),
    }
}

parameters! {
    /// What is to differ from the node's own profile.
    #[derive(Copy)]
    pub struct QosOverride {
        /// Whether lost messages are sent again.
        reliability: Option<Reliability> = None => read_only(),
        /// Whether a subscription that comes late receives what was published before.
        durability: Option<Durability> = None => read_only(),
        /// Which messages are kept; the last `depth` is the only answer of this node.
        history: Option<History> = None => read_only(),
        /// How many messages are kept.
        depth: Option<u16> = None => read_only().range(1..=10_000),
    }
}

impl QosOverride {
    /// `profile` with what differs.
    #[must_use]
    pub fn apply(&self, profile: QosProfile) -> QosProfile {
        QosProfile {
            reliability: self.reliability.unwrap_or(profile.reliability),
            durability: self.durability.unwrap_or(profile.durability),
            depth: self.depth.unwrap_or(profile.depth),
        }
    }

    /// As an override that says all of `profile`.
    pub fn full(profile: QosProfile) -> Self {
        Self {
            reliability: Some(profile.reliability),
            durability: Some(profile.durability),
            history: Some(History::KeepLast),
            depth: Some(profile.depth),
        }
    }
}

impl fmt::Display for QosProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reliability = match self.reliability {
            Reliability::BestEffort => "best effort",
            Reliability::Reliable => "reliable",
        };
        let durability = match self.durability {
            Durability::Volatile => "volatile",
            Durability::TransientLocal => "transient local",
        };
        write!(f, "{reliability}, {durability}, depth {}", self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_name() {
        assert_eq!(QosProfile::named("sensor_data"), Some(QosProfile::SENSOR_DATA));
        assert_eq!(QosProfile::named("latched"), None);
        assert_eq!(QosProfile::DEFAULT.with_depth(0).depth, 1);
    }

    #[test]
    fn a_weaker_offer_is_refused_and_a_stronger_one_is_not() {
        assert!(QosProfile::SENSOR_DATA.incompatibility(&QosProfile::DEFAULT).is_some());
        assert!(QosProfile::DEFAULT.incompatibility(&QosProfile::SENSOR_DATA).is_none());
        assert!(QosProfile::DEFAULT.incompatibility(&QosProfile::TRANSIENT_LOCAL).is_some());
        assert!(QosProfile::TRANSIENT_LOCAL.incompatibility(&QosProfile::DEFAULT).is_none());
    }
}
