//! Who is in the network, as far as `r2r` tells.

use super::qos::from_rmw;
use crate::ros::names::NodeName;
use crate::ros::port::{Endpoint, PublisherId, TopicInfo};
use crate::ros::qos::QosProfile;

/// A publisher of this node, remembered for [`topic_info`].
pub(super) struct Local {
    pub(super) id: u64,
    pub(super) topic: String,
    pub(super) message_type: &'static str,
    pub(super) qos: QosProfile,
    pub(super) publisher: r2r::PublisherUntyped,
}

/// Who uses the topic with this absolute name.
///
/// `r2r` lists publishers; of subscriptions it counts those that match one of our publishers, so these have that
/// publisher's type and profile and no identity.
pub(super) fn topic_info(
    node: &r2r::Node,
    own: &NodeName,
    locals: &[Local],
    topic: String,
) -> Result<TopicInfo, r2r::Error> {
    let publishers = node.get_publishers_info_by_topic(&topic, false)?;
    let publishers = publishers.into_iter().map(|info| Endpoint {
        id: PublisherId(identity(&info.endpoint_gid)),
        message_type: info.topic_type,
        qos: from_rmw(&info.qos_profile),
        local: info.node_name == own.name() && info.node_namespace == own.namespace(),
    });
    let mut subscriptions = Vec::new();
    for local in locals.iter().filter(|local| local.topic == topic) {
        let matched = local.publisher.get_inter_process_subscription_count()?;
        subscriptions.extend((0..matched).map(|_| Endpoint {
            id: PublisherId([0; 16]),
            message_type: local.message_type.to_owned(),
            qos: local.qos,
            local: false,
        }));
    }
    Ok(TopicInfo { topic, publishers: publishers.collect(), subscriptions })
}

/// The DDS GUID: all of the identity in `rmw` since Iron, its first part before.
fn identity(gid: &[u8]) -> [u8; 16] {
    let mut guid = [0; 16];
    for (to, from) in guid.iter_mut().zip(gid) {
        *to = *from;
    }
    guid
}
