//! The change from watching to moving: `mode` is set while the node is unconfigured, to `active` only when the gate's
//! settings are complete; and after that change the node becomes active only when the controllers listen.
//!
//! A node that was started with `mode: active` may come up before its controllers; its status names those that are missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::NodeError;
use super::sink::Sink;
use crate::command::gripper::GripperMapping;
use crate::config::{Config, Mode};
use crate::robot::urdf::RobotDescription;
use crate::safety::gate::CommandGate;
use crate::share;

/// Decides whether `mode` may change now. Clones share the decision.
#[derive(Clone, Default)]
pub struct ModeSwitch(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// A configuration is made of the mode.
    fixed: AtomicBool,
    /// The mode was changed to `active` while the process ran.
    switched: AtomicBool,
}

impl ModeSwitch {
    /// From now on the mode stays as it is: a configuration is made of it.
    pub fn fix(&self) {
        self.0.fixed.store(true, Ordering::Release);
    }

    /// Nothing is configured any more.
    pub fn release(&self) {
        self.0.fixed.store(false, Ordering::Release);
    }

    /// Whether the mode was changed to `active` while the process ran.
    pub fn is_switched(&self) -> bool {
        self.0.switched.load(Ordering::Acquire)
    }

    /// Whether `config` may replace one with the mode `from`.
    ///
    /// # Errors
    /// In words: why not.
    pub fn allow(&self, from: Mode, config: &Config) -> Result<(), String> {
        if config.mode == from {
            return Ok(());
        }
        if self.0.fixed.load(Ordering::Acquire) {
            return Err("`mode` changes only while the node is unconfigured: deactivate and clean up first".to_owned());
        }
        if config.mode == Mode::Active {
            check_gate(config).map_err(|error| format!("not ready to move the arm: {error}"))?;
        }
        self.0.switched.store(config.mode == Mode::Active, Ordering::Release);
        Ok(())
    }
}

/// Makes a gate of the settings, one that leads nowhere. A description that comes by topic is only there when the node is
/// configured, which makes the gate again and fails for the same reasons.
fn check_gate(config: &Config) -> Result<(), NodeError> {
    if config.urdf.as_os_str().is_empty() {
        return Ok(());
    }
    let description = RobotDescription::from_file(&share::locate(&config.urdf))?;
    let chain = Arc::new(description.chain(&config.robot.base_frame, &config.robot.tip_frame)?);
    let limits = description.joint_limits(&config.robot.gripper.joint)?;
    let gripper = GripperMapping::new(&config.robot.gripper, &limits)?;
    CommandGate::new(config.safety.clone(), chain, Some(gripper), Sink::Nowhere)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parameter::ParameterValue;
    use crate::config::{Settings, reference};

    fn with(settings: &Settings, changes: &[(&str, ParameterValue)]) -> Settings {
        let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        settings.set_all(&changes).unwrap()
    }

    #[test]
    fn the_mode_changes_while_nothing_is_configured() {
        let shadow = reference::shipped().unwrap();
        let active = with(&shadow, &[("mode", ParameterValue::String("active".into()))]);
        let switch = ModeSwitch::default();
        assert_eq!(switch.allow(Mode::Shadow, shadow.config()), Ok(()));
        switch.fix();
        assert!(switch.allow(Mode::Shadow, active.config()).unwrap_err().contains("clean up first"));
        assert!(switch.allow(Mode::Active, shadow.config()).is_err(), "neither way");
        assert!(
            switch.allow(Mode::Active, active.config()).is_ok() && !switch.is_switched(),
            "other parameters change"
        );
        switch.release();
        assert_eq!(switch.allow(Mode::Shadow, active.config()), Ok(()));
        assert!(switch.is_switched());
        assert_eq!(switch.allow(Mode::Active, shadow.config()), Ok(()));
        assert!(!switch.is_switched());
    }

    #[test]
    fn settings_that_the_gate_refuses_are_no_way_to_active() {
        let text = reference::yaml(&reference::shipped().unwrap());
        let elbow = text.replace("panda_joint7:", "elbow:").replace("mode: shadow", "mode: active");
        let settings = Settings::from_text("/vjepa_planner", std::path::Path::new("test.yaml"), &elbow, &[]).unwrap();
        let refusal = ModeSwitch::default().allow(Mode::Shadow, settings.config()).unwrap_err();
        assert!(refusal.contains("elbow") && refusal.contains("not ready"), "{refusal}");
    }
}
