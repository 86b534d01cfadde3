//! Services: requests come as typed structs, and answers go back as such.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use r2r::lifecycle_msgs::srv as lifecycle;
use r2r::rcl_interfaces::srv as parameters;
use r2r::{ServiceRequest, WrappedServiceTypeSupport, WrappedTypesupport};

use super::subscription::{Incoming, next};
use super::wire;
use crate::ros::port::{PublishError, RawResponder, ReceiveCounters, RequestHandler};
use crate::ros::qos::QosProfile;

/// Requests of one service, whatever its type.
pub(super) trait Requests {
    /// Hands over one request; false when there is none.
    fn hand_over(&mut self, server: &mut Server) -> bool;
}

/// Offers the service `name` of the ROS type `service_type`; `None` when this adapter does not know the type.
pub(super) fn open(
    node: &mut r2r::Node,
    name: &str,
    service_type: &str,
) -> Option<Result<Box<dyn Requests>, r2r::Error>> {
    Some(match service_type {
        "lifecycle_msgs/srv/ChangeState" => typed::<lifecycle::ChangeState::Service>(node, name),
        "lifecycle_msgs/srv/GetAvailableStates" => typed::<lifecycle::GetAvailableStates::Service>(node, name),
        "lifecycle_msgs/srv/GetAvailableTransitions" => {
            typed::<lifecycle::GetAvailableTransitions::Service>(node, name)
        }
        "lifecycle_msgs/srv/GetState" => typed::<lifecycle::GetState::Service>(node, name),
        "rcl_interfaces/srv/DescribeParameters" => typed::<parameters::DescribeParameters::Service>(node, name),
        "rcl_interfaces/srv/GetParameterTypes" => typed::<parameters::GetParameterTypes::Service>(node, name),
        "rcl_interfaces/srv/GetParameters" => typed::<parameters::GetParameters::Service>(node, name),
        "rcl_interfaces/srv/ListParameters" => typed::<parameters::ListParameters::Service>(node, name),
        "rcl_interfaces/srv/SetParameters" => typed::<parameters::SetParameters::Service>(node, name),
        "rcl_interfaces/srv/SetParametersAtomically" => {
            typed::<parameters::SetParametersAtomically::Service>(node, name)
        }
        // The bindings that come with r2r for builds without ROS lack this package.
        #[cfg(not(feature = "r2r-doc-only"))]
        "std_srvs/srv/SetBool" => typed::<r2r::std_srvs::srv::SetBool::Service>(node, name),
        #[cfg(not(feature = "r2r-doc-only"))]
        "std_srvs/srv/Trigger" => typed::<r2r::std_srvs::srv::Trigger::Service>(node, name),
        _ => return None,
    })
}

fn typed<S: WrappedServiceTypeSupport + 'static>(
    node: &mut r2r::Node,
    name: &str,
) -> Result<Box<dyn Requests>, r2r::Error> {
    let requests = node.create_service::<S>(name, super::qos::to_rmw(QosProfile::SERVICES))?;
    Ok(Box::new(Typed::<S>(Box::new(requests))))
}

struct Typed<S: WrappedServiceTypeSupport>(Incoming<ServiceRequest<S>>);

impl<S: WrappedServiceTypeSupport + 'static> Requests for Typed<S> {
    fn hand_over(&mut self, server: &mut Server) -> bool {
        let Some(request) = next(&mut self.0) else { return false };
        match request.message.to_serialized_bytes() {
            Ok(bytes) => {
                let (service, withdrawn) = (Arc::clone(&server.service), Arc::clone(&server.withdrawn));
                server.take(&bytes, Box::new(R2rResponder { service, withdrawn, request }));
            }
            Err(error) => server.count(&format!("it cannot be written as CDR: {error}")),
        }
        true
    }
}

/// Where the requests of one service go.
pub(super) struct Server {
    service: Arc<str>,
    handler: Box<dyn RequestHandler>,
    stats: Arc<ReceiveCounters>,
    withdrawn: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn new(service: &str, handler: Box<dyn RequestHandler>, stats: Arc<ReceiveCounters>) -> Self {
        Self { service: Arc::from(service), handler, stats, withdrawn: Arc::default() }
    }

    fn take(&mut self, bytes: &[u8], reply: Box<dyn RawResponder>) {
        let Some(request) = wire::payload(bytes) else { return self.count("the encapsulation is not plain CDR") };
        let handler = &mut self.handler;
        // One faulty callback must not silence the other services.
        match catch_unwind(AssertUnwindSafe(|| handler.handle(request, reply))) {
            Ok(Ok(())) => self.stats.count_delivered(),
            Ok(Err(error)) => self.count(&error.to_string()),
            Err(_panic) => {
                self.stats.count_callback_panic();
                self.count("the callback panicked");
            }
        }
    }

    fn count(&self, reason: &str) {
        if self.stats.count_undecodable(reason.to_owned()) {
            tracing::warn!(service = %self.service, "a request was not answered: {reason}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.withdrawn.store(true, Ordering::Release);
    }
}

/// The way back to one client.
struct R2rResponder<S: WrappedServiceTypeSupport> {
    service: Arc<str>,
    withdrawn: Arc<AtomicBool>,
    request: ServiceRequest<S>,
}

impl<S: WrappedServiceTypeSupport + 'static> RawResponder for R2rResponder<S> {
    fn service(&self) -> &str {
        &self.service
    }

    fn respond_cdr(self: Box<Self>, payload: Vec<u8>) -> Result<(), PublishError> {
        let refused = |reason| PublishError::Middleware { topic: self.service.to_string(), reason };
        if self.withdrawn.load(Ordering::Acquire) {
            return Err(refused("the service has been withdrawn".to_owned()));
        }
        let mut bytes = Vec::with_capacity(payload.len() + 4);
        wire::serialize(&payload, &mut bytes);
        let response = S::Response::from_serialized_bytes(&bytes).map_err(|error| refused(error.to_string()))?;
        self.request.respond(response).map_err(|error| refused(error.to_string()))
    }
}
