//! The parameter services of a ROS 2 node, and `/parameter_events`, as rclcpp has them.
//!
//! What they answer follows rclcpp: a request about several names of which one is not declared gets an empty list;
//! `set_parameters` sets one after the other, `set_parameters_atomically` all or nothing; read-only, unknown, mistyped and
//! out-of-range parameters are refused with a reason. What rclcpp leaves to the node is done here: a change is checked
//! together with all other values, and handed over before it is accepted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::messages as msg;
use super::port::{Port, PortError, PortExt as _, Publisher, ServiceServer};
use super::qos::QosProfile;
use super::qos_overrides::DeclaredQos;
use crate::clock::Clock;
use crate::config::parameter::{Descriptor, ParameterType, ParameterValue, Range, Values};
use crate::config::{Config, QOS_OVERRIDES, Settings};

/// Events that are kept for a subscription that falls behind, as in rclcpp.
const EVENTS_DEPTH: u16 = 1000;

/// Hands a new configuration to those whom it concerns, before it is accepted; must not wait. An error refuses it.
pub type Apply = Box<dyn FnMut(&Arc<Config>) -> Result<(), String> + Send>;

/// Serves parameters until it is dropped.
pub struct ParameterServer {
    shared: Arc<Shared>,
    _services: Vec<ServiceServer>,
}

impl ParameterServer {
    /// Offers the six services and announces the parameters.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses a service or the publisher.
    pub fn serve(
        port: &dyn Port,
        clock: Arc<dyn Clock>,
        settings: Settings,
        declared_qos: Arc<DeclaredQos>,
        apply: Apply,
    ) -> Result<Self, PortError> {
        let shared = Arc::new(Shared {
            node: port.node().fully_qualified(),
            clock,
            declared_qos,
            events: port.publisher("/parameter_events", QosProfile::DEFAULT.with_depth(EVENTS_DEPTH))?,
            state: Mutex::new(State { settings, apply }),
        });
        let here = || Arc::clone(&shared);
        let (get, types, describe, list, set, set_all) = (here(), here(), here(), here(), here(), here());
        let services = vec![
            port.serve::<msg::GetParameters>("~/get_parameters", move |request| {
                let values = get.values();
                let found = request.names.iter().map(|name| values.get(name).map(to_message));
                msg::GetParametersResponse { values: all_or_nothing(found) }
            })?,
            port.serve::<msg::GetParameterTypes>("~/get_parameter_types", move |request| {
                let values = types.values();
                let found = request.names.iter().map(|name| values.get(name).map(|value| value.value_type() as u8));
                msg::GetParameterTypesResponse { types: all_or_nothing(found) }
            })?,
            port.serve::<msg::DescribeParameters>("~/describe_parameters", move |request| {
                let found = request.names.iter().map(|name| describe.descriptor(name));
                msg::DescribeParametersResponse { descriptors: all_or_nothing(found) }
            })?,
            port.serve::<msg::ListParameters>("~/list_parameters", move |request| msg::ListParametersResponse {
                result: select(list.values().keys(), &request.prefixes, request.depth),
            })?,
            port.serve::<msg::SetParameters>("~/set_parameters", move |request| msg::SetParametersResponse {
                results: request.parameters.iter().map(|one| set.set(std::slice::from_ref(one))).collect(),
            })?,
            port.serve::<msg::SetParametersAtomically>("~/set_parameters_atomically", move |request| {
                msg::SetParametersAtomicallyResponse { result: set_all.set(&request.parameters) }
            })?,
        ];
        let new_parameters = shared.values().iter().map(|(name, value)| parameter(name, value)).collect();
        shared.publish(msg::ParameterEvent { new_parameters, ..msg::ParameterEvent::default() });
        Ok(Self { shared, _services: services })
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(self.shared.lock().settings.config())
    }
}

impl std::fmt::Debug for ParameterServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParameterServer").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

/// What the services share. The lock is taken by the middleware's thread, and by whoever asks for the settings.
struct Shared {
    node: String,
    clock: Arc<dyn Clock>,
    declared_qos: Arc<DeclaredQos>,
    events: Publisher<msg::ParameterEvent>,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    apply: Apply,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every declared parameter. QoS overrides are declared by the topics that exist, not by what was asked for.
    fn values(&self) -> Values {
        let mut values = self.lock().settings.values().clone();
        values.retain(|name, _| name.split('.').next() != Some(QOS_OVERRIDES));
        values.extend(self.declared_qos.values());
        values
    }

    fn descriptor(&self, name: &str) -> Option<msg::ParameterDescriptor> {
        let declared = self.values().contains_key(name);
        declared.then(|| self.lock().settings.table().find(name)).flatten().map(|found| describe(&found))
    }

    /// Sets all or nothing.
    fn set(&self, parameters: &[msg::Parameter]) -> msg::SetParametersResult {
        let outcome = self.try_set(parameters);
        if let Err(reason) = &outcome {
            tracing::warn!("parameters not set: {reason}");
        }
        msg::SetParametersResult { successful: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
    }

    fn try_set(&self, parameters: &[msg::Parameter]) -> Result<(), String> {
        if parameters.is_empty() {
            return Err("parameter list cannot be empty".to_owned());
        }
        let declared = self.values();
        let mut changes = Vec::with_capacity(parameters.len());
        for msg::Parameter { name, value } in parameters {
            if !declared.contains_key(name) {
                return Err(format!("parameter {name} cannot be set because it was not declared"));
            }
            if name.split('.').next() == Some(QOS_OVERRIDES) {
                return Err(format!("parameter {name} cannot be set because it is read-only"));
            }
            changes.push((name.clone(), from_message(value)));
        }
        let mut state = self.lock();
        let changed = state.settings.set_all(&changes).map_err(|error| error.to_string())?;
        (state.apply)(changed.config())?;
        state.settings = changed;
        drop(state);
        for (name, value) in &changes {
            tracing::info!("parameter {name} set to {value}");
        }
        let changed_parameters = parameters.to_vec();
        self.publish(msg::ParameterEvent { changed_parameters, ..msg::ParameterEvent::default() });
        Ok(())
    }

    fn publish(&self, event: msg::ParameterEvent) {
        let event = msg::ParameterEvent { stamp: self.clock.ros().into(), node: self.node.clone(), ..event };
        if let Err(error) = self.events.publish(&event) {
            tracing::warn!("{error}");
        }
    }
}

/// The answers, or none at all when one name is not declared; as in rclcpp.
fn all_or_nothing<T>(found: impl Iterator<Item = Option<T>>) -> Vec<T> {
    found.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The names below `prefixes`, at most `depth` levels deep (0: all), and the groups that they are in.
fn select<'a>(names: impl Iterator<Item = &'a String>, prefixes: &[String], depth: u64) -> msg::ListParametersResult {
    let near = |rest: &str| depth == 0 || (rest.matches('.').count() as u64) < depth;
    let below = |name: &str, prefix: &String| {
        name == prefix || name.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('.')).is_some_and(near)
    };
    let mut result = msg::ListParametersResult::default();
    for name in names {
        let wanted = if prefixes.is_empty() { near(name) } else { prefixes.iter().any(|prefix| below(name, prefix)) };
        if !wanted {
            continue;
        }
        result.names.push(name.clone());
        if let Some((group, _)) = name.rsplit_once('.')
            && !result.prefixes.iter().any(|known| known == group)
        {
            result.prefixes.push(group.to_owned());
        }
    }
    result
}

fn parameter(name: &str, value: &ParameterValue) -> msg::Parameter {
    msg::Parameter { name: name.to_owned(), value: to_message(value) }
}

fn describe(descriptor: &Descriptor) -> msg::ParameterDescriptor {
    let mut message = msg::ParameterDescriptor {
        name: descriptor.name.clone(),
        value_type: descriptor.value_type as u8,
        description: descriptor.description.clone(),
        additional_constraints: descriptor.constraints(),
        read_only: descriptor.is_read_only(),
        ..msg::ParameterDescriptor::default()
    };
    // Ranges are of single numbers. One that says nothing beyond the type is left out; that of an optional number has to
    // include what stands for none.
    let none = descriptor.spec.none_is;
    match (descriptor.value_type, descriptor.range) {
        (ParameterType::Double, Some(Range::Double(low, high))) if (low, high) != (f64::MIN, f64::MAX) => {
            let (from_value, to_value) = (none.map_or(low, |n| n.min(low)), none.map_or(high, |n| n.max(high)));
            message.floating_point_range = vec![msg::FloatingPointRange { from_value, to_value, step: 0.0 }];
        }
        (ParameterType::Integer, Some(Range::Integer(low, high))) => {
            let none = none.map(|none| none as i64);
            let (from_value, to_value) = (none.map_or(low, |n| n.min(low)), none.map_or(high, |n| n.max(high)));
            message.integer_range = vec![msg::IntegerRange { from_value, to_value, step: 0 }];
        }
        _ => {}
    }
    message
}

fn to_message(value: &ParameterValue) -> msg::ParameterValue {
    use ParameterValue as V;
    let mut message = msg::ParameterValue { value_type: value.value_type() as u8, ..msg::ParameterValue::default() };
    match value.clone() {
        V::NotSet => {}
        V::Bool(value) => message.bool_value = value,
        V::Integer(value) => message.integer_value = value,
        V::Double(value) => message.double_value = value,
        V::String(value) => message.string_value = value,
        V::ByteArray(value) => message.byte_array_value = value,
        V::BoolArray(value) => message.bool_array_value = value,
        V::IntegerArray(value) => message.integer_array_value = value,
        V::DoubleArray(value) => message.double_array_value = value,
        V::StringArray(value) => message.string_array_value = value,
    }
    message
}

/// A type that does not exist counts as not set.
fn from_message(message: &msg::ParameterValue) -> ParameterValue {
    use ParameterValue as V;
    let message = message.clone();
    match message.value_type {
        1 => V::Bool(message.bool_value),
        2 => V::Integer(message.integer_value),
        3 => V::Double(message.double_value),
        4 => V::String(message.string_value),
        5 => V::ByteArray(message.byte_array_value),
        6 => V::BoolArray(message.bool_array_value),
        7 => V::IntegerArray(message.integer_array_value),
        8 => V::DoubleArray(message.double_array_value),
        9 => V::StringArray(message.string_array_value),
        _ => V::NotSet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(prefixes: &[&str], depth: u64) -> (Vec<String>, Vec<String>) {
        let names = ["a", "g.b", "g.h.c", "g.h.d", "gh.e"].map(str::to_owned);
        let prefixes: Vec<_> = prefixes.iter().map(|p| (*p).to_owned()).collect();
        let found = select(names.iter(), &prefixes, depth);
        (found.names, found.prefixes)
    }

    #[test]
    fn listing_has_the_depth_and_prefixes_of_rclcpp() {
        assert_eq!(listed(&[], 0).0.len(), 5);
        assert_eq!(listed(&[], 0).1, ["g", "g.h", "gh"]);
        assert_eq!(listed(&[], 1), (vec!["a".to_owned()], vec![]));
        assert_eq!(listed(&[], 2).0, ["a", "g.b", "gh.e"]);
        assert_eq!(listed(&["g"], 0).0, ["g.b", "g.h.c", "g.h.d"]);
        assert_eq!(listed(&["g"], 1).0, ["g.b"]);
        assert_eq!(listed(&["g.h", "a"], 1).0, ["a", "g.h.c", "g.h.d"]);
        assert_eq!(listed(&["x"], 0), (vec![], vec![]));
    }

    #[test]
    fn a_descriptor_has_range_words_and_what_stands_for_none() {
        let table = crate::config::parameter::Table::of::<Config>();
        let message = |name| describe(&table.find(name).unwrap());
        let deadline = message("execution.deadline_ms");
        assert_eq!((deadline.value_type, deadline.read_only), (3, false));
        assert_eq!(
            (deadline.floating_point_range[0].from_value, deadline.floating_point_range[0].to_value),
            (1.0, 6e5)
        );
        assert!(deadline.additional_constraints.contains("ms") && deadline.description.contains("action found"));
        assert_eq!(message("planner.action_space.max_step_m").floating_point_range[0].from_value, 0.0);
        assert_eq!(message("planner.action_space.close_gripper_from").integer_range[0].from_value, -1);
        assert!(message("inference.provider").read_only);
        assert!(message("inference.provider").additional_constraints.contains("tensorrt"));
        assert!(message("robot.gripper.open_position").floating_point_range.is_empty());
    }

    proptest! {
        #[test]
        fn values_survive_the_message(
            integers in proptest::collection::vec(any::<i64>(), 0..4),
            doubles in proptest::collection::vec(-1e9..1e9_f64, 0..4),
            strings in proptest::collection::vec(".{0,8}", 0..4),
            flag: bool,
        ) {
            use ParameterValue as V;
            let bytes = integers.iter().map(|i| (*i & 0xff) as u8).collect();
            let all = [
                V::NotSet, V::Bool(flag), V::Integer(integers.len() as i64), V::Double(0.5), V::String(strings.concat()),
                V::ByteArray(bytes), V::BoolArray(vec![flag; 3]), V::IntegerArray(integers),
                V::DoubleArray(doubles), V::StringArray(strings),
            ];
            for value in all {
                prop_assert_eq!(from_message(&to_message(&value)), value);
            }
        }
    }
}
