//! Who is in the network, as far as `r2r` tells.

use super::qos::from_rmw;
use crate::ros::names::NodeName;
use crate::ros::port::{Endpoint, PublisherId, TopicInfo};
use crate::ros::qos::QosProfile;

/// A publisher or subscription of this node.
pub(super) struct Local<E> {
    pub(super) id: u64,
    pub(super) topic: String,
    pub(super) message_type: &'static str,
    pub(super) qos: QosProfile,
    pub(super) end: E,
}

impl<E> Local<E> {
    fn endpoint(&self, local: bool) -> Endpoint {
        Endpoint { id: NOBODY, node: None, message_type: self.message_type.to_owned(), qos: self.qos, local }
    }
}

/// Stands where `r2r` does not tell an identity.
const NOBODY: PublisherId = PublisherId([0; 16]);

/// Who uses the topic with this absolute name.
///
/// `r2r` lists publishers; of the subscriptions of others it counts those that match one of our publishers, so these
/// have that publisher's type and profile and no identity.
pub(super) fn topic_info<S>(
    node: &r2r::Node,
    own: &NodeName,
    publishers: &[Local<r2r::PublisherUntyped>],
    subscriptions: &[Local<S>],
    topic: String,
) -> Result<TopicInfo, r2r::Error> {
    let listed = node.get_publishers_info_by_topic(&topic, false)?.into_iter().map(|info| Endpoint {
        id: PublisherId(identity(&info.endpoint_gid)),
        node: Some(full_name(&info.node_namespace, &info.node_name)),
        message_type: info.topic_type,
        qos: from_rmw(&info.qos_profile),
        local: info.node_name == own.name() && info.node_namespace == own.namespace(),
    });
    let ours: Vec<_> = subscriptions.iter().filter(|s| s.topic == topic).map(|s| s.endpoint(true)).collect();
    let mut receivers = ours.clone();
    for publisher in publishers.iter().filter(|publisher| publisher.topic == topic) {
        let matched = publisher.end.get_inter_process_subscription_count()?;
        let matches =
            |s: &&Endpoint| s.message_type == publisher.message_type && publisher.qos.incompatibility(&s.qos).is_none();
        let others = matched.saturating_sub(ours.iter().filter(matches).count());
        receivers.extend((0..others).map(|_| publisher.endpoint(false)));
    }
    Ok(TopicInfo { publishers: listed.collect(), subscriptions: receivers, topic })
}

fn full_name(namespace: &str, name: &str) -> String {
    format!("{}/{name}", namespace.trim_end_matches('/'))
}

/// The DDS GUID: all of the identity in `rmw` since Iron, its first part before.
fn identity(gid: &[u8]) -> [u8; 16] {
    let mut guid = [0; 16];
    for (to, from) in guid.iter_mut().zip(gid) {
        *to = *from;
    }
    guid
}
