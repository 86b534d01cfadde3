//! What a device can give (formats, sizes, rates), and which of it is taken.

use super::V4l2Format;

/// Width and height, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A frame rate as the kernel has it: the time between frames as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Seconds, above the line.
    pub numerator: u32,
    /// Seconds, below the line.
    pub denominator: u32,
}

impl Rate {
    /// Frames per second; infinite for an interval of 0.
    pub fn hz(self) -> f64 {
        f64::from(self.denominator) / f64::from(self.numerator)
    }

    /// Seconds between frames.
    pub fn interval_s(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }
}

/// What a device has of one format.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatModes {
    /// The kernel's four letters.
    pub fourcc: [u8; 4],
    /// The driver's words.
    pub description: String,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Sizes; empty when the driver does not say.
    pub sizes: Vec<SizeModes>,
}

/// Sizes of one format and their rates.
#[derive(Clone, Debug, PartialEq)]
pub enum SizeModes {
    /// One size.
    Discrete {
        /// The size.
        size: Size,
        /// Rates; empty when the driver does not say, or has a range of them.
        rates: Vec<Rate>,
    },
    /// Every size between two.
    Range {
        /// Smallest.
        min: Size,
        /// Largest.
        max: Size,
        /// From one to the next.
        step: Size,
    },
}

impl SizeModes {
    fn has(&self, wanted: Size) -> bool {
        match self {
            Self::Discrete { size, .. } => *size == wanted,
            Self::Range { min, max, step } => {
                let within = |at: u32, low: u32, high: u32, step: u32| {
                    (low..=high).contains(&at) && (at - low).checked_rem(step).unwrap_or(0) == 0
                };
                within(wanted.width, min.width, max.width, step.width)
                    && within(wanted.height, min.height, max.height, step.height)
            }
        }
    }

    /// The fastest rate that is known, Hz.
    fn fastest_hz(&self) -> Option<f64> {
        match self {
            Self::Discrete { rates, .. } => rates.iter().map(|rate| rate.hz()).reduce(f64::max),
            Self::Range { .. } => None,
        }
    }
}

/// What is asked of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// How pixels come; not `auto`.
    pub format: V4l2Format,
    /// The kernel's four letters for it, as this device has them.
    pub fourcc: [u8; 4],
    /// Size.
    pub size: Size,
}

/// The format to ask for: the wanted one or, with [`V4l2Format::Auto`], the first in the order of preference that has
/// size and rate, then the fastest one that has the size.
///
/// # Errors
/// What the device has instead.
pub fn choose(modes: &[FormatModes], wanted: V4l2Format, size: Size, rate_hz: f64) -> Result<Mode, String> {
    // 30000/1001 Hz counts as 30.
    const NEARLY: f64 = 0.99;
    let readable = |modes: &&FormatModes| {
        V4l2Format::from_fourcc(modes.fourcc).is_some_and(|(format, _)| wanted == V4l2Format::Auto || wanted == format)
    };
    let mut candidates: Vec<&FormatModes> = modes.iter().filter(readable).collect();
    let preference = |modes: &FormatModes| {
        let format = V4l2Format::from_fourcc(modes.fourcc).map(|(format, _)| format);
        V4l2Format::PREFERRED.iter().position(|(preferred, ..)| Some(*preferred) == format)
    };
    candidates.sort_by_key(|modes| preference(modes));
    if candidates.is_empty() {
        return Err(format!(
            "it gives {}, which are not among those that can be read ({})",
            names(modes),
            readable_names(wanted)
        ));
    }
    let mut best: Option<(&FormatModes, f64)> = None;
    for modes in &candidates {
        // A driver that does not list its sizes is asked all the same; what it answers is checked.
        let unlisted = modes.sizes.is_empty();
        let listed = modes.sizes.iter().find(|sizes| sizes.has(size));
        if !unlisted && listed.is_none() {
            continue;
        }
        let hz = listed.and_then(SizeModes::fastest_hz).unwrap_or(f64::INFINITY);
        if best.is_none_or(|(_, fastest)| fastest < NEARLY * rate_hz && hz > fastest) {
            best = Some((modes, hz));
        }
    }
    let Some((modes, _)) = best else {
        return Err(format!("it does not give {size} in {}; it gives {}", names_of(&candidates), sizes(&candidates)));
    };
    let (format, _) = V4l2Format::from_fourcc(modes.fourcc).ok_or("unreadable format")?;
    Ok(Mode { format, fourcc: modes.fourcc, size })
}

fn names(modes: &[FormatModes]) -> String {
    names_of(&modes.iter().collect::<Vec<_>>())
}

fn names_of(modes: &[&FormatModes]) -> String {
    modes.iter().map(|modes| fourcc_text(modes.fourcc)).collect::<Vec<_>>().join(", ")
}

fn readable_names(wanted: V4l2Format) -> String {
    V4l2Format::PREFERRED
        .iter()
        .filter(|(format, ..)| wanted == V4l2Format::Auto || *format == wanted)
        .map(|(_, fourcc, _)| fourcc_text(*fourcc))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Sizes that the formats have, each once.
fn sizes(modes: &[&FormatModes]) -> String {
    let mut names: Vec<String> = Vec::new();
    for sizes in modes.iter().flat_map(|modes| &modes.sizes) {
        let name = match sizes {
            SizeModes::Discrete { size, .. } => size.to_string(),
            SizeModes::Range { min, max, step } => {
                format!("{min} to {max} in steps of {}x{}", step.width, step.height)
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// Four letters as text; what is no letter is shown as `?`.
pub(super) fn fourcc_text(fourcc: [u8; 4]) -> String {
    fourcc.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGA: Size = Size { width: 640, height: 480 };
    const FULL_HD: Size = Size { width: 1920, height: 1080 };

    fn modes(fourcc: &[u8; 4], sizes: &[(Size, &[u32])]) -> FormatModes {
        let sizes = sizes.iter().map(|(size, rates)| SizeModes::Discrete {
            size: *size,
            rates: rates.iter().map(|hz| Rate { numerator: 1, denominator: *hz }).collect(),
        });
        FormatModes { fourcc: *fourcc, description: String::new(), compressed: false, sizes: sizes.collect() }
    }

    fn webcam() -> Vec<FormatModes> {
        vec![modes(b"MJPG", &[(VGA, &[30]), (FULL_HD, &[30])]), modes(b"YUYV", &[(VGA, &[30, 15]), (FULL_HD, &[5])])]
    }

    #[test]
    fn auto_prefers_what_needs_no_decoding_unless_that_is_too_slow() {
        let chosen = |size, hz| choose(&webcam(), V4l2Format::Auto, size, hz).unwrap().format;
        assert_eq!(chosen(VGA, 30.0), V4l2Format::Yuyv);
        assert_eq!(chosen(FULL_HD, 30.0), V4l2Format::Mjpg);
        assert_eq!(chosen(FULL_HD, 5.0), V4l2Format::Yuyv);
        assert_eq!(chosen(VGA, 60.0), V4l2Format::Yuyv, "none is fast enough: of equal ones the first");
        assert_eq!(
            choose(&webcam(), V4l2Format::Yuyv, FULL_HD, 30.0).unwrap().format,
            V4l2Format::Yuyv,
            "as asked for"
        );
    }

    #[test]
    fn a_driver_that_says_little_is_asked_all_the_same() {
        let silent = [FormatModes { sizes: Vec::new(), ..modes(b"UYVY", &[]) }];
        assert_eq!(choose(&silent, V4l2Format::Auto, VGA, 30.0).unwrap().format, V4l2Format::Uyvy);
        let without_rates = [modes(b"NV12", &[(VGA, &[])])];
        assert_eq!(choose(&without_rates, V4l2Format::Auto, VGA, 30.0).unwrap().format, V4l2Format::Nv12);
    }

    #[test]
    fn ranges_have_what_lies_on_their_steps() {
        let size = |width, height| Size { width, height };
        let range = |step| {
            [FormatModes {
                sizes: vec![SizeModes::Range { min: size(32, 16), max: FULL_HD, step }],
                ..modes(b"YUYV", &[])
            }]
        };
        assert!(choose(&range(size(16, 2)), V4l2Format::Auto, VGA, 30.0).is_ok());
        assert!(choose(&range(size(16, 2)), V4l2Format::Auto, size(641, 480), 30.0).is_err());
        assert!(choose(&range(size(16, 2)), V4l2Format::Auto, size(3840, 2160), 30.0).is_err());
        assert!(choose(&range(size(0, 0)), V4l2Format::Auto, VGA, 30.0).is_ok(), "a step of 0 divides nothing");
    }

    #[test]
    fn what_the_device_has_instead_is_said() {
        let error = choose(&webcam(), V4l2Format::Auto, Size { width: 800, height: 600 }, 30.0).unwrap_err();
        assert!(error.contains("800x600") && error.contains("640x480, 1920x1080"), "{error}");
        let error = choose(&[modes(b"H264", &[(VGA, &[30])])], V4l2Format::Auto, VGA, 30.0).unwrap_err();
        assert!(error.contains("H264") && error.contains("YUYV"), "{error}");
        let error = choose(&webcam(), V4l2Format::Nv12, VGA, 30.0).unwrap_err();
        assert!(error.contains("MJPG, YUYV") && error.contains("NV12"), "{error}");
    }
}
