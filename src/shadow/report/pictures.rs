//! Pictures for the page: small JPEGs inside it.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageReader, RgbImage, imageops};

use crate::camera::decode::MAX_SIDE;
use crate::camera::file::Picture;

/// Longest side on the page, pixels.
const SIDE: u32 = 640;
/// Of JPEG, 1 … 100.
const QUALITY: u8 = 82;
/// Memory that decoding one file may take, bytes: a small file can claim to be a huge picture.
const MAX_DECODED_BYTES: u64 = 256 << 20;

/// A picture as the page holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// `data:` address of a JPEG.
    pub url: String,
    /// Width and height of the picture before it was made smaller, pixels.
    pub size: (u32, u32),
}

/// A picture for the page. It is always decoded and encoded anew: what is in a log is not put into a page as it is.
///
/// # Errors
/// A sentence for people.
pub fn embed(picture: Picture) -> Result<Embedded, String> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let picture = RgbImage::from_raw(width, height, picture.rgb)
        .filter(|_| width > 0 && height > 0)
        .ok_or("the picture has fewer bytes than its size says")?;
    let longest = width.max(height);
    let small = if longest > SIDE {
        let side = |length: u32| (u64::from(length) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
        imageops::thumbnail(&picture, side(width), side(height))
    } else {
        picture
    };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small).map_err(|error| error.to_string())?;
    Ok(Embedded { url: format!("data:image/jpeg;base64,{}", STANDARD.encode(&jpeg)), size: (width, height) })
}

/// A PNG or JPEG from memory.
///
/// # Errors
/// A sentence for people.
pub fn decode(file: &[u8]) -> Result<Picture, String> {
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| error.to_string())?.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Picture { width, height, rgb: picture.into_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_becomes_small_and_keeps_its_shape() {
        let picture = Picture { width: 1920, height: 1080, rgb: vec![90; 1920 * 1080 * 3] };
        let embedded = embed(picture).unwrap();
        assert_eq!(embedded.size, (1920, 1080));
        let (_, data) = embedded.url.split_once("base64,").unwrap();
        let back = decode(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!((back.width, back.height), (640, 360));
        assert!(back.rgb.iter().all(|value| value.abs_diff(90) < 4));
    }

    #[test]
    fn what_is_no_picture_is_said_to_be_none() {
        assert!(embed(Picture { width: 10, height: 10, rgb: vec![0; 7] }).is_err());
        assert!(embed(Picture { width: 0, height: 0, rgb: Vec::new() }).is_err());
        for bytes in [&b""[..], b"<script>alert(1)</script>", b"\xff\xd8\xff\xe0 cut off"] {
            assert!(decode(bytes).is_err());
        }
    }
}
