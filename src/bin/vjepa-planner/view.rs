//! `vjepa-planner view`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use vjepa_planner::camera::decode::to_rgb;
use vjepa_planner::camera::file;
use vjepa_planner::camera::gstreamer::{self, GstreamerSettings};
use vjepa_planner::camera::open;
use vjepa_planner::camera::source::{CameraOpener, CaptureStamp, SourceError};
use vjepa_planner::camera::v4l2::{self, V4l2Settings};
use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::config::{Config, Settings};
use vjepa_planner::share;
use vjepa_planner::world_model::manifest::ModelDirectory;
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter, RgbView};

/// The model's picture where no model is named: that of the published V-JEPA 2-AC.
const PUBLISHED: (usize, ResizeFilter) = (256, ResizeFilter::Bilinear);

/// Write what the model sees of a camera to a picture
///
/// To aim a camera: one frame, cut and resized as the node does it with the same settings.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A device (/dev/video0), `rtsp://…`, `test`, a video file or a pipeline that ends in appsink; or a picture, or a
    /// folder whose first picture is taken. Without it, what --params-file says
    #[arg(long, value_name = "CAMERA")]
    camera: Option<String>,
    /// Parameter file of the node, for its settings of the camera and its model; several follow each other
    #[arg(long, value_name = "FILE")]
    params_file: Vec<PathBuf>,
    /// A parameter of the node, such as `-p camera.v4l2.width:=1280`
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Model directory, for the size of its picture and how it is resized; without it, the model of --params-file, or 256 px
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Side of the picture, px, when no model is at hand
    #[arg(long, value_name = "PX", conflicts_with = "model", value_parser = clap::value_parser!(u32).range(16..=4096))]
    size: Option<u32>,
    /// How long a first frame is waited for, s
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,
    /// Frames of the first S seconds are passed over: exposure and white balance take a while
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    settle: f64,
    /// The picture to write, PNG
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(":=").ok_or("write name:=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_error| "not a number".to_owned())?;
    if (0.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 3600".to_owned()) }
}

/// A picture in RGB, and words about where it comes from.
struct Picture {
    rgb: Vec<u8>,
    width: u32,
    height: u32,
    source: String,
}

/// Takes a frame, cuts it, writes it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let (size, filter) = model_picture(arguments, &config)?;
    let picture = match arguments.camera.as_deref().map(Path::new) {
        Some(path) if path.is_dir() => from_file(&first_picture(path)?)?,
        Some(path) if is_picture(path) => from_file(path)?,
        _ => from_camera(arguments, &config)?,
    };
    let mut preprocessor = Preprocessor::new(size, filter).with_framing(config.camera.framing());
    let mut seen = vec![0.0; preprocessor.output_len()];
    preprocessor.run(RgbView { width: picture.width, height: picture.height, data: &picture.rgb }, &mut seen)?;
    let pixels: Vec<u8> = seen.iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect();
    let side = u32::try_from(size)?;
    let written = image::RgbImage::from_raw(side, side, pixels).context("picture of the wrong size")?;
    written
        .save_with_format(&arguments.output, image::ImageFormat::Png)
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    let (output, Picture { width, height, source, .. }) = (arguments.output.display(), picture);
    writeln!(std::io::stdout().lock(), "{output}: {side}x{side} px of {width}x{height} px, {source}")?;
    Ok(())
}

fn config(arguments: &Arguments) -> anyhow::Result<Arc<Config>> {
    let shipped = [share::locate(Path::new("config/planner.yaml"))];
    let files = if arguments.params_file.is_empty() { &shipped[..] } else { &arguments.params_file };
    Ok(Settings::load("/vjepa_planner", files, &arguments.parameters)?.config().clone())
}

/// Side and filter of the model's picture.
fn model_picture(arguments: &Arguments, config: &Config) -> anyhow::Result<(usize, ResizeFilter)> {
    if let Some(size) = arguments.size {
        return Ok((size as usize, PUBLISHED.1));
    }
    let of_config = (!arguments.params_file.is_empty()).then(|| share::locate(&config.model));
    let Some(model) = arguments.model.clone().or(of_config) else { return Ok(PUBLISHED) };
    let manifest = ModelDirectory::read(&model)?.manifest;
    Ok((manifest.image_size, manifest.resize_filter))
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn first_picture(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("folder {}", folder.display()))?;
    let pictures = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_picture(path));
    pictures.min().with_context(|| format!("there is no PNG or JPEG in the folder {}", folder.display()))
}

fn from_file(path: &Path) -> anyhow::Result<Picture> {
    let file::Picture { width, height, rgb } = file::load(path)?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    Ok(Picture { rgb, width, height, source: path.display().to_string() })
}

/// What gives the frames.
fn opener(
    arguments: &Arguments,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn CameraOpener>, SourceError> {
    match arguments.camera.as_deref() {
        Some(camera) if camera.starts_with("/dev/") => {
            let settings = V4l2Settings { device: camera.into(), ..config.camera.v4l2.clone() };
            v4l2::opener(&settings, clock)
        }
        Some(camera) => {
            let settings = GstreamerSettings { pipeline: camera.to_owned(), ..config.camera.gstreamer.clone() };
            gstreamer::opener(&settings, clock)
        }
        None => open::opener(&config.camera, clock),
    }
}

fn from_camera(arguments: &Arguments, config: &Config) -> anyhow::Result<Picture> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut source = opener(arguments, config, &clock)?.open()?;
    let (mut rgb, mut size, mut age) = (Vec::new(), None, None);
    let started = clock.monotonic();
    let mut first = None;
    loop {
        let now = clock.monotonic();
        let waited = now.since(first.unwrap_or(started)).as_secs_f64();
        if size.is_some() && waited >= arguments.settle {
            break;
        }
        if first.is_none() && waited >= arguments.timeout {
            anyhow::bail!("{}: no frame within {} s", source.describe(), arguments.timeout);
        }
        match source.next(Duration::from_millis(100)) {
            Ok(None) => {}
            Ok(Some(frame)) => match to_rgb(&frame.image, &mut rgb) {
                Ok(found) => {
                    size = Some(found);
                    first = first.or(Some(now));
                    age = match frame.stamp {
                        CaptureStamp::Monotonic(captured) => Some(clock.monotonic().since(captured)),
                        CaptureStamp::Ros(_) | CaptureStamp::Arrival => None,
                    };
                }
                Err(error) => tracing::warn!("{error}"),
            },
            Err(SourceError::Unusable(why)) => tracing::warn!("{why}"),
            // A film that is over has shown its last frame.
            Err(SourceError::Ended) if size.is_some() => break,
            Err(error) => return Err(error.into()),
        }
    }
    let (width, height) = size.with_context(|| format!("{}: no frame could be read", source.describe()))?;
    let age = age.map(|age| format!("; taken {:.0} ms before it came", age.as_secs_f64() * 1e3)).unwrap_or_default();
    Ok(Picture { rgb, width, height, source: format!("{}{age}", source.describe()) })
}
