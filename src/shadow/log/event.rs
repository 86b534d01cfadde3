//! What a recording holds, one message at a time.

use std::sync::Arc;

use crate::camera::decode::{FrameError, RawImage, to_rgb};
use crate::camera::encoding::Encoding;
use crate::camera::file::Picture;
use crate::clock::RosTime;
use crate::ros::cdr::{self, DecodeError, Payload};
use crate::ros::messages::{CompressedImage, Image, JointState, Message};
use crate::shadow::ShadowStep;

/// Bytes before the content of a CDR message: byte order and options.
const ENCAPSULATION: usize = 4;
/// How a PNG file begins; another picture file is a JPEG.
const PNG: &[u8] = b"\x89PNG";

/// One message of a recording.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// A camera picture, not yet decoded.
    Frame(LoggedFrame),
    /// Measured joints.
    JointState(Logged<JointState>),
    /// A step of shadow mode.
    Step(Logged<Box<ShadowStep>>),
    /// Any other message.
    Message(RawMessage),
}

impl LogEvent {
    /// When it was recorded.
    pub fn log_time(&self) -> RosTime {
        match self {
            Self::Frame(frame) => frame.message.log_time,
            Self::JointState(state) => state.log_time,
            Self::Step(step) => step.log_time,
            Self::Message(message) => message.log_time,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        match self {
            Self::Frame(frame) => &frame.message.topic,
            Self::JointState(state) => &state.topic,
            Self::Step(step) => &step.topic,
            Self::Message(message) => &message.topic,
        }
    }
}

/// A decoded message with its place in the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged<T> {
    /// Its topic.
    pub topic: Arc<str>,
    /// When it was recorded.
    pub log_time: RosTime,
    /// The message.
    pub value: T,
}

/// A message as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its type, as ROS tools print it.
    pub type_name: Arc<str>,
    /// When it was recorded.
    pub log_time: RosTime,
    /// When it was published, as far as the recorder knew.
    pub publish_time: RosTime,
    /// CDR with encapsulation header.
    pub cdr: Vec<u8>,
}

/// Why a message has no content for us.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The bytes are not of the type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The message is of another type.
    #[error("is of type {found}, not {expected}")]
    Type {
        /// Type of the message.
        found: String,
        /// Type that was asked for.
        expected: &'static str,
    },
    /// Not plain CDR.
    #[error("has the encapsulation {0:02x?}, only plain CDR is read")]
    Encapsulation(Vec<u8>),
    /// The picture cannot be decoded.
    #[error("picture cannot be decoded: {0}")]
    Picture(String),
}

impl RawMessage {
    /// The content without its encapsulation header.
    ///
    /// # Errors
    /// [`MessageError::Encapsulation`].
    pub fn payload(&self) -> Result<Payload<'_>, MessageError> {
        let unknown = || MessageError::Encapsulation(self.cdr.iter().take(ENCAPSULATION).copied().collect());
        let (head, bytes) = self.cdr.split_at_checked(ENCAPSULATION).ok_or_else(unknown)?;
        match head {
            [0, 0, ..] => Ok(Payload { big_endian: true, bytes }),
            [0, 1, ..] => Ok(Payload { big_endian: false, bytes }),
            _ => Err(unknown()),
        }
    }

    /// The message.
    ///
    /// # Errors
    /// [`MessageError`] when it is of another type, or not what its type says.
    pub fn decode<M: Message>(&self) -> Result<M, MessageError> {
        if *self.type_name != *M::TYPE {
            return Err(MessageError::Type { found: self.type_name.to_string(), expected: M::TYPE });
        }
        Ok(cdr::decode(self.payload()?, M::TYPE)?)
    }
}

/// A camera picture as it was recorded: `sensor_msgs/msg/Image` or `CompressedImage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedFrame {
    /// The message.
    pub message: RawMessage,
}

impl LoggedFrame {
    /// When the picture was taken, as its header says. Cheap: the picture is not decoded.
    ///
    /// # Errors
    /// [`MessageError`] when the message is too short to say.
    pub fn stamp(&self) -> Result<RosTime, MessageError> {
        let Payload { big_endian, bytes } = self.message.payload()?;
        let (Some(sec), Some(nanosec)) = (four(bytes, 0), four(bytes, 4)) else {
            return Err(MessageError::Picture("the message has no header".to_owned()));
        };
        Ok(if big_endian {
            RosTime::from_parts(i32::from_be_bytes(sec), u32::from_be_bytes(nanosec))
        } else {
            RosTime::from_parts(i32::from_le_bytes(sec), u32::from_le_bytes(nanosec))
        })
    }

    /// Its type, as ROS tools print it.
    pub fn type_name(&self) -> &'static str {
        if self.is_compressed() { CompressedImage::TYPE } else { Image::TYPE }
    }

    /// True for a picture in a file format (JPEG, PNG).
    pub fn is_compressed(&self) -> bool {
        *self.message.type_name == *CompressedImage::TYPE
    }

    /// The picture's file as it was recorded (JPEG, PNG); `None` for an uncompressed picture.
    ///
    /// # Errors
    /// [`MessageError`] when the message is not what its type says.
    pub fn file(&self) -> Result<Option<Vec<u8>>, MessageError> {
        if !self.is_compressed() {
            return Ok(None);
        }
        Ok(Some(self.message.decode::<CompressedImage>()?.data))
    }

    /// The picture in 8-bit RGB.
    ///
    /// # Errors
    /// [`MessageError`] when the message is not what its type says, or has a format that is not supported.
    pub fn rgb(&self) -> Result<Picture, MessageError> {
        let wrong = |error: FrameError| MessageError::Picture(error.to_string());
        let mut rgb = Vec::new();
        let size = if let Some(data) = self.file()? {
            let encoding = if data.starts_with(PNG) { Encoding::Png } else { Encoding::Jpeg };
            to_rgb(&RawImage::file(encoding, &data), &mut rgb)
        } else {
            let image: Image = self.message.decode()?;
            RawImage::try_from(&image).and_then(|raw| to_rgb(&raw, &mut rgb))
        };
        let (width, height) = size.map_err(wrong)?;
        Ok(Picture { width: width as usize, height: height as usize, rgb })
    }
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}
