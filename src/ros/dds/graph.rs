//! Who is in the network: what this node announces about itself, and what discovery tells about others.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustdds::dds::CreateResult;
use rustdds::{DomainParticipant, GUID, QosPolicyBuilder, RTPSEntity as _, Timestamp, TopicKind, WriteOptions, policy};
use serde::{Deserialize, Serialize};

use super::from_dds;
use super::writer::Writer;
use crate::ros::cdr::{self, Payload};
use crate::ros::names::NodeName;
use crate::ros::port::{Endpoint, PublisherId, TopicInfo};
use crate::ros::qos::QosProfile;

/// DDS name of the topic on which participants tell of their nodes.
pub(super) const DISCOVERY_TOPIC: &str = "ros_discovery_info";
/// Announcements that are kept at most for participants that do not acknowledge them; only the newest counts.
const ANNOUNCEMENTS: i32 = 64;
/// Its type.
pub(super) const DISCOVERY_TYPE: &str = "rmw_dds_common/msg/ParticipantEntitiesInfo";

/// `sensor_msgs/msg/Image` as DDS sees it: `sensor_msgs::msg::dds_::Image_`; with `suffix` before the last underscore
/// for the halves of a service.
pub(super) fn dds_type(ros_type: &str, suffix: &str) -> String {
    let mut parts = ros_type.rsplitn(2, '/');
    let name = parts.next().unwrap_or_default();
    let package = parts.next().unwrap_or_default().replace('/', "::");
    let suffix = if suffix.is_empty() { String::new() } else { suffix.to_owned() };
    format!("{package}::dds_::{name}{suffix}_")
}

/// The way back; names that are not of ROS stay as they are.
fn ros_type(dds_type: &str) -> String {
    match dds_type.strip_suffix('_').and_then(|t| t.split_once("::dds_::")) {
        Some((package, name)) => format!("{}/{name}", package.replace("::", "/")),
        None => dds_type.to_owned(),
    }
}

/// ROS type of a remote writer; `None` while discovery does not know it.
pub(super) fn type_of_writer(participant: &DomainParticipant, writer: GUID) -> Option<String> {
    participant
        .discovered_writers()
        .iter()
        .find(|w| w.writer_proxy.remote_writer_guid == writer)
        .map(|w| ros_type(&w.publication_topic_data.type_name))
}

/// `rmw_dds_common/msg/NodeEntitiesInfo`: tells ROS tools which endpoints belong to which node.
#[derive(Serialize)]
struct NodeEntitiesInfo<'a> {
    node_namespace: &'a str,
    node_name: &'a str,
    reader_gid_seq: Vec<[u8; 16]>,
    writer_gid_seq: Vec<[u8; 16]>,
}

/// `rmw_dds_common/msg/ParticipantEntitiesInfo`.
#[derive(Serialize)]
struct ParticipantEntitiesInfo<'a> {
    gid: [u8; 16],
    node_entities_info_seq: Vec<NodeEntitiesInfo<'a>>,
}

/// The same of others.
#[derive(Debug, Default, Deserialize)]
struct OthersNode {
    namespace: String,
    name: String,
    readers: Vec<Gid>,
    writers: Vec<Gid>,
}

/// The same of others.
#[derive(Debug, Default, Deserialize)]
struct OthersNodes {
    gid: Gid,
    nodes: Vec<OthersNode>,
}

type Gid = [u8; 16];

/// Which node of which participant has which endpoints.
#[derive(Debug, Default)]
struct Others(HashMap<Gid, Vec<OthersNode>>);

impl Others {
    fn node_of(&self, endpoint: Gid) -> Option<String> {
        let has = |node: &&OthersNode| node.readers.contains(&endpoint) || node.writers.contains(&endpoint);
        let node = self.0.values().flatten().find(has)?;
        Some(format!("{}/{}", node.namespace.trim_end_matches('/'), node.name))
    }

    /// Forgets participants that have none of these endpoints.
    fn keep_those_with(&mut self, endpoints: impl Iterator<Item = Gid>) {
        let alive: BTreeSet<[u8; 12]> = endpoints.map(|gid| participant(&gid)).collect();
        self.0.retain(|gid, _| alive.contains(&participant(gid)));
    }
}

/// The part of an identity that all of a participant have.
fn participant(gid: &Gid) -> [u8; 12] {
    std::array::from_fn(|i| gid[i])
}

struct Local {
    guid: GUID,
    is_writer: bool,
    topic: String,
    message_type: &'static str,
    qos: QosProfile,
}

struct Announced {
    /// `None` after shutdown.
    announcements: Option<Writer>,
    endpoints: Vec<Local>,
}

/// The node as it announces itself.
pub(super) struct Graph {
    node: NodeName,
    gid: [u8; 16],
    state: Mutex<Announced>,
    others: Mutex<Others>,
}

impl Graph {
    pub(super) fn new(
        node: NodeName,
        participant: &DomainParticipant,
        publisher: &rustdds::Publisher,
    ) -> CreateResult<Self> {
        let qos = QosPolicyBuilder::new()
            .durability(policy::Durability::TransientLocal)
            .reliable(rustdds::Duration::ZERO)
            .history(policy::History::KeepLast { depth: 1 })
            .build();
        let topic = participant.create_topic(
            DISCOVERY_TOPIC.to_owned(),
            dds_type(DISCOVERY_TYPE, ""),
            &qos,
            TopicKind::NoKey,
        )?;
        let announcements = Some(Writer::with_window(publisher, &topic, ANNOUNCEMENTS)?);
        let graph = Self {
            node,
            gid: participant.guid().to_bytes(),
            state: Mutex::new(Announced { announcements, endpoints: Vec::new() }),
            others: Mutex::default(),
        };
        graph.announce(&graph.lock());
        Ok(graph)
    }

    pub(super) fn add_writer(&self, guid: GUID, topic: &str, message_type: &'static str, qos: QosProfile) {
        self.add(Local { guid, is_writer: true, topic: topic.to_owned(), message_type, qos });
    }

    pub(super) fn add_reader(&self, guid: GUID, topic: &str, message_type: &'static str, qos: QosProfile) {
        self.add(Local { guid, is_writer: false, topic: topic.to_owned(), message_type, qos });
    }

    pub(super) fn remove(&self, guid: GUID) {
        let mut state = self.lock();
        state.endpoints.retain(|local| local.guid != guid);
        self.announce(&state);
    }

    /// Announces that the node is gone, and announces nothing more.
    pub(super) fn close(&self) {
        self.lock().announcements = None;
    }

    /// Takes what a participant tells of its nodes.
    pub(super) fn hear(&self, payload: Payload<'_>) {
        // Another version of ROS may tell it in another form; then the nodes of others have no names here.
        if let Ok(OthersNodes { gid, nodes }) = cdr::decode(payload, DISCOVERY_TYPE) {
            self.others.lock().unwrap_or_else(PoisonError::into_inner).0.insert(gid, nodes);
        }
    }

    /// Topics that this node uses, each once.
    pub(super) fn own_topics(&self) -> Vec<String> {
        // The halves of services have no topic name here.
        let mut topics: Vec<_> =
            self.lock().endpoints.iter().filter(|e| !e.topic.is_empty()).map(|e| e.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Who uses the topic with this absolute name.
    pub(super) fn topic_info(&self, participant: &DomainParticipant, topic: String) -> TopicInfo {
        let dds_topic = format!("rt{topic}");
        let (writers, readers) = (participant.discovered_writers(), participant.discovered_readers());
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let guids = writers.iter().map(|w| w.writer_proxy.remote_writer_guid);
        let guids = guids.chain(readers.iter().map(|r| r.reader_proxy.remote_reader_guid));
        others.keep_those_with(guids.map(|guid| guid.to_bytes()));
        let remote = |guid: GUID, dds_type: &str, qos: QosProfile| Endpoint {
            id: PublisherId(guid.to_bytes()),
            node: others.node_of(guid.to_bytes()),
            message_type: ros_type(dds_type),
            qos,
            local: false,
        };
        let mut publishers: Vec<Endpoint> = writers
            .iter()
            .filter(|w| w.publication_topic_data.topic_name == dds_topic)
            .map(|w| {
                let data = &w.publication_topic_data;
                remote(w.writer_proxy.remote_writer_guid, &data.type_name, from_dds(&data.qos(), true))
            })
            .collect();
        let mut subscriptions: Vec<Endpoint> = readers
            .iter()
            .filter(|r| *r.subscription_topic_data.topic_name() == dds_topic)
            .map(|r| {
                let data = &r.subscription_topic_data;
                remote(r.reader_proxy.remote_reader_guid, data.type_name(), from_dds(&data.qos(), false))
            })
            .collect();
        for local in self.lock().endpoints.iter().filter(|local| local.topic == topic) {
            let endpoint = Endpoint {
                id: PublisherId(local.guid.to_bytes()),
                node: Some(self.node.fully_qualified()),
                message_type: local.message_type.to_owned(),
                qos: local.qos,
                local: true,
            };
            // The library may report our own endpoints as discovered ones, too.
            let list = if local.is_writer { &mut publishers } else { &mut subscriptions };
            list.retain(|other| other.id != endpoint.id);
            list.push(endpoint);
        }
        TopicInfo { topic, publishers, subscriptions }
    }

    fn add(&self, local: Local) {
        let mut state = self.lock();
        state.endpoints.push(local);
        self.announce(&state);
    }

    fn announce(&self, state: &Announced) {
        let Some(writer) = &state.announcements else { return };
        let gids = |is_writer| {
            state.endpoints.iter().filter(|l| l.is_writer == is_writer).map(|l| l.guid.to_bytes()).collect()
        };
        let info = ParticipantEntitiesInfo {
            gid: self.gid,
            node_entities_info_seq: vec![NodeEntitiesInfo {
                node_namespace: self.node.namespace(),
                node_name: self.node.name(),
                reader_gid_seq: gids(false),
                writer_gid_seq: gids(true),
            }],
        };
        let written = cdr::encode(&info, DISCOVERY_TYPE).map_err(|e| e.to_string()).and_then(|payload| {
            let options = WriteOptions::from(Some(Timestamp::now()));
            writer.write(DISCOVERY_TOPIC, payload, options).map_err(|e| e.to_string())
        });
        if let Err(error) = written {
            tracing::warn!("ROS tools will not see all endpoints of this node: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_others_belong_to_nodes_until_their_participant_has_gone() {
        let node = OthersNode { namespace: "/".into(), name: "camera".into(), readers: vec![], writers: vec![[1; 16]] };
        let mut others = Others(HashMap::from([([1; 16], vec![node])]));
        assert_eq!((others.node_of([1; 16]).as_deref(), others.node_of([2; 16])), (Some("/camera"), None));
        let mut other_endpoint = [1; 16];
        other_endpoint[15] = 7;
        others.keep_those_with([other_endpoint].into_iter());
        assert!(others.node_of([1; 16]).is_some(), "another endpoint of it is there");
        others.keep_those_with(std::iter::empty());
        assert_eq!(others.node_of([1; 16]), None);
    }

    #[test]
    fn type_names_go_to_dds_and_back() {
        assert_eq!(dds_type("sensor_msgs/msg/Image", ""), "sensor_msgs::msg::dds_::Image_");
        assert_eq!(dds_type("std_srvs/srv/Trigger", "_Request"), "std_srvs::srv::dds_::Trigger_Request_");
        assert_eq!(ros_type("sensor_msgs::msg::dds_::Image_"), "sensor_msgs/msg/Image");
        assert_eq!(ros_type("Square"), "Square");
    }
}
