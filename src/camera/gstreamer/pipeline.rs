//! What the setting `camera.gstreamer.pipeline` means: a pipeline in full, or one of the short forms.

use super::GstreamerSettings;

/// Name of the `appsink` in the pipelines of the short forms.
pub const SINK: &str = "frames";
/// Name of the element in them that gets the address.
pub(super) const SOURCE: &str = "source";

/// A pipeline, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A test pattern, by GStreamer's name for it.
    Test(String),
    /// A network camera, by its address.
    Rtsp(String),
    /// A video file, by its name.
    File(String),
    /// A pipeline in full.
    Pipeline(String),
}

impl Form {
    /// What a text asks for.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        if let Some(pattern) = text.strip_prefix("test:") {
            Self::Test(pattern.to_owned())
        } else if text == "test" {
            Self::Test("smpte".to_owned())
        } else if ["rtsp://", "rtsps://", "rtspt://", "rtspu://"].iter().any(|scheme| text.starts_with(scheme)) {
            Self::Rtsp(text.to_owned())
        } else if let Some(name) = text.strip_prefix("file://") {
            Self::File(name.to_owned())
        } else if text.contains('!') {
            Self::Pipeline(text.to_owned())
        } else {
            Self::File(text.to_owned())
        }
    }

    /// For people: without a password that the address has.
    pub fn describe(&self) -> String {
        let text = match self {
            Self::Test(pattern) => format!("test pattern {pattern}"),
            Self::Rtsp(text) | Self::File(text) | Self::Pipeline(text) => text.clone(),
        };
        self.without_password(&text)
    }

    /// `text` without a password that the address has: GStreamer's messages may quote it.
    pub fn without_password(&self, text: &str) -> String {
        let (Self::Rtsp(address) | Self::Pipeline(address)) = self else { return text.to_owned() };
        let mut text = text.to_owned();
        for (start, _) in address.match_indices("://") {
            let authority = &address[start + 3..];
            let end = authority.find(['/', ' ', '"', '\'']).unwrap_or(authority.len());
            let Some((login, _)) = authority[..end].rsplit_once('@') else { continue };
            if let Some((_, password)) = login.split_once(':').filter(|(_, password)| !password.is_empty()) {
                text = text.replace(&format!(":{password}@"), ":***@");
            }
        }
        text
    }

    /// The pipeline in the words of `gst-launch-1.0`, and the address that its element [`SOURCE`] is to have. (The
    /// address is no part of the text, where it would have to be quoted.)
    ///
    /// # Errors
    /// Why there is none.
    pub fn launch(&self, settings: &GstreamerSettings) -> Result<(String, Option<&str>), String> {
        // Frames are converted before the sink only if it cannot take them as they are.
        let end = format!("videoconvert ! appsink name={SINK}");
        match self {
            Self::Test(pattern) if pattern.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => Ok((
                format!(
                    "videotestsrc name={SOURCE} is-live=true pattern={pattern} \
                     ! video/x-raw,width=640,height=480,framerate=30/1 ! {end}"
                ),
                None,
            )),
            Self::Test(pattern) => Err(format!("there is no test pattern `{pattern}`; `test:ball` is one")),
            // A camera may send sound as well. What comes too late is dropped: a frame that is late is of no use.
            Self::Rtsp(address) => Ok((
                format!(
                    "rtspsrc name={SOURCE} latency={} drop-on-latency=true \
                     ! application/x-rtp,media=video ! decodebin ! {end}",
                    settings.latency_ms
                ),
                Some(address),
            )),
            Self::File(name) => Ok((format!("filesrc name={SOURCE} ! decodebin ! {end}"), Some(name))),
            Self::Pipeline(text) if text.contains("appsink") => Ok((text.clone(), None)),
            Self::Pipeline(_) => Err("it does not end in `appsink`, which hands the frames over: \
                                      … ! videoconvert ! appsink"
                .to_owned()),
        }
    }

    /// Whether the frames of a short form come as they are taken (and not as fast as they are read).
    pub fn is_live(&self) -> Option<bool> {
        match self {
            Self::Test(_) | Self::Rtsp(_) => Some(true),
            Self::File(_) => Some(false),
            Self::Pipeline(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_told_from_pipelines() {
        assert_eq!(Form::of("test"), Form::Test("smpte".to_owned()));
        assert_eq!(Form::of(" test:ball "), Form::Test("ball".to_owned()));
        assert_eq!(Form::of("rtsp://10.0.0.2/live"), Form::Rtsp("rtsp://10.0.0.2/live".to_owned()));
        assert_eq!(Form::of("file:///data/arm.mkv"), Form::File("/data/arm.mkv".to_owned()));
        assert_eq!(Form::of("my films/arm.mkv"), Form::File("my films/arm.mkv".to_owned()));
        assert_eq!(Form::of("file:///data/look! a film.mkv"), Form::File("/data/look! a film.mkv".to_owned()));
        let pipeline = "v4l2src ! appsink";
        assert_eq!(Form::of(pipeline), Form::Pipeline(pipeline.to_owned()));
    }

    #[test]
    fn an_address_is_no_part_of_the_text() {
        let settings = GstreamerSettings { latency_ms: 20, ..GstreamerSettings::default() };
        let form = Form::of("rtsp://camera/a b\"c ! filesink");
        let (text, address) = form.launch(&settings).unwrap();
        assert!(text.contains("latency=20") && !text.contains("filesink"), "{text}");
        assert_eq!(address, Some("rtsp://camera/a b\"c ! filesink"));
        assert!(Form::of("test:ball ! filesink").launch(&settings).is_err());
        assert!(Form::of("test:x y=1").launch(&settings).is_err());
    }

    #[test]
    fn a_pipeline_without_its_end_is_refused() {
        let error = Form::of("videotestsrc ! fakesink").launch(&GstreamerSettings::default()).unwrap_err();
        assert!(error.contains("appsink"), "{error}");
    }

    #[test]
    fn passwords_are_not_shown() {
        let form = Form::of("rtsp://admin:se:cr@et@10.0.0.2:554/live");
        assert_eq!(form.describe(), "rtsp://admin:***@10.0.0.2:554/live");
        assert_eq!(form.without_password("no rtsp://admin:se:cr@et@10.0.0.2"), "no rtsp://admin:***@10.0.0.2");
        let form = Form::of("rtspsrc location=rtsp://a:b@c/d ! decodebin ! appsink");
        assert_eq!(form.describe(), "rtspsrc location=rtsp://a:***@c/d ! decodebin ! appsink");
        assert_eq!(Form::of("rtsp://10.0.0.2:554/live").describe(), "rtsp://10.0.0.2:554/live");
    }
}
