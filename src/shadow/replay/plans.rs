//! Recorded plans, made again.
//!
//! A plan is a function of its request, the settings and the model. The request is recorded, and how many model calls the
//! deadline allowed; so the same plan comes again, whatever the speed of this machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::ReplayError;
use super::clock::{BatchClock, DEADLINE};
use crate::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use crate::config::{Config, Settings};
use crate::planner::optimizer::{CandidateBatch, Evaluation};
use crate::planner::{Plan, PlanRequest, Planner, Stop};
use crate::robot::pose::{Action, RobotState};
use crate::ros::messages::{StringMessage, UInt8MultiArray};
use crate::shadow::ShadowStep;
use crate::shadow::log::{LogEvent, LogReader, RawMessage};
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
    let mut found = BTreeMap::new();
    for attachment in log.attachments() {
        let number = attachment.name.strip_prefix("configuration_").and_then(|rest| rest.strip_suffix(".yaml"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        if found.contains_key(&number) {
            continue;
        }
        let text = String::from_utf8_lossy(&log.attachment(attachment)?).into_owned();
        let settings = Settings::from_text(node, Path::new(&attachment.name), &text)?;
        found.insert(number, Arc::clone(settings.config()));
    }
    Ok(found)
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

/// A plan with what it was made for.
#[derive(Debug)]
pub struct Replanned<'a> {
    /// The request.
    pub record: &'a PlanRecord,
    /// The plan made now.
    pub plan: &'a Plan,
    /// How long it took, s.
    pub took_s: f64,
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
    let clock = Arc::new(BatchClock::default());
    let watch = SystemClock::new();
    let mut planners: HashMap<usize, Planner> = HashMap::new();
    let mut outcome = Reproduction::default();
    let mut visit = |request: &Request<'_>, model: &mut dyn WorldModel, outcome: &mut Reproduction| {
        let record = request.record;
        if !request.exact {
            return leave_out(outcome, "latents were not recorded as f32");
        }
        let Some(config) = configs.get(&record.configuration) else {
            return leave_out(outcome, "its configuration is not in the recording");
        };
        let planner = match planners.entry(record.configuration) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let clock: Arc<dyn Clock> = Arc::<BatchClock>::clone(&clock);
                entry.insert(Planner::new(config.planner.clone(), model.spec(), clock)?)
            }
        };
        let began = watch.monotonic();
        let mut same = false;
        // The last call may have been the one candidate for which there was time after the deadline.
        for (calls, once) in [(record.batches, false), (record.batches.saturating_sub(1), true)] {
            clock.begin();
            let mut done = 0;
            let mut observe = |_: &CandidateBatch, _: &Evaluation<'_>| {
                done += 1;
                if done == calls {
                    if once { clock.pass_once() } else { clock.pass() }
                }
            };
            let plan = planner
                .plan_observed(model, &request.plan_request(Some(DEADLINE)), &mut observe)
                .map_err(|source| ReplayError::Plan { plan_id: record.plan_id, source: Box::new(source) })?;
            same = is_same(record, &plan);
            if same || record.batches < 2 {
                break;
            }
        }
        outcome.replayed_s += watch.monotonic().since(began).as_secs_f64();
        outcome.recorded_s += record.planning_ms * 1e-3;
        outcome.plans += 1;
        outcome.identical += usize::from(same);
        if !same && outcome.different.len() < 20 {
            outcome.different.push(record.plan_id);
        }
        Ok(())
    };
    walk(path, model, &mut outcome, &mut visit, &mut |_| Ok(()))?;
    Ok(outcome)
}

/// Makes all plans again with other settings; `each` gets them and `step` the recorded steps, in the order of the
/// recording. There is no deadline: this machine is not the one that it was for.
///
/// # Errors
/// [`ReplayError`], also those of `each` and `step`.
pub fn replan(
    path: &Path,
    config: &Config,
    model: &mut dyn WorldModel,
    each: &mut dyn FnMut(&Replanned<'_>) -> Result<(), ReplayError>,
    step: &mut dyn FnMut(ShadowStep) -> Result<(), ReplayError>,
) -> Result<Reproduction, ReplayError> {
    let watch = Arc::new(SystemClock::new());
    let clock: Arc<dyn Clock> = Arc::<SystemClock>::clone(&watch);
    let mut planner = Planner::new(config.planner.clone(), model.spec(), clock)?;
    let mut outcome = Reproduction::default();
    let mut visit = |request: &Request<'_>, model: &mut dyn WorldModel, outcome: &mut Reproduction| {
        let began = watch.monotonic();
        let plan = planner
            .plan(model, &request.plan_request(None))
            .map_err(|source| ReplayError::Plan { plan_id: request.record.plan_id, source: Box::new(source) })?;
        let took_s = watch.monotonic().since(began).as_secs_f64();
        outcome.plans += 1;
        outcome.replayed_s += took_s;
        outcome.recorded_s += request.record.planning_ms * 1e-3;
        outcome.identical += usize::from(is_same(request.record, &plan));
        each(&Replanned { record: request.record, plan: &plan, took_s })
    };
    walk(path, model, &mut outcome, &mut visit, step)?;
    Ok(outcome)
}

fn leave_out(outcome: &mut Reproduction, why: &'static str) -> Result<(), ReplayError> {
    *outcome.left_out.entry(why).or_default() += 1;
    Ok(())
}

/// A recorded request with its latents at hand.
struct Request<'a> {
    record: &'a PlanRecord,
    latents: &'a [Latent],
    states: &'a [RobotState],
    actions: &'a [Action],
    goal: &'a Latent,
    previous: Option<&'a Plan>,
    exact: bool,
}

impl Request<'_> {
    fn plan_request(&self, deadline: Option<MonotonicTime>) -> PlanRequest<'_> {
        PlanRequest {
            context: Context { latents: self.latents, states: self.states, actions: self.actions },
            goal: self.goal,
            deadline,
            plan_id: self.record.plan_id,
            previous: self.previous,
        }
    }
}

type Visit<'a> = dyn FnMut(&Request<'_>, &mut dyn WorldModel, &mut Reproduction) -> Result<(), ReplayError> + 'a;

/// Goes through the recording and puts each request together.
fn walk(
    path: &Path,
    model: &mut dyn WorldModel,
    outcome: &mut Reproduction,
    visit: &mut Visit<'_>,
    step: &mut dyn FnMut(ShadowStep) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let latent_len = model.spec().latent_len();
    let mut known: HashMap<LatentOf, (Latent, bool)> = HashMap::new();
    let mut frames: VecDeque<LatentOf> = VecDeque::new();
    let wanted = |topic: &str, _: &str| {
        topic.ends_with(PLAN_TOPIC) || topic.ends_with(LATENT_TOPIC) || crate::shadow::log::is_step(topic)
    };
    for event in LogReader::open(path)?.only(wanted) {
        let message = match event? {
            LogEvent::Step(found) => {
                step(*found.value)?;
                continue;
            }
            LogEvent::Message(message) => message,
            _ => continue,
        };
        if let Ok(message) = message.decode::<UInt8MultiArray>() {
            let Some((of, numbers, exact)) = latent_from_message(&message) else { continue };
            if numbers.len() != latent_len {
                leave_out(outcome, "a latent is of another model")?;
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
            leave_out(outcome, "the latent of its goal is not in the recording (recording.latents)")?;
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
            leave_out(outcome, "a latent of its frames is not in the recording")?;
            continue;
        }
        let states: Vec<RobotState> = record.states.iter().copied().map(RobotState).collect();
        let actions: Vec<Action> = record.actions.iter().copied().map(Action).collect();
        let previous = record.previous.as_deref().map(plan_of);
        let request = Request {
            record: &record,
            latents: &latents,
            states: &states,
            actions: &actions,
            goal: &goal,
            previous: previous.as_ref(),
            exact,
        };
        visit(&request, model, outcome)?;
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

fn is_same(record: &PlanRecord, plan: &Plan) -> bool {
    let bits = |numbers: &[f64; 7]| numbers.map(f64::to_bits);
    record.energy.to_bits() == plan.energy.to_bits()
        && record.planned.len() == plan.actions.len()
        && record.planned.iter().zip(&plan.actions).all(|(a, b)| bits(a) == bits(&b.0))
}
