//! `vjepa-planner cameras`.

use std::io::Write as _;

use clap::Args;

use vjepa_planner::camera::BUILT_SOURCES;

/// List cameras with their formats, sizes and rates
///
/// As `v4l2-ctl --list-formats-ext` does, for every V4L2 device; formats that the node cannot read are marked. Needs a build
/// with `--features v4l`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only this one, such as /dev/video0
    #[cfg(feature = "v4l")]
    device: Option<std::path::PathBuf>,
}

/// Prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "camera.source in this build: {}", BUILT_SOURCES.join(", "))?;
    list(arguments)
}

#[cfg(not(feature = "v4l"))]
fn list(_arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!(
        "this build cannot ask V4L2 devices; build with `cargo build --release --features v4l`, or use `v4l2-ctl \
         --list-devices`"
    )
}

#[cfg(feature = "v4l")]
use listing::list;

#[cfg(feature = "v4l")]
mod listing {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::path::Path;

    use vjepa_planner::camera::v4l2::{Device, DeviceError, FormatModes, Rate, SizeModes, V4l2Format, devices};

    use super::Arguments;

    pub fn list(arguments: &Arguments) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if let Some(device) = &arguments.device {
            return Ok(out.write_all(describe(device)?.as_bytes())?);
        }
        let devices = devices();
        if devices.is_empty() {
            writeln!(out, "no camera is plugged in (there is no /dev/video0, …), or its driver is not loaded")?;
        }
        for device in &devices {
            // One that is out of reach does not hide the others.
            match describe(device) {
                Ok(text) => out.write_all(text.as_bytes())?,
                Err(error) => writeln!(out, "{error}")?,
            }
        }
        Ok(())
    }

    fn describe(path: &Path) -> Result<String, DeviceError> {
        let device = Device::open(path)?;
        let mut text = format!("{}: {}\n", path.display(), device.name());
        let modes = device.modes()?;
        if modes.is_empty() {
            text += "\tgives no pictures\n";
        }
        for (index, format) in modes.iter().enumerate() {
            describe_format(&mut text, index, format);
        }
        let controls: Vec<String> = device.controls().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !modes.is_empty() && !controls.is_empty() {
            let _infallible = writeln!(text, "\tControls: {}", controls.join(" "));
        }
        Ok(text)
    }

    // Writing to a String cannot fail.
    fn describe_format(text: &mut String, index: usize, format: &FormatModes) {
        let compressed = if format.compressed { ", compressed" } else { "" };
        let unreadable = if V4l2Format::from_fourcc(format.fourcc).is_none() { ", cannot be read" } else { "" };
        let fourcc = String::from_utf8_lossy(&format.fourcc).into_owned();
        let _ = writeln!(text, "\t[{index}]: '{fourcc}' ({}{compressed}{unreadable})", format.description);
        for size in &format.sizes {
            match size {
                SizeModes::Discrete { size, rates } => {
                    let _ = writeln!(text, "\t\tSize: Discrete {size}");
                    for rate in rates {
                        describe_rate(text, *rate);
                    }
                }
                SizeModes::Range { min, max, step } => {
                    let _ = writeln!(text, "\t\tSize: Stepwise {min} - {max} with step {}/{}", step.width, step.height);
                }
            }
        }
    }

    fn describe_rate(text: &mut String, rate: Rate) {
        let _ = writeln!(text, "\t\t\tInterval: Discrete {:.3}s ({:.3} fps)", rate.interval_s(), rate.hz());
    }

    #[cfg(test)]
    mod tests {
        use vjepa_planner::camera::v4l2::Size;

        use super::*;

        #[test]
        fn formats_are_printed_as_v4l2_ctl_prints_them() {
            let size = |width, height| Size { width, height };
            let rates = vec![Rate { numerator: 1, denominator: 30 }, Rate { numerator: 1001, denominator: 15000 }];
            let mut text = String::new();
            let format = FormatModes {
                fourcc: *b"YUYV",
                description: "YUYV 4:2:2".to_owned(),
                compressed: false,
                sizes: vec![
                    SizeModes::Discrete { size: size(640, 480), rates },
                    SizeModes::Range { min: size(16, 16), max: size(640, 480), step: size(2, 4) },
                ],
            };
            describe_format(&mut text, 0, &format);
            let unreadable = FormatModes { fourcc: *b"H264", compressed: true, sizes: Vec::new(), ..format };
            describe_format(&mut text, 1, &unreadable);
            let lines = [
                "\t[0]: 'YUYV' (YUYV 4:2:2)",
                "\t\tSize: Discrete 640x480",
                "\t\t\tInterval: Discrete 0.033s (30.000 fps)",
                "\t\t\tInterval: Discrete 0.067s (14.985 fps)",
                "\t\tSize: Stepwise 16x16 - 640x480 with step 2/4",
                "\t[1]: 'H264' (YUYV 4:2:2, compressed, cannot be read)",
            ];
            assert_eq!(text.lines().collect::<Vec<_>>(), lines);
        }
    }
}
