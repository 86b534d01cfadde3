//! How pixels lie in a buffer: the encodings that cameras give and `sensor_msgs/Image` names.

use super::decode::FrameError;

/// How the bytes of a picture are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// R G B.
    #[default]
    Rgb8,
    /// B G R.
    Bgr8,
    /// R G B A; alpha is ignored.
    Rgba8,
    /// B G R A; alpha is ignored.
    Bgra8,
    /// Brightness alone.
    Mono8,
    /// U Y V Y: two pixels in four bytes.
    Uyvy,
    /// Y U Y V: two pixels in four bytes.
    Yuyv,
    /// All Y, then U V of 2×2 pixels each, in rows of the same `step`.
    Nv12,
    /// All Y, then V U of 2×2 pixels each, in rows of the same `step`.
    Nv21,
    /// One colour a pixel; the rows begin R G, G B.
    BayerRggb8,
    /// One colour a pixel; the rows begin B G, G R.
    BayerBggr8,
    /// One colour a pixel; the rows begin G B, R G.
    BayerGbrg8,
    /// One colour a pixel; the rows begin G R, B G.
    BayerGrbg8,
    /// A JPEG file, also as cameras send it (MJPG, without Huffman tables). Its size is in the file; that of the
    /// [`RawImage`](super::decode::RawImage) does not count.
    Jpeg,
    /// A PNG file; likewise.
    Png,
}

impl Encoding {
    /// Names in `sensor_msgs/Image`; where there are several, the newer distributions' is first.
    pub const ROS_NAMES: [(&'static str, Self); 16] = [
        ("rgb8", Self::Rgb8),
        ("bgr8", Self::Bgr8),
        ("rgba8", Self::Rgba8),
        ("bgra8", Self::Bgra8),
        ("mono8", Self::Mono8),
        ("uyvy", Self::Uyvy),
        ("yuv422", Self::Uyvy),
        ("yuyv", Self::Yuyv),
        ("yuv422_yuy2", Self::Yuyv),
        ("nv12", Self::Nv12),
        ("nv21", Self::Nv21),
        ("bayer_rggb8", Self::BayerRggb8),
        ("bayer_bggr8", Self::BayerBggr8),
        ("bayer_gbrg8", Self::BayerGbrg8),
        ("bayer_grbg8", Self::BayerGrbg8),
        ("8UC1", Self::Mono8),
    ];

    /// By its name in `sensor_msgs/Image`.
    ///
    /// # Errors
    /// [`FrameError::Encoding`], with the names that are known.
    pub fn from_ros(name: &str) -> Result<Self, FrameError> {
        let known = Self::ROS_NAMES.iter().find(|(known, _)| *known == name);
        // A name of a hostile message may be long.
        known
            .map(|(_, encoding)| *encoding)
            .ok_or_else(|| FrameError::Encoding { encoding: name.chars().take(64).collect() })
    }

    /// What people call it: its name in `sensor_msgs/Image`, or the file format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            _ => Self::ROS_NAMES.iter().find(|(_, encoding)| *encoding == self).map_or("", |(name, _)| name),
        }
    }

    /// Whether it is an image file, which has to be decoded as a whole.
    pub fn is_file(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png)
    }

    /// Bytes that a row of `width` pixels takes (of the first plane, where there are two); 0 for files.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => width * 3,
            Self::Rgba8 | Self::Bgra8 => width * 4,
            Self::Uyvy | Self::Yuyv => width.next_multiple_of(2) * 2,
            Self::Mono8 | Self::BayerRggb8 | Self::BayerBggr8 | Self::BayerGbrg8 | Self::BayerGrbg8 => width,
            Self::Nv12 | Self::Nv21 => width.next_multiple_of(2),
            Self::Jpeg | Self::Png => 0,
        }
    }

    /// Column and row (0 or 1 each) of the red pixel in each 2×2 of a Bayer pattern; `None` for the others.
    pub fn bayer_red(self) -> Option<(usize, usize)> {
        Some(match self {
            Self::BayerRggb8 => (0, 0),
            Self::BayerBggr8 => (1, 1),
            Self::BayerGbrg8 => (0, 1),
            Self::BayerGrbg8 => (1, 0),
            _ => return None,
        })
    }

    /// Smallest width and height, pixels: a Bayer pattern is interpolated from all sides.
    pub fn least_side(self) -> usize {
        if self.bayer_red().is_some() { 3 } else { 1 }
    }

    /// Rows of the buffer, of all planes, for a picture of `height` rows.
    pub fn rows(self, height: usize) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => height + height.div_ceil(2),
            _ => height,
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_ros_old_and_new() {
        for (name, encoding) in Encoding::ROS_NAMES {
            assert_eq!(Encoding::from_ros(name), Ok(encoding));
            assert_eq!(Encoding::from_ros(encoding.name()), Ok(encoding));
        }
        assert_eq!(Encoding::from_ros("yuv422"), Encoding::from_ros("uyvy"));
        assert_eq!(Encoding::from_ros("yuv422_yuy2"), Encoding::from_ros("yuyv"));
    }

    #[test]
    fn rows_of_shared_colour_are_whole_pairs() {
        assert_eq!(Encoding::Yuyv.row_bytes(5), 12);
        assert_eq!((Encoding::Nv12.row_bytes(5), Encoding::Nv12.rows(5)), (6, 8));
    }
}
