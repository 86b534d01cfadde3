//! The four bytes of encapsulation header that `rcl` has before every serialized message.

use crate::ros::cdr::Payload;

/// Plain CDR, little endian, no options.
const LITTLE_ENDIAN: [u8; 4] = [0, 1, 0, 0];

/// The message behind its header; `None` when it is not plain CDR.
pub(super) fn payload(bytes: &[u8]) -> Option<Payload<'_>> {
    let (&[kind, order, _, _], bytes) = bytes.split_first_chunk::<4>()?;
    (kind == 0 && order <= 1).then_some(Payload { big_endian: order == 0, bytes })
}

/// Writes a message with its header over what `buffer` holds.
pub(super) fn serialize(payload: &[u8], buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend(LITTLE_ENDIAN);
    buffer.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_byte_order_and_other_encodings_are_refused() {
        let mut buffer = vec![9; 9];
        serialize(&[7, 8], &mut buffer);
        assert_eq!(buffer, [0, 1, 0, 0, 7, 8]);
        let back = payload(&buffer).unwrap();
        assert_eq!((back.big_endian, back.bytes), (false, &[7, 8][..]));
        assert!(payload(&[0, 0, 0, 0]).unwrap().big_endian);
        assert!(payload(&[0, 7, 0, 0, 1]).is_none(), "XCDR2");
        assert!(payload(&[0, 1, 0]).is_none());
    }
}
