//! Recorded plans, made again.
//!
//! A plan is a function of its request, the settings and the model. The request is recorded, and how many model calls the
//! deadline allowed; so the same plan comes again, whatever the speed of this machine.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::ReplayError;
use super::clock::{BatchClock, DEADLINE};
use crate::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use crate::config::{Config, Settings};
use crate::planner::optimizer::{CandidateBatch, Evaluation};
use crate::planner::{Plan, PlanError, PlanRequest, Planner, Stop};
use crate::robot::pose::{Action, RobotState};
use crate::ros::messages::{StringMessage, UInt8MultiArray};
use crate::shadow::log::{AttachmentInfo, LogEvent, LogReader, RawMessage};
use crate::shadow::recorder::{LatentOf, PlanRecord, latent_from_message};
use crate::world_model::{Context, Latent, WorldModel};

/// Latents of frames that are kept for the plans to come.
const KEPT: usize = 64;
/// How the topics end on which requests and latents are recorded.
const PLAN_TOPIC: &str = "/shadow/plan_request";
const LATENT_TOPIC: &str = "/latent";

/// Whether a recording holds recorded plans.
pub fn are_in(path: &Path) -> Result<bool, ReplayError> {
    let mut requests = LogReader::open(path)?.only(|topic, _| topic.ends_with(PLAN_TOPIC));
    Ok(requests.next().transpose()?.is_some())
}

/// The recorded configurations by number, for the node of this name.
///
/// # Errors
/// [`ReplayError`] when one is damaged, or not of this version.
pub fn configurations(path: &Path, node: &str) -> Result<BTreeMap<usize, Arc<Config>>, ReplayError> {
    let log = LogReader::open(path)?;
    let settings = |attachment: &AttachmentInfo| {
        let text = String::from_utf8_lossy(&log.attachment(attachment)?).into_owned();
        Ok::<_, ReplayError>(Arc::clone(Settings::from_text(node, Path::new(&attachment.name), &text, &[])?.config()))
    };
    log.configurations().into_iter().map(|(number, attachment)| Ok((number, settings(attachment)?))).collect()
}

/// What came of making the plans again.
#[derive(Debug, Default)]
pub struct Reproduction {
    /// Plans that were made again.
    pub plans: usize,
    /// Of these, the ones whose actions and energy agree in every bit.
    pub identical: usize,
    /// Numbers of those that differ, the first ones.
    pub different: Vec<u64>,
    /// Plans that cannot be made again, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Time of all plans when they were recorded, s.
    pub recorded_s: f64,
    /// Time of all plans now, s.
    pub replayed_s: f64,
}

/// Makes all plans again with the settings that they were made with, and compares them bit by bit.
///
/// # Errors
/// [`ReplayError`].
pub fn reproduce(
    path: &Path,
    configs: &BTreeMap<usize, Arc<Config>>,
    model: &mut dyn WorldModel,
) -> Result<Reproduction, ReplayError> {
    let mut again = Again { configs, clock: Arc::default(), watch: SystemClock::new(), planners: HashMap::new() };
    let mut outcome = Reproduction::default();
    walk(path, model, &mut outcome, &mut again)?;
    Ok(outcome)
}

/// Makes plans as they were made.
struct Again<'a> {
    configs: &'a BTreeMap<usize, Arc<Config>>,
    clock: Arc<BatchClock>,
    watch: SystemClock,
    planners: HashMap<usize, Planner>,
}

impl Visitor for Again<'_> {
    fn plan(
        &mut self,
        request: &Request<'_>,
        model: &mut dyn WorldModel,
        outcome: &mut Reproduction,
    ) -> Result<(), ReplayError> {
        let record = request.record;
        if !request.exact {
            outcome.leave_out("latents were not recorded as f32");
            return Ok(());
        }
        let Some(config) = self.configs.get(&record.configuration) else {
            outcome.leave_out("its configuration is not in the recording");
            return Ok(());
        };
        let planner = match self.planners.entry(record.configuration) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let clock: Arc<dyn Clock> = Arc::<BatchClock>::clone(&self.clock);
                entry.insert(Planner::new(config.planner.clone(), model.spec(), clock)?)
            }
        };
        let began = self.watch.monotonic();
        let mut same = false;
        // The last call may have been the one candidate for which there was time after the deadline.
        for (calls, once) in [(record.batches, false), (record.batches.saturating_sub(1), true)] {
            self.clock.begin();
            let mut done = 0;
            let mut observe = |_: &CandidateBatch, _: &Evaluation<'_>| {
                done += 1;
                if done == calls {
                    if once { self.clock.pass_once() } else { self.clock.pass() }
                }
            };
            let plan = planner
                .plan_observed(model, &request.plan_request(Some(DEADLINE)), &mut observe)
                .map_err(|source| request.failed(source))?;
            same = is_same(record, &plan);
            if same || record.batches < 2 {
                break;
            }
        }
        outcome.count(record, same, self.watch.monotonic().since(began).as_secs_f64());
        Ok(())
    }
}

impl Reproduction {
    /// Counts a plan that was made again in `took_s`.
    pub(super) fn count(&mut self, record: &PlanRecord, same: bool, took_s: f64) {
        self.replayed_s += took_s;
        self.recorded_s += record.planning_ms * 1e-3;
        self.plans += 1;
        self.identical += usize::from(same);
        if !same && self.different.len() < 20 {
            self.different.push(record.plan_id);
        }
    }

    /// Counts a plan that cannot be made again.
    pub(super) fn leave_out(&mut self, why: &'static str) {
        *self.left_out.entry(why).or_default() += 1;
    }
}

/// A recorded request with its latents at hand.
pub(super) struct Request<'a> {
    pub record: &'a PlanRecord,
    pub goal: &'a Latent,
    latents: &'a [Latent],
    states: &'a [RobotState],
    actions: &'a [Action],
    previous: Option<&'a Plan>,
    /// The latents are as they were, not rounded.
    exact: bool,
}

impl Request<'_> {
    /// The request as the planner takes it.
    pub fn plan_request(&self, deadline: Option<MonotonicTime>) -> PlanRequest<'_> {
        PlanRequest {
            context: Context { latents: self.latents, states: self.states, actions: self.actions },
            goal: self.goal,
            deadline,
            plan_id: self.record.plan_id,
            previous: self.previous,
        }
    }

    /// The planner has refused it.
    pub fn failed(&self, source: PlanError) -> ReplayError {
        ReplayError::Plan { plan_id: self.record.plan_id, source: Box::new(source) }
    }
}

/// What is done with a recording from its beginning to its end.
pub(super) trait Visitor {
    /// Takes a request.
    fn plan(
        &mut self,
        request: &Request<'_>,
        model: &mut dyn WorldModel,
        outcome: &mut Reproduction,
    ) -> Result<(), ReplayError>;

    /// Whether messages of this topic and type are wanted besides.
    fn wants() -> fn(&str, &str) -> bool {
        |_, _| false
    }

    /// Takes one of these.
    fn other(&mut self, _event: LogEvent) -> Result<(), ReplayError> {
        Ok(())
    }
}

/// Goes through the recording and puts each request together.
pub(super) fn walk<V: Visitor>(
    path: &Path,
    model: &mut dyn WorldModel,
    outcome: &mut Reproduction,
    visitor: &mut V,
) -> Result<(), ReplayError> {
    let latent_len = model.spec().latent_len();
    let mut known: HashMap<LatentOf, (Latent, bool)> = HashMap::new();
    let mut frames: VecDeque<LatentOf> = VecDeque::new();
    let besides = V::wants();
    let own = |topic: &str| topic.ends_with(PLAN_TOPIC) || topic.ends_with(LATENT_TOPIC);
    for event in LogReader::open(path)?.only(move |topic, kind| own(topic) || besides(topic, kind)) {
        let message = match event? {
            LogEvent::Message(message) if own(&message.topic) => message,
            other => {
                visitor.other(other)?;
                continue;
            }
        };
        if let Ok(message) = message.decode::<UInt8MultiArray>() {
            let Some((of, numbers, exact)) = latent_from_message(&message) else { continue };
            if numbers.len() != latent_len {
                outcome.leave_out("a latent is of another model");
                continue;
            }
            if matches!(of, LatentOf::Frame(_)) {
                frames.push_back(of);
            }
            known.insert(of, (Latent::from_host(numbers), exact));
            if frames.len() > KEPT
                && let Some(oldest) = frames.pop_front()
            {
                known.remove(&oldest);
            }
            continue;
        }
        let Some(record) = plan_record(&message) else { continue };
        let (task, goal) = record.goal;
        let Some((goal, goal_exact)) = known.get(&LatentOf::Goal(task, goal)).cloned() else {
            outcome.leave_out("the latent of its goal is not in the recording (recording.latents)");
            continue;
        };
        let mut exact = goal_exact;
        let mut latents = Vec::new();
        for stamp in &record.context_stamps_ns {
            if let Some((latent, is_exact)) = known.get(&LatentOf::Frame(RosTime(*stamp))) {
                exact &= is_exact;
                latents.push(latent.clone());
            }
        }
        if latents.is_empty() || latents.len() != record.context_stamps_ns.len() {
            outcome.leave_out("a latent of its frames is not in the recording");
            continue;
        }
        let states: Vec<RobotState> = record.states.iter().copied().map(RobotState).collect();
        let actions: Vec<Action> = record.actions.iter().copied().map(Action).collect();
        let previous = record.previous.as_deref().map(plan_of);
        let request = Request {
            record: &record,
            goal: &goal,
            latents: &latents,
            states: &states,
            actions: &actions,
            previous: previous.as_ref(),
            exact,
        };
        visitor.plan(&request, model, outcome)?;
    }
    Ok(())
}

fn plan_record(message: &RawMessage) -> Option<PlanRecord> {
    let text: StringMessage = message.decode().ok()?;
    serde_json::from_str(&text.data).ok()
}

/// A plan of which only the candidate counts.
fn plan_of(candidate: &[f64]) -> Plan {
    Plan {
        actions: ArrayVec::new(),
        candidate: candidate.iter().copied().take(crate::planner::action_space::MAX_DIM).collect(),
        energy: 0.0,
        cost: 0.0,
        energy_now: 0.0,
        energy_stay: None,
        predictor_calls: 0,
        batches: 0,
        excluded: 0,
        stop: Stop::Converged,
        planning_time: std::time::Duration::ZERO,
        host_time: std::time::Duration::ZERO,
    }
}

/// Whether a plan agrees with the recorded one in every bit.
pub(super) fn is_same(record: &PlanRecord, plan: &Plan) -> bool {
    let bits = |numbers: &[f64; 7]| numbers.map(f64::to_bits);
    record.energy.to_bits() == plan.energy.to_bits()
        && record.planned.len() == plan.actions.len()
        && record.planned.iter().zip(&plan.actions).all(|(a, b)| bits(a) == bits(&b.0))
}
