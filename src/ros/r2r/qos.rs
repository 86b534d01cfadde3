//! Quality of service: our profiles as those of `rmw`, and back.

use r2r::qos::{DurabilityPolicy, HistoryPolicy, ReliabilityPolicy};

use crate::ros::qos::{Durability, QosProfile, Reliability};

pub(super) fn to_rmw(qos: QosProfile) -> r2r::QosProfile {
    let profile = r2r::QosProfile::default().keep_last(usize::from(qos.depth.max(1)));
    let profile = match qos.reliability {
        Reliability::BestEffort => profile.best_effort(),
        Reliability::Reliable => profile.reliable(),
    };
    match qos.durability {
        Durability::Volatile => profile.volatile(),
        Durability::TransientLocal => profile.transient_local(),
    }
}

/// What discovery tells; a depth of 1 where the middleware does not announce it.
pub(super) fn from_rmw(qos: &r2r::QosProfile) -> QosProfile {
    QosProfile {
        reliability: match qos.reliability {
            ReliabilityPolicy::Reliable => Reliability::Reliable,
            _ => Reliability::BestEffort,
        },
        durability: match qos.durability {
            DurabilityPolicy::TransientLocal => Durability::TransientLocal,
            _ => Durability::Volatile,
        },
        depth: match qos.history {
            HistoryPolicy::KeepLast => u16::try_from(qos.depth.max(1)).unwrap_or(u16::MAX),
            HistoryPolicy::KeepAll => u16::MAX,
            _ => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_survive_the_way_to_rmw_and_back() {
        for qos in [QosProfile::SENSOR_DATA, QosProfile::DEFAULT, QosProfile::TRANSIENT_LOCAL] {
            assert_eq!(from_rmw(&to_rmw(qos)), qos);
        }
    }
}
