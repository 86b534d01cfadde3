//! How long one solve of inverse kinematics takes, beside the Jacobian solver of the crate `k`.
//!
//! `cargo bench --bench inverse_kinematics`. Targets are poses of random joint positions, so that all can be reached. `step`
//! begins where every joint is up to 0.1 rad away, about one planner step; `afar` at other random joint positions, from
//! where a local method finds a way for some. Both solvers get the same seeds and targets, and tolerances of 0.01 mm and
//! 0.1 mrad.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to be read by people")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use k::InverseKinematicsSolver as _;
use nalgebra::Isometry3;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use vjepa_planner::clock::{Clock as _, SystemClock};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::urdf::RobotDescription;

const SOLVES: usize = 20_000;
const ROBOTS: [(&str, &str, &str); 3] = [
    ("config/robots/panda/panda.urdf", "panda_link0", "panda_hand_tcp"),
    ("tests/robots/ur5e_like.urdf", "base_link", "tool0"),
    ("tests/robots/irb120_like.urdf", "base_link", "tool0"),
];

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    println!(
        "{:>16} {:>5} {:>7} {:>8} {:>8} {:>8} {:>7}",
        "robot", "from", "solver", "p50 µs", "p99 µs", "max µs", "solved"
    );
    for (file, base, tip) in ROBOTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let robot = path.file_stem().unwrap().to_str().unwrap();
        let chain = Arc::new(RobotDescription::from_file(&path).unwrap().chain(base, tip).unwrap());
        let solver = InverseKinematics::new(Arc::clone(&chain), InverseKinematicsConfig::default()).unwrap();
        let described = k::Chain::<f64>::from_urdf_file(&path).unwrap();
        let serial = k::SerialChain::from_end(described.find_link(tip).unwrap());
        let other = k::JacobianIkSolver::new(1e-5, 1e-4, 0.5, 100);
        let clock = SystemClock::new();
        let mut random = ChaCha12Rng::seed_from_u64(7);
        let mut unit = move || f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
        for from in ["step", "afar"] {
            let (mut ours, mut theirs) = (Times::default(), Times::default());
            for _ in 0..SOLVES {
                let mut joints = || {
                    JointVector::from_fn(chain.dof(), |i| {
                        let limits = &chain.joints()[i].limits;
                        (limits.lower + limits.upper) / 2.0 + 0.45 * (limits.upper - limits.lower) * unit()
                    })
                };
                let (goal, other_joints) = (joints(), joints());
                let near = JointVector::from_fn(chain.dof(), |i| goal[i] + 0.1 * unit());
                let seed = if from == "step" { near } else { other_joints };
                let target = chain.forward(&goal);
                ours.time(&clock, || solver.solve(&target, &seed).is_ok());
                serial.set_joint_positions_unchecked(&seed);
                // It panics on singular matrices.
                let solve = AssertUnwindSafe(|| other.solve(&serial, &to_k(&target)).is_ok());
                theirs.time(&clock, || catch_unwind(solve).unwrap_or(false));
            }
            let ratio = theirs.quantile(0.5) / ours.quantile(0.5);
            for (name, mut times) in [("ours", ours), ("k", theirs)] {
                let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| times.quantile(q));
                let solved = 100.0 * times.solved as f64 / SOLVES as f64;
                println!("{robot:>16} {from:>5} {name:>7} {p50:>8.1} {p99:>8.1} {max:>8.1} {solved:>5.1} %");
            }
            println!("{:>16} {:>5} {ratio:>7.1} × as fast at the median", "", "");
        }
    }
}

/// The same pose as a type of the nalgebra version that `k` is built on.
fn to_k(pose: &Isometry3<f64>) -> k::Isometry3<f64> {
    let (t, q) = (pose.translation.vector, pose.rotation.coords);
    let quaternion = k::nalgebra::Quaternion::new(q.w, q.x, q.y, q.z);
    k::Isometry3::from_parts(k::Translation3::new(t.x, t.y, t.z), k::UnitQuaternion::from_quaternion(quaternion))
}

#[derive(Default)]
struct Times {
    us: Vec<f64>,
    solved: usize,
}

impl Times {
    fn time(&mut self, clock: &SystemClock, solve: impl FnOnce() -> bool) {
        let began = clock.monotonic();
        let solved = std::hint::black_box(solve());
        self.us.push(clock.monotonic().since(began).as_secs_f64() * 1e6);
        self.solved += usize::from(solved);
    }

    fn quantile(&mut self, q: f64) -> f64 {
        self.us.sort_by(f64::total_cmp);
        self.us[((self.us.len() - 1) as f64 * q) as usize]
    }
}
