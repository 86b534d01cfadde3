//! Slowing down near singularities.
//!
//! Near a singularity a small motion of the tip needs large motions of the joints. As MoveIt Servo does, the condition
//! number of the Jacobian decides: from [`SingularityConfig::slow_from`] on the motion becomes slower, at
//! [`SingularityConfig::stop_at`] none is made; on the way out both bounds are wider. Unlike Servo, which lets nothing
//! out beyond the wider bound, a step that leads out is always made, if slowly: there is nobody with a joint jog here.

use super::inverse::ConvergenceReport;
use crate::config::parameter::{ParameterError, parameters, read_only};

parameters! {
    /// Condition numbers at which motions are slowed and refused. The defaults are those of MoveIt Servo
    /// (`lower_singularity_threshold`, `hard_stop_singularity_threshold`, `leaving_singularity_threshold_multiplier`).
    #[derive(Copy)]
    pub struct SingularityConfig {
        /// Condition number of the Jacobian from which on motions are slowed.
        slow_from: f64 = 17.0 => read_only().range(1.0..=1e6),
        /// Condition number at which no motion is made that leads further in, above `slow_from`.
        stop_at: f64 = 30.0 => read_only().range(1.0..=1e6),
        /// How much further apart both bounds are for motions that lead out.
        leaving_factor: f64 = 2.0 => read_only().range(1.0..=100.0),
    }
    checked by SingularityConfig::bounds_fit
}

/// Share of the full speed that a motion out of a singularity always has.
const SLOWEST_WAY_OUT: f64 = 0.1;

/// A motion that would end too near a singularity.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the step leads into a singularity: condition number {to:.0} (from {from:.0}, at most {most:.0})")]
pub struct Singular {
    /// Condition number where the motion begins.
    pub from: f64,
    /// Condition number where it would end.
    pub to: f64,
    /// Allowed.
    pub most: f64,
}

impl SingularityConfig {
    fn bounds_fit(&self) -> Result<(), ParameterError> {
        if self.stop_at > self.slow_from {
            Ok(())
        } else {
            Err(ParameterError::new(
                "stop_at",
                format!("is {}; it must be above slow_from, {}", self.stop_at, self.slow_from),
            ))
        }
    }

    /// Share of the full speed, above 0 and at most 1, for the motion that `report` solved.
    ///
    /// # Errors
    /// [`Singular`] when it leads too near a singularity.
    pub fn speed_scale(&self, report: &ConvergenceReport) -> Result<f64, Singular> {
        let (from, to) = (report.seed_condition_number, report.condition_number);
        let worst = from.max(to);
        let is_leaving = to < from;
        let width = (self.stop_at - self.slow_from) * if is_leaving { self.leaving_factor } else { 1.0 };
        // NaN cannot be: condition numbers are at least 1, or infinite.
        let scale = (1.0 - (worst - self.slow_from) / width).min(1.0);
        if is_leaving {
            Ok(scale.max(SLOWEST_WAY_OUT))
        } else if scale > 0.0 {
            Ok(scale)
        } else {
            Err(Singular { from, to, most: self.stop_at })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_yaml;

    fn scale(from: f64, to: f64) -> Result<f64, Singular> {
        let report = ConvergenceReport {
            position_residual_m: 0.0,
            rotation_residual_rad: 0.0,
            iterations: 1,
            manipulability: 1.0,
            seed_condition_number: from,
            condition_number: to,
        };
        SingularityConfig::default().speed_scale(&report)
    }

    #[test]
    fn the_way_in_gets_slower_and_ends() {
        assert_eq!(scale(5.0, 17.0), Ok(1.0));
        assert!((scale(17.0, 23.5).unwrap() - 0.5).abs() < 1e-12);
        assert!(scale(29.0, 29.9).unwrap() < 0.01);
        assert_eq!(scale(29.0, 31.0), Err(Singular { from: 29.0, to: 31.0, most: 30.0 }));
        assert!(scale(29.0, f64::INFINITY).unwrap_err().to_string().contains("singularity"));
    }

    #[test]
    fn there_is_always_a_way_out() {
        assert!(scale(29.0, 20.0).unwrap() > scale(20.0, 29.0).unwrap());
        assert_eq!(scale(f64::INFINITY, 100.0), Ok(SLOWEST_WAY_OUT));
        assert_eq!(scale(16.0, 10.0), Ok(1.0));
    }

    #[test]
    fn staying_where_it_is_singular_is_no_way_out() {
        assert!(scale(f64::INFINITY, f64::INFINITY).is_err());
    }

    #[test]
    fn bounds_that_do_not_fit_are_refused() {
        let problem = |text| from_yaml::<SingularityConfig>(text).unwrap_err().to_string();
        assert!(problem("{stop_at: 17.0}").contains("stop_at"));
        assert!(problem("{slow_from: 0.5}").contains("slow_from"));
        assert!(problem("{leaving_factor: .nan}").contains("leaving_factor"));
    }
}
