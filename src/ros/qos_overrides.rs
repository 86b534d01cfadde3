//! Quality of service that the user overrides, topic by topic: parameters
//! `qos_overrides.<topic>.{publisher,subscription}.{reliability,durability,history,depth}`, as in ROS 2.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::action::{ActionSink, RawActionClient};
use super::names::{NameError, NodeName};
use super::port::{MessageSink, Port, PortError, RawPublisher, RequestHandler, ServiceServer, Subscription, TopicInfo};
use super::qos::{QosOverride, QosProfile, TopicOverrides};
use crate::config::QOS_OVERRIDES;
use crate::config::parameter::{Parameter as _, Spec, Values};

/// The profiles that the node's publishers and subscriptions really have, by topic: what the parameters say.
#[derive(Debug, Default)]
pub struct DeclaredQos(Mutex<BTreeMap<String, TopicOverrides>>);

impl DeclaredQos {
    /// As parameters, by dotted name.
    pub fn values(&self) -> Values {
        let mut values = Values::new();
        self.lock().write(&mut values, QOS_OVERRIDES, &Spec::default());
        values
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, TopicOverrides>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port that gives publishers and subscriptions the quality of service that the user asked for.
pub struct OverridingPort {
    port: Arc<dyn Port>,
    overrides: BTreeMap<String, TopicOverrides>,
    declared: Arc<DeclaredQos>,
}

impl OverridingPort {
    /// `overrides` by absolute topic name, as it is after remapping.
    pub fn new(port: Arc<dyn Port>, overrides: BTreeMap<String, TopicOverrides>) -> Self {
        Self { port, overrides, declared: Arc::default() }
    }

    /// The profiles in use; grows with the topics.
    pub fn declared(&self) -> Arc<DeclaredQos> {
        Arc::clone(&self.declared)
    }

    /// Overrides of which no publisher or subscription has been made, each as a sentence for the log.
    pub fn unused(&self) -> Vec<String> {
        let declared = self.declared.lock();
        let mut unused = Vec::new();
        for (topic, overrides) in &self.overrides {
            let made = declared.get(topic).copied().unwrap_or_default();
            for (what, wanted, made) in [
                ("publisher", overrides.publisher, made.publisher),
                ("subscription", overrides.subscription, made.subscription),
            ] {
                if wanted != QosOverride::default() && made == QosOverride::default() {
                    unused.push(format!("{QOS_OVERRIDES}.{topic}.{what} has no effect: the node has no such {what}"));
                }
            }
        }
        unused
    }

    /// The profile for a publisher or subscription of `topic`, which is declared with it.
    fn profile(
        &self,
        topic: &str,
        profile: QosProfile,
        which: fn(&mut TopicOverrides) -> &mut QosOverride,
    ) -> Result<QosProfile, NameError> {
        let topic = self.port.resolve(topic)?;
        let mut overrides = self.overrides.get(&topic).copied().unwrap_or_default();
        let profile = which(&mut overrides).apply(profile);
        *which(self.declared.lock().entry(topic).or_default()) = QosOverride::full(profile);
        Ok(profile)
    }
}

impl Port for OverridingPort {
    fn node(&self) -> &NodeName {
        self.port.node()
    }

    fn resolve(&self, name: &str) -> Result<String, NameError> {
        self.port.resolve(name)
    }

    fn advertise(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
    ) -> Result<Box<dyn RawPublisher>, PortError> {
        let qos = self.profile(topic, qos, |topic| &mut topic.publisher)?;
        self.port.advertise(topic, message_type, qos)
    }

    fn subscribe_raw(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
        sink: Box<dyn MessageSink>,
    ) -> Result<Subscription, PortError> {
        let qos = self.profile(topic, qos, |topic| &mut topic.subscription)?;
        self.port.subscribe_raw(topic, message_type, qos, sink)
    }

    fn serve_raw(
        &self,
        service: &str,
        service_type: &'static str,
        handler: Box<dyn RequestHandler>,
    ) -> Result<ServiceServer, PortError> {
        self.port.serve_raw(service, service_type, handler)
    }

    fn act_raw(
        &self,
        action: &str,
        action_type: &'static str,
        sink: Box<dyn ActionSink>,
    ) -> Result<Box<dyn RawActionClient>, PortError> {
        self.port.act_raw(action, action_type, sink)
    }

    fn topic_info(&self, topic: &str) -> Result<TopicInfo, NameError> {
        self.port.topic_info(topic)
    }

    fn own_topics(&self) -> Vec<String> {
        self.port.own_topics()
    }

    fn shutdown(&self) {
        self.port.shutdown();
    }
}

impl std::fmt::Debug for OverridingPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OverridingPort").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parameter::ParameterValue;
    use crate::ros::messages::StringMessage;
    use crate::ros::port::{PortExt as _, PublishError};
    use crate::ros::qos::{Durability, Reliability};

    /// A port that notes what is asked of it.
    struct Noting {
        node: NodeName,
        made: Mutex<Vec<(String, QosProfile)>>,
    }

    struct Nowhere;

    impl RawPublisher for Nowhere {
        fn topic(&self) -> &str {
            ""
        }

        fn publish_cdr(&self, _payload: Vec<u8>) -> Result<(), PublishError> {
            Ok(())
        }
    }

    impl Port for Noting {
        fn node(&self) -> &NodeName {
            &self.node
        }

        fn resolve(&self, name: &str) -> Result<String, NameError> {
            self.node.resolve(name)
        }

        fn advertise(
            &self,
            topic: &str,
            _message_type: &'static str,
            qos: QosProfile,
        ) -> Result<Box<dyn RawPublisher>, PortError> {
            self.made.lock().unwrap().push((topic.to_owned(), qos));
            Ok(Box::new(Nowhere))
        }

        fn subscribe_raw(
            &self,
            topic: &str,
            _message_type: &'static str,
            qos: QosProfile,
            _sink: Box<dyn MessageSink>,
        ) -> Result<Subscription, PortError> {
            self.made.lock().unwrap().push((topic.to_owned(), qos));
            Ok(Subscription::new(topic.to_owned(), Arc::default(), Box::new(|| {})))
        }

        fn serve_raw(
            &self,
            _service: &str,
            _service_type: &'static str,
            _handler: Box<dyn RequestHandler>,
        ) -> Result<ServiceServer, PortError> {
            Err(PortError::ShutDown)
        }

        fn topic_info(&self, _topic: &str) -> Result<TopicInfo, NameError> {
            Ok(TopicInfo::default())
        }

        fn own_topics(&self) -> Vec<String> {
            Vec::new()
        }

        fn shutdown(&self) {}
    }

    #[test]
    fn what_is_asked_for_a_topic_is_given_to_it_and_declared() {
        let subscription =
            QosOverride { reliability: Some(Reliability::Reliable), depth: Some(2), ..QosOverride::default() };
        let publisher = QosOverride { durability: Some(Durability::TransientLocal), ..QosOverride::default() };
        let overrides = BTreeMap::from([
            ("/cell/in".to_owned(), TopicOverrides { subscription, ..TopicOverrides::default() }),
            ("/cell/n/out".to_owned(), TopicOverrides { publisher, subscription }),
        ]);
        let inner = Arc::new(Noting { node: NodeName::new("/cell", "n").unwrap(), made: Mutex::default() });
        let port = OverridingPort::new(Arc::clone(&inner) as Arc<dyn Port>, overrides);
        let _in = port.subscribe::<StringMessage>("in", QosProfile::SENSOR_DATA, |_| {}).unwrap();
        let _out = port.publisher::<StringMessage>("~/out", QosProfile::DEFAULT).unwrap();
        let _other = port.publisher::<StringMessage>("/other", QosProfile::DEFAULT).unwrap();
        let made = inner.made.lock().unwrap();
        assert_eq!(made[0].1, QosProfile { reliability: Reliability::Reliable, depth: 2, ..QosProfile::SENSOR_DATA });
        assert_eq!(made[1].1, QosProfile { durability: Durability::TransientLocal, ..QosProfile::DEFAULT });
        assert_eq!(made[2].1, QosProfile::DEFAULT);
        let values = port.declared().values();
        assert_eq!(values["qos_overrides./cell/in.subscription.depth"], ParameterValue::Integer(2));
        assert_eq!(values["qos_overrides./other.publisher.history"], ParameterValue::String("keep_last".into()));
        assert_eq!(values.len(), 12, "four for each publisher and subscription that there is");
        let unused = port.unused();
        assert_eq!(unused.len(), 1);
        assert!(unused[0].contains("/cell/n/out.subscription"), "{unused:?}");
    }
}
