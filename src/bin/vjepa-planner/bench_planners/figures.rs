//! What is said of many plans, and the tables of it.

use serde::Serialize;

use super::reference::Answer;
use crate::statistics::Sample;
use crate::table::number;

/// Largest change of closedness that counts as none where signs are compared.
pub const GRIPPER_DEAD_ZONE: f64 = 0.05;
/// Mean gap, percent, up to which a budget counts as enough.
pub const ENOUGH_PERCENT: f64 = 1.0;

/// Figures of one optimizer at one budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Steps ahead.
    pub horizon: usize,
    /// `l1` or `l2`.
    pub energy: &'static str,
    /// Name of the optimizer.
    pub optimizer: String,
    /// Name of its budget.
    pub budget: String,
    /// Plans that were made, one per pair.
    pub pairs: usize,
    /// Candidates per plan, mean.
    pub calls_mean: f64,
    /// Candidates of the largest plan.
    pub calls_max: usize,
    /// Model calls per plan, mean.
    pub batches_mean: f64,
    /// Against the reference; none without one.
    pub against_reference: Option<Comparison>,
    /// Time of a plan, median.
    pub plan_p50_ms: f64,
    /// The same, 99 % of plans.
    pub plan_p99_ms: f64,
    /// Part of the planning time outside the model.
    pub host_percent: f64,
    /// Energy of each plan, in the order of the pairs.
    pub energies: Vec<f64>,
    /// Calls of each plan, likewise.
    pub calls: Vec<usize>,
    /// Time of each plan, likewise.
    pub plan_ms: Vec<f64>,
}

/// How far plans are from the reference's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Energy gap, mean over pairs; below 0: better than the reference.
    pub gap_mean_percent: f64,
    /// Energy gap that 90 % of pairs do not exceed.
    pub gap_p90_percent: f64,
    /// Largest energy gap.
    pub gap_max_percent: f64,
    /// Distance of the first step's translation, median.
    pub xyz_p50_mm: f64,
    /// The same, 90 % of pairs.
    pub xyz_p90_mm: f64,
    /// Part of the plans whose first step opens, leaves or closes the gripper as the reference's does.
    pub gripper_agreement_percent: f64,
    /// Energy gap of each pair.
    pub gaps_percent: Vec<f64>,
}

impl Row {
    /// Of the answers for pairs 0, 1, …; compared with `reference`, which may have more. `None` for no answers.
    pub fn of(
        (horizon, energy): (usize, &'static str),
        optimizer: &str,
        budget: &str,
        answers: &[Answer],
        reference: Option<&[Answer]>,
    ) -> Option<Self> {
        let plan_ms: Vec<f64> = answers.iter().map(|a| a.plan_ms).collect();
        let sample = Sample::new(plan_ms.clone())?;
        let count = answers.len() as f64;
        let mean = |value: fn(&Answer) -> usize| answers.iter().map(value).sum::<usize>() as f64 / count;
        Some(Self {
            horizon,
            energy,
            optimizer: optimizer.to_owned(),
            budget: budget.to_owned(),
            pairs: answers.len(),
            calls_mean: mean(|a| a.calls),
            calls_max: answers.iter().map(|a| a.calls).max().unwrap_or(0),
            batches_mean: mean(|a| a.batches),
            against_reference: reference.and_then(|reference| Comparison::of(answers, reference)),
            plan_p50_ms: sample.median(),
            plan_p99_ms: sample.percentile(99),
            host_percent: 100.0 * answers.iter().map(|a| a.host_ms).sum::<f64>() / plan_ms.iter().sum::<f64>(),
            energies: answers.iter().map(|a| a.energy).collect(),
            calls: answers.iter().map(|a| a.calls).collect(),
            plan_ms,
        })
    }

    /// Its cells; see [`HEAD`].
    pub fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.optimizer.clone(), self.budget.clone(), self.pairs.to_string()];
        cells.push(number(self.calls_mean));
        cells.push(self.calls_max.to_string());
        cells.extend(match &self.against_reference {
            Some(c) => [
                signed(c.gap_mean_percent),
                signed(c.gap_p90_percent),
                signed(c.gap_max_percent),
                format!("{:.2}", c.xyz_p50_mm),
                format!("{:.2}", c.xyz_p90_mm),
                format!("{:.0} %", c.gripper_agreement_percent),
            ],
            None => [const { String::new() }; 6].map(|_| "–".to_owned()),
        });
        cells.extend([number(self.plan_p50_ms), number(self.plan_p99_ms), format!("{:.0} %", self.host_percent)]);
        cells
    }
}

/// Heads of a row's cells.
pub const HEAD: [&str; 14] = [
    "optimizer",
    "budget",
    "pairs",
    "calls",
    "max",
    "gap mean",
    "p90",
    "max",
    "xyz p50",
    "p90 mm",
    "gripper",
    "ms p50",
    "p99",
    "host",
];

/// A percentage with its sign.
fn signed(percent: f64) -> String {
    let digits = if percent.abs() < 10.0 { 2 } else { 0 };
    format!("{percent:+.digits$} %")
}

impl Comparison {
    /// `None` for no answers.
    fn of(answers: &[Answer], reference: &[Answer]) -> Option<Self> {
        let pairs = || answers.iter().zip(reference);
        let gaps: Vec<f64> = pairs().map(|(a, r)| 100.0 * (a.energy - r.energy) / r.energy).collect();
        let gap = Sample::new(gaps.clone())?;
        let xyz = Sample::new(pairs().map(|(a, r)| 1e3 * distance(&a.action, &r.action)).collect())?;
        let agree = pairs().filter(|(a, r)| gripper_sign(a) == gripper_sign(r)).count();
        Some(Self {
            gap_mean_percent: gaps.iter().sum::<f64>() / gaps.len() as f64,
            gap_p90_percent: gap.percentile(90),
            gap_max_percent: gap.percentile(100),
            xyz_p50_mm: xyz.median(),
            xyz_p90_mm: xyz.percentile(90),
            gripper_agreement_percent: 100.0 * agree as f64 / gaps.len() as f64,
            gaps_percent: gaps,
        })
    }
}

/// Between the translations of two actions, m.
fn distance(a: &[f64; 7], b: &[f64; 7]) -> f64 {
    a.iter().zip(b).take(3).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Whether the first step opens (−1), leaves (0) or closes (1) the gripper.
fn gripper_sign(answer: &Answer) -> i8 {
    let [.., change] = answer.action;
    i8::from(change > GRIPPER_DEAD_ZONE) - i8::from(change < -GRIPPER_DEAD_ZONE)
}

/// The fewest calls with which an optimizer is good enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fewest {
    /// Steps ahead.
    pub horizon: usize,
    /// `l1` or `l2`.
    pub energy: &'static str,
    /// Name of the optimizer.
    pub optimizer: String,
    /// Its cheapest budget with a mean gap of at most [`ENOUGH_PERCENT`]; none when no budget suffices.
    pub budget: Option<String>,
    /// Calls of that budget, mean.
    pub calls_mean: Option<f64>,
    /// Its gap.
    pub gap_mean_percent: Option<f64>,
}

/// For each optimizer among `rows`, which are of one horizon and energy.
pub fn fewest(rows: &[Row]) -> Vec<Fewest> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.optimizer.as_str()).collect();
    names.dedup();
    let of = |name: &str| {
        let gap = |row: &Row| row.against_reference.as_ref().map_or(f64::INFINITY, |c| c.gap_mean_percent);
        let good = rows.iter().filter(|row| row.optimizer == name && gap(row) <= ENOUGH_PERCENT);
        let best = good.min_by(|a, b| a.calls_mean.total_cmp(&b.calls_mean));
        let first = rows.iter().find(|row| row.optimizer == name)?;
        Some(Fewest {
            horizon: first.horizon,
            energy: first.energy,
            optimizer: name.to_owned(),
            budget: best.map(|row| row.budget.clone()),
            calls_mean: best.map(|row| row.calls_mean),
            gap_mean_percent: best.map(gap),
        })
    };
    names.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(energy: f64, x: f64, gripper: f64, calls: usize) -> Answer {
        let action = [x, 0.0, 0.0, 0.0, 0.0, 0.0, gripper];
        Answer { energy, action, calls, batches: 3, plan_ms: 4.0 * energy, host_ms: energy }
    }

    #[test]
    fn gaps_distances_and_signs_are_relative_to_the_reference() {
        let reference = [answer(1.0, 0.01, 0.5, 8001), answer(2.0, 0.0, 0.04, 8001), answer(9.0, 0.0, 0.0, 8001)];
        let answers = [answer(1.01, 0.012, 0.06, 20), answer(1.98, 0.0, -0.05, 30)];
        let row = Row::of((2, "l1"), "cem", "8×3", &answers, Some(&reference)).unwrap();
        assert_eq!((row.pairs, row.calls_mean, row.calls_max, row.host_percent.round()), (2, 25.0, 30, 25.0));
        let c = row.against_reference.clone().unwrap();
        assert!((c.gap_mean_percent).abs() < 1e-9 && (c.gap_max_percent - 1.0).abs() < 1e-9, "{c:?}");
        assert!((c.gap_p90_percent - 1.0).abs() < 1e-9 && (c.xyz_p50_mm - 1.0).abs() < 1e-9, "{c:?}");
        // −0.05 is within the dead zone.
        assert_eq!((c.gripper_agreement_percent, c.gaps_percent.len()), (100.0, 2));
        assert_eq!(row.cells().len(), HEAD.len());
        let other = Row::of((2, "l1"), "cem", "8×3", &[answer(1.0, 0.0, -0.06, 1)], Some(&reference)).unwrap();
        assert_eq!(other.against_reference.unwrap().gripper_agreement_percent, 0.0);
        assert!(Row::of((2, "l1"), "cem", "8×3", &[], Some(&reference)).is_none());
        assert_eq!(Row::of((2, "l1"), "cem", "8×3", &answers, None).unwrap().cells().len(), HEAD.len());
    }

    #[test]
    fn the_cheapest_sufficient_budget_is_found() {
        let reference = [answer(1.0, 0.0, 0.0, 8001)];
        let row = |name, budget, energy, calls| {
            Row::of((1, "l2"), name, budget, &[answer(energy, 0.0, 0.0, calls)], Some(&reference)).unwrap()
        };
        let rows = [
            row("cem", "default", 1.0, 768),
            row("cem", "small", 1.02, 24),
            row("cem", "middle", 1.009, 96),
            row("mppi", "default", 1.2, 99),
        ];
        let found = fewest(&rows);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].budget.as_deref(), found[0].calls_mean), (Some("middle"), Some(96.0)));
        assert_eq!((found[1].optimizer.as_str(), found[1].budget.as_deref()), ("mppi", None));
    }
}
