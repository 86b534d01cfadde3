//! CDR, the wire format of ROS 2 messages: encoding and decoding of the structs in [`super::messages`].

use byteorder::{BigEndian, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

/// The bytes of one message as they came, without the four bytes of encapsulation header.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// Byte order of the numbers in `bytes`.
    pub big_endian: bool,
    /// Message body; alignment counts from its first byte.
    pub bytes: &'a [u8],
}

/// Why a payload is no message of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Truncated, or a field holds what its type cannot.
    #[error("{type_name}: {reason} ({length} bytes)")]
    Malformed {
        /// ROS name of the expected type.
        type_name: &'static str,
        /// What the decoder met.
        reason: String,
        /// Bytes in the payload.
        length: usize,
    },
    /// The type's fields end well before the payload does, so the sender means another type.
    #[error("{type_name}: {unread} of {length} bytes are left over; the publisher seems to use another message type")]
    LeftOver {
        /// ROS name of the expected type.
        type_name: &'static str,
        /// Bytes after the last field.
        unread: usize,
        /// Bytes in the payload.
        length: usize,
    },
}

/// A value that cannot be written as CDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{type_name} cannot be encoded: {reason}")]
pub struct EncodeError {
    /// ROS name of the type.
    pub type_name: &'static str,
    /// What the encoder met.
    pub reason: String,
}

/// Reads one message. Up to seven bytes after the last field are padding; more are an error.
///
/// # Errors
/// [`DecodeError`] when the payload is truncated, malformed or longer than the type.
pub fn decode<M: DeserializeOwned>(payload: Payload<'_>, type_name: &'static str) -> Result<M, DecodeError> {
    // ROS writes one dummy byte for a message without fields, some peers write none: both are that message.
    let length = payload.bytes.len();
    let (message, consumed) = if payload.big_endian {
        cdr_encoding::from_bytes::<M, BigEndian>(payload.bytes)
    } else {
        cdr_encoding::from_bytes::<M, LittleEndian>(payload.bytes)
    }
    .map_err(|error| DecodeError::Malformed { type_name, reason: error.to_string(), length })?;
    let unread = length.saturating_sub(consumed);
    if unread > 7 {
        return Err(DecodeError::LeftOver { type_name, unread, length });
    }
    Ok(message)
}

/// Writes one message, little endian, without encapsulation header.
///
/// # Errors
/// [`EncodeError`] when a sequence or string is longer than CDR can say.
pub fn encode<M: Serialize>(message: &M, type_name: &'static str) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(256);
    cdr_encoding::to_writer::<M, LittleEndian, _>(&mut bytes, message)
        .map_err(|error| EncodeError { type_name, reason: error.to_string() })?;
    if bytes.is_empty() {
        bytes.push(0); // a structure without fields has one dummy byte on the wire
    }
    Ok(bytes)
}
