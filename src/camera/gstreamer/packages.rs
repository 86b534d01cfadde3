//! Which Debian (and Ubuntu) package has what a pipeline lacks.

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// Elements that camera pipelines are made of, by the beginning of their names.
const ELEMENTS: [(&str, &str); 40] = [
    ("appsink", BASE),
    ("decodebin", BASE),
    ("uridecodebin", BASE),
    ("videoconvert", BASE),
    ("videoscale", BASE),
    ("videorate", BASE),
    ("videotestsrc", BASE),
    ("theora", BASE),
    ("ogg", BASE),
    ("v4l2", GOOD),
    ("rtsp", GOOD),
    ("rtp", GOOD),
    ("udpsrc", GOOD),
    ("jpeg", GOOD),
    ("pngdec", GOOD),
    ("vp8", GOOD),
    ("vp9", GOOD),
    ("qtdemux", GOOD),
    ("matroska", GOOD),
    ("avidemux", GOOD),
    ("multifilesrc", GOOD),
    ("multipart", GOOD),
    ("souphttpsrc", GOOD),
    ("videocrop", GOOD),
    ("videoflip", GOOD),
    ("h264parse", BAD),
    ("h265parse", BAD),
    ("openh264", BAD),
    ("libde265", BAD),
    ("dav1d", BAD),
    ("tsdemux", BAD),
    ("srtsrc", BAD),
    ("decklink", BAD),
    ("nvh26", BAD),
    ("va", BAD),
    ("x264enc", UGLY),
    ("avdec_", LIBAV),
    ("libcamerasrc", "gstreamer1.0-libcamera"),
    ("pipewiresrc", "gstreamer1.0-pipewire"),
    ("rtspclientsink", "gstreamer1.0-rtsp"),
];

/// Formats that a stream can have, by their media type.
const DECODERS: [(&str, &str); 8] = [
    ("video/x-h264", LIBAV),
    ("video/x-h265", LIBAV),
    ("video/mpeg", LIBAV),
    ("video/x-av1", BAD),
    ("video/x-vp", GOOD),
    ("image/jpeg", GOOD),
    ("image/png", GOOD),
    ("application/x-rtp", GOOD),
];

fn longest(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let fitting = table.iter().filter(|(beginning, _)| name.starts_with(beginning));
    fitting.max_by_key(|(beginning, _)| beginning.len()).map(|(_, package)| *package)
}

/// The package that has an element; `None` where that is not known.
pub fn element_package(element: &str) -> Option<&'static str> {
    longest(&ELEMENTS, element)
}

/// The package that decodes a media type, such as `video/x-h264`; `None` where that is not known.
pub fn decoder_package(media_type: &str) -> Option<&'static str> {
    longest(&DECODERS, media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_decides() {
        assert_eq!(element_package("rtspsrc"), Some(GOOD));
        assert_eq!(element_package("rtspclientsink"), Some("gstreamer1.0-rtsp"));
        assert_eq!(element_package("avdec_h264"), Some(LIBAV));
        assert_eq!(element_package("nosuchelement"), None);
        assert_eq!(decoder_package("video/x-h264, stream-format=(string)avc"), Some(LIBAV));
        assert_eq!(decoder_package("audio/x-opus"), None);
    }
}
