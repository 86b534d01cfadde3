//! Every optimizer with a model that is slow, takes a different time for each call, or answers with numbers that are not
//! finite.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is test code")]

#[path = "common/smooth.rs"]
mod smooth;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use smooth::{Flaw, Smooth, Task};
use vjepa_planner::clock::{Clock, ManualClock, SystemClock};
use vjepa_planner::planner::action_space::GripperMode;
use vjepa_planner::planner::{Plan, PlanError, PlanRequest, Planner, PlannerConfig, Stop, optimizer, response_surface};
use vjepa_planner::world_model::{EnergyNorm, WorldModel};

/// A generator of numbers that are random enough for delays and flaws (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

fn config(optimizer: &str) -> PlannerConfig {
    PlannerConfig { optimizer: optimizer.to_owned(), ..PlannerConfig::default() }
}

/// Every optimizer as it is, and one of them with each stage that adds a batch at the end.
fn every_kind() -> Vec<(String, PlannerConfig)> {
    let plain = optimizer::names().map(|name| (name.to_owned(), config(name)));
    let staged = optimizer::names().map(|name| {
        let mut config = config(name);
        config.gripper_refinement.enabled = true;
        config.action_space.gripper = GripperMode::Delta;
        (format!("{name} with refinement, gripper delta"), config)
    });
    plain.chain(staged).collect()
}

fn planner(config: &PlannerConfig, model: &Smooth, clock: Arc<dyn Clock>) -> Planner {
    Planner::new(config.clone(), model.spec(), clock).unwrap()
}

/// What a plan of a slow model looked like from outside.
struct Timed {
    result: Result<Plan, PlanError>,
    /// How long after the deadline it came.
    overrun: Duration,
    /// How long the last model call took.
    last_call: Duration,
    /// Least cost that the model was seen to give.
    least: f64,
}

/// Plans within `allowed`; `last_call_ns` is what the model's delay writes to.
fn plan_within(
    allowed: Duration,
    (planner, model): (&mut Planner, &mut Smooth),
    (task, plan_id): (&Task, u64),
    clock: &dyn Clock,
    last_call_ns: &AtomicU64,
) -> Timed {
    last_call_ns.store(0, Ordering::SeqCst);
    let deadline = clock.monotonic().after(allowed);
    let request = PlanRequest { deadline: Some(deadline), ..task.request(plan_id, None) };
    let mut least = f64::INFINITY;
    let result = planner.plan_observed(model, &request, &mut |_, evaluation| {
        least = evaluation.cost.iter().copied().fold(least, f64::min);
    });
    let overrun = clock.monotonic().since(deadline);
    Timed { result, overrun, last_call: Duration::from_nanos(last_call_ns.load(Ordering::SeqCst)), least }
}

#[test]
fn a_deadline_is_overrun_by_one_batch_at_most_and_the_best_so_far_is_the_answer() {
    const PLANS: u64 = 10_000;
    for (name, config) in every_kind() {
        let clock = Arc::new(ManualClock::default());
        let mut model = Smooth::new(2, 4);
        let tasks: Vec<Task> = (0..50).map(|i| model.task(i, 1.0)).collect();
        let last_call = Arc::new(AtomicU64::new(0));
        let (in_model, moved, mut dice) = (Arc::clone(&clock), Arc::clone(&last_call), Dice(1));
        model.delay = Box::new(move |_| {
            let delay = Duration::from_micros(dice.between(2_000, 40_000));
            moved.store(u64::try_from(delay.as_nanos()).unwrap(), Ordering::SeqCst);
            in_model.advance(delay);
        });
        let mut planner = planner(&config, &model, clock.clone());
        let (mut dice, mut overruns, mut stopped, mut refused) = (Dice(2), Vec::new(), 0, 0);
        for plan_id in 0..PLANS {
            // One in a hundred has no time at all.
            let allowed = if plan_id % 100 == 99 { 0 } else { dice.between(1, 250) };
            let (batches, task) = (model.batches, &tasks[(plan_id % 50) as usize]);
            let allowed = Duration::from_millis(allowed);
            let timed = plan_within(allowed, (&mut planner, &mut model), (task, plan_id), &*clock, &last_call);
            match &timed.result {
                Ok(plan) => {
                    assert!(model.batches > batches && plan.batches == model.batches - batches);
                    assert!(plan.energy.is_finite() && planner.action_space().is_finished(&plan.candidate));
                    if plan.stop == Stop::Deadline {
                        stopped += 1;
                    }
                    // The rule for answers of the delta gripper may not let the best candidate pass.
                    if config.action_space.gripper == GripperMode::Absolute {
                        assert_eq!(plan.cost, timed.least, "{name}: the best so far");
                    }
                }
                Err(PlanError::NoBatchBeforeDeadline) => {
                    assert_eq!(model.batches, batches, "{name}: a batch was finished, so there is a plan");
                    refused += 1;
                }
                Err(other) => panic!("{name}: {other}"),
            }
            assert!(timed.overrun <= timed.last_call, "{name}: {:?} after {:?}", timed.overrun, timed.last_call);
            overruns.push(timed.overrun);
        }
        overruns.sort();
        let at = |part: f64| overruns[(part * PLANS as f64) as usize];
        println!("{name}: {stopped} stopped, {refused} refused, overrun p50 {:?}, p99.9 {:?}", at(0.5), at(0.999));
        assert!(at(0.999) <= Duration::from_millis(40));
        assert!(refused == PLANS / 100 && stopped > PLANS / 4, "{name}: {refused} {stopped}");
    }
}

#[test]
fn a_deadline_on_the_machines_clock_is_overrun_by_one_batch_at_most() {
    for name in optimizer::names() {
        let clock = Arc::new(SystemClock::new());
        let mut model = Smooth::new(2, 4);
        let task = model.task(0, 1.0);
        let last_call = Arc::new(AtomicU64::new(0));
        let (in_model, took, mut dice) = (Arc::clone(&clock), Arc::clone(&last_call), Dice(3));
        model.delay = Box::new(move |_| {
            let began = in_model.monotonic();
            std::thread::sleep(Duration::from_micros(dice.between(1_000, 8_000)));
            let ns = u64::try_from(in_model.monotonic().since(began).as_nanos()).unwrap();
            took.store(ns, Ordering::SeqCst);
        });
        let mut planner = planner(&config(name), &model, clock.clone());
        let (mut stopped, mut host) = (0, Vec::new());
        for plan_id in 0..30 {
            let allowed = Duration::from_millis(12);
            let timed = plan_within(allowed, (&mut planner, &mut model), (&task, plan_id), &*clock, &last_call);
            let plan = timed.result.unwrap();
            stopped += u64::from(plan.stop == Stop::Deadline);
            // The formula itself and the planner take their time too; here it is not virtual.
            let rest = plan.host_time + Duration::from_millis(5);
            assert!(timed.overrun <= timed.last_call + rest, "{name}: {:?} {:?}", timed.overrun, timed.last_call);
            host.push(plan.host_time);
        }
        host.sort();
        println!("{name}: {stopped} of 30 stopped; time outside the model, median {:?}", host[15]);
        assert!(stopped > 15, "{name}: {stopped}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_excluded_and_counted() {
    for (name, config) in every_kind() {
        for energy in [EnergyNorm::L1, EnergyNorm::L2] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for flaw in [Flaw::Energy(value), Flaw::Latent(value)] {
                    let config = PlannerConfig { energy, ..config.clone() };
                    let mut model = Smooth::new(2, 4);
                    let task = model.task(3, 1.0);
                    // A batch of one candidate stays as it is: it has no half.
                    model.flaw = Box::new(move |_, size, i| if i % 3 == 1 && size > 1 { flaw } else { Flaw::None });
                    let clock = Arc::new(ManualClock::default());
                    let plan = planner(&config, &model, clock).plan(&mut model, &task.request(0, None)).unwrap();
                    assert_eq!(plan.excluded, model.flawed, "{name} {flaw:?}");
                    assert_eq!(plan.predictor_calls, model.candidates, "{name}");
                    // Who does not ask for latents does not see theirs.
                    let sees = matches!(flaw, Flaw::Energy(_)) || config.optimizer == "response_surface";
                    assert_eq!(plan.excluded > 0, sees, "{name} {flaw:?}: {}", plan.excluded);
                    assert!(plan.energy.is_finite() && plan.energy < plan.energy_now, "{name} {flaw:?}");
                }
            }
        }
    }
}

#[test]
fn more_than_half_of_a_batch_is_a_typed_error_in_whichever_batch_and_half_is_not() {
    for (name, config) in every_kind() {
        for bad_batch in [0, 1] {
            let mut model = Smooth::new(2, 4);
            let task = model.task(3, 1.0);
            let mut planner = planner(&config, &model, Arc::new(ManualClock::default()));
            model.flaw =
                Box::new(
                    move |number, size, i| {
                        if number == bad_batch && i <= size / 2 { Flaw::Energy(f32::NAN) } else { Flaw::None }
                    },
                );
            match planner.plan(&mut model, &task.request(0, None)) {
                Err(PlanError::NotFinite { excluded, batch }) => {
                    assert_eq!((excluded, model.batches), (batch / 2 + 1, bad_batch + 1), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
            // The planner can be asked again; half of a batch is still a batch.
            let from = model.batches;
            model.flaw =
                Box::new(
                    move |number, size, i| {
                        if number == from + bad_batch && i < size / 2 { Flaw::Energy(f32::NAN) } else { Flaw::None }
                    },
                );
            model.flawed = 0;
            let plan = planner.plan(&mut model, &task.request(0, None)).unwrap();
            // A second batch of one has no half.
            let some = config.optimizer != response_surface::NAME || bad_batch == 0;
            assert!((plan.excluded > 0) == some, "{name}: {}", plan.excluded);
            assert_eq!(plan.excluded, model.flawed, "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_answer_is_a_candidate_whose_energy_was_computed_and_finite(
        seed in any::<u64>(), kind in 0_usize..64, horizon in 1_usize..3, part in 0.0..1.0_f64
    ) {
        let kinds = every_kind();
        let (name, config) = &kinds[kind % kinds.len()];
        let config = PlannerConfig { horizon, ..config.clone() };
        let mut model = Smooth::new(2, 4);
        let task = model.task(seed % 100, 1.5);
        let (mut dice, mut left, mut of) = (Dice(seed), 0, usize::MAX);
        model.flaw = Box::new(move |number, size, i| {
            if of != number {
                // Up to just below half of the batch, at random places.
                (of, left) = (number, (part * size.div_ceil(2) as f64) as usize);
            }
            let bad = dice.next() % ((size - i) as u64) < left as u64;
            left -= usize::from(bad);
            match (bad, dice.next() % 4) {
                (false, _) => Flaw::None,
                (_, 0) => Flaw::Energy(f32::NAN),
                (_, 1) => Flaw::Energy(f32::NEG_INFINITY),
                (_, 2) => Flaw::Latent(f32::INFINITY),
                _ => Flaw::Latent(f32::NAN),
            }
        });
        let seen = Mutex::new(Vec::new());
        let mut planner = planner(&config, &model, Arc::new(ManualClock::default()));
        let plan = planner.plan_observed(&mut model, &task.request(seed, None), &mut |batch, evaluation| {
            let rows = batch.iter().zip(evaluation.energy).map(|(candidate, energy)| (candidate.to_vec(), *energy));
            seen.lock().unwrap().extend(rows);
        }).unwrap();
        prop_assert!(plan.energy.is_finite() && plan.cost.is_finite());
        prop_assert!(planner.action_space().contains(&plan.candidate), "{}", name);
        let seen = seen.into_inner().unwrap();
        prop_assert_eq!(seen.len(), plan.predictor_calls);
        prop_assert_eq!(plan.excluded, model.flawed);
        prop_assert!(seen.iter().any(|(c, energy)| c[..] == plan.candidate[..] && *energy == plan.energy), "{}", name);
    }
}
