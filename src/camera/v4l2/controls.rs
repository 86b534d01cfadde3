//! Controls of a V4L2 device by name: exposure, gain, focus, white balance.
//!
//! The numbers are the kernel's (`linux/v4l2-controls.h`), the names those of `v4l2-ctl --list-ctrls`, old and new.

use std::str::FromStr;

/// Numbers of the controls that every driver shares begin here.
const USER: u32 = 0x0098_0900;
/// Likewise those of what a camera has beside a picture: exposure, focus, zoom.
const CAMERA: u32 = 0x009a_0900;

/// Name and number. Where a driver of before Linux 6.0 has another name, that follows.
const KNOWN: [(&str, u32); 46] = [
    ("brightness", USER),
    ("contrast", USER + 1),
    ("saturation", USER + 2),
    ("hue", USER + 3),
    ("white_balance_automatic", USER + 12),
    ("white_balance_temperature_auto", USER + 12),
    ("red_balance", USER + 14),
    ("blue_balance", USER + 15),
    ("gamma", USER + 16),
    ("exposure", USER + 17),
    ("gain_automatic", USER + 18),
    ("gain", USER + 19),
    ("horizontal_flip", USER + 20),
    ("vertical_flip", USER + 21),
    ("power_line_frequency", USER + 24),
    ("hue_automatic", USER + 25),
    ("hue_auto", USER + 25),
    ("white_balance_temperature", USER + 26),
    ("sharpness", USER + 27),
    ("backlight_compensation", USER + 28),
    ("chroma_agc", USER + 29),
    ("color_effects", USER + 31),
    ("brightness_automatic", USER + 32),
    ("rotate", USER + 34),
    ("auto_exposure", CAMERA + 1),
    ("exposure_auto", CAMERA + 1),
    ("exposure_time_absolute", CAMERA + 2),
    ("exposure_absolute", CAMERA + 2),
    ("exposure_dynamic_framerate", CAMERA + 3),
    ("exposure_auto_priority", CAMERA + 3),
    ("pan_absolute", CAMERA + 8),
    ("tilt_absolute", CAMERA + 9),
    ("focus_absolute", CAMERA + 10),
    ("focus_automatic_continuous", CAMERA + 12),
    ("focus_auto", CAMERA + 12),
    ("zoom_absolute", CAMERA + 13),
    ("privacy", CAMERA + 16),
    ("iris_absolute", CAMERA + 17),
    ("auto_exposure_bias", CAMERA + 19),
    ("white_balance_auto_preset", CAMERA + 20),
    ("wide_dynamic_range", CAMERA + 21),
    ("image_stabilization", CAMERA + 22),
    ("iso_sensitivity", CAMERA + 23),
    ("iso_sensitivity_auto", CAMERA + 24),
    ("exposure_metering_mode", CAMERA + 25),
    ("scene_mode", CAMERA + 26),
];

/// A control and the value that it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// As it was named, for messages.
    pub name: String,
    /// The kernel's number.
    pub id: u32,
    /// The value, in the driver's unit; 0 and 1 for a switch, the place in the menu for a menu.
    pub value: i64,
}

/// Why a text does not say what a control is to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not `name=value`.
    #[error("`{0}` is not name=value with a whole number, such as `brightness=128`")]
    Form(String),
    /// A name that is not known.
    #[error("there is no control `{name}`{}; a control of one driver alone goes by its number, such as `0x0098f900=1`", meant(.name))]
    Name {
        /// As given.
        name: String,
    },
}

/// The known name that an unknown one was meant to be.
fn meant(name: &str) -> String {
    let nearest = KNOWN.iter().map(|(known, _)| (strsim::osa_distance(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 3 => format!(" (is it `{known}`?)"),
        _ => String::new(),
    }
}

impl Control {
    /// Name and number of every control that has a name, once.
    pub fn known() -> impl Iterator<Item = (&'static str, u32)> {
        KNOWN.iter().enumerate().filter(|(i, (_, id))| *i == 0 || KNOWN[i - 1].1 != *id).map(|(_, known)| *known)
    }
}

impl FromStr for Control {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, ControlError> {
        let form = || ControlError::Form(text.chars().take(64).collect());
        let (name, value) = text.split_once('=').ok_or_else(form)?;
        let (name, value) = (name.trim(), value.trim());
        let value = value.parse().ok().ok_or_else(form)?;
        let id = match name.strip_prefix("0x") {
            Some(number) => u32::from_str_radix(number, 16).ok().ok_or_else(form)?,
            None => KNOWN
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, id)| *id)
                .ok_or_else(|| ControlError::Name { name: name.to_owned() })?,
        };
        Ok(Self { name: name.to_owned(), id, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_go_by_their_names_old_and_new_and_by_number() {
        for (text, id, value) in [
            ("brightness=128", 0x0098_0900, 128),
            ("exposure_time_absolute = 150", 0x009a_0902, 150),
            ("exposure_absolute=150", 0x009a_0902, 150),
            ("pan_absolute=-3600", 0x009a_0908, -3600),
            ("0x0098f900=1", 0x0098_f900, 1),
        ] {
            let control: Control = text.parse().unwrap();
            assert_eq!((control.id, control.value), (id, value), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_control_is_named() {
        for text in ["brightness", "brightness=", "brightness=high", "0xzz=1", "=", ""] {
            assert_eq!(text.parse::<Control>(), Err(ControlError::Form(text.to_owned())));
        }
        let error = "exposure_tme_absolute=3".parse::<Control>().unwrap_err().to_string();
        assert!(error.contains("`exposure_tme_absolute`") && error.contains("`exposure_time_absolute`"), "{error}");
    }

    #[test]
    fn every_control_is_listed_once_under_its_newer_name() {
        let names: Vec<&str> = Control::known().map(|(name, _)| name).collect();
        assert!(names.contains(&"auto_exposure") && !names.contains(&"exposure_auto"), "{names:?}");
        let mut ids: Vec<u32> = Control::known().map(|(_, id)| id).collect();
        ids.dedup();
        assert_eq!(ids.len(), names.len());
    }
}
