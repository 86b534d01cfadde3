//! Pictures that come as image files: `CompressedImage` messages, MJPG cameras, goal images.

use std::io::Cursor;

use image::{ImageDecoder as _, ImageFormat, ImageReader};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::{FrameError, MAX_SIDE};
use super::encoding::Encoding;

/// Memory that decoding one file may take, bytes: a small file can claim to be a huge picture.
pub(super) const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Most pixels of a picture that comes as one of many: four times a camera of 8 megapixels.
pub const MAX_PIXELS: usize = 32 << 20;

/// Where the end of a JPEG must be found, bytes before the end of the buffer (zeros after it not counted).
const JPEG_TAIL: usize = 1024;

/// What a file may be.
pub(super) fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

/// The format of a file by its first bytes; `None` when it is neither JPEG nor PNG.
pub fn detect(data: &[u8]) -> Option<Encoding> {
    match data {
        [0xff, 0xd8, 0xff, ..] => Some(Encoding::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(Encoding::Png),
        _ => None,
    }
}

/// Decodes a file that is said to be `encoding` into `rgb`, which is reused; answers width and height. The decoders take
/// working memory of their own.
///
/// # Errors
/// [`FrameError::File`] when it is broken, cut short, of another format, or too large. `rgb` is then unspecified.
pub fn to_rgb(encoding: Encoding, data: &[u8], rgb: &mut Vec<u8>) -> Result<(u32, u32), FrameError> {
    let decoded = match encoding {
        Encoding::Jpeg if has_huffman_tables(data) => jpeg(data, rgb),
        Encoding::Jpeg => jpeg(&with_avi_mark(data), rgb),
        Encoding::Png => png(data, rgb),
        _ => Err("this is not a file format".to_owned()),
    };
    decoded.map_err(|message| FrameError::File { encoding, message })
}

fn jpeg(data: &[u8], rgb: &mut Vec<u8>) -> Result<(u32, u32), String> {
    // The decoder fills what is missing with grey, as browsers do; a planner must not take that for the world.
    let end = data.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let content = data.get(..end).unwrap_or_default();
    let tail = content.get(end.saturating_sub(JPEG_TAIL)..).unwrap_or_default();
    if !tail.windows(2).any(|two| two == [0xff, 0xd9]) {
        return Err("it is cut short: there is no end marker".to_owned());
    }
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(content), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let Some((width, height)) = decoder.dimensions() else { return Err("it has no size".to_owned()) };
    prepare(width, height, rgb)?;
    if decoder.output_buffer_size() != Some(rgb.len()) {
        return Err("it has no colours that we know".to_owned());
    }
    decoder.decode_into(rgb).map_err(|error| error.to_string())?;
    Ok((width as u32, height as u32))
}

fn png(data: &[u8], rgb: &mut Vec<u8>) -> Result<(u32, u32), String> {
    let mut reader = ImageReader::with_format(Cursor::new(data), ImageFormat::Png);
    reader.limits(limits());
    let decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    prepare(width as usize, height as usize, rgb)?;
    let picture = image::DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?.into_rgb8();
    let from = picture.as_raw();
    rgb.get_mut(..from.len()).ok_or("it changes its size")?.copy_from_slice(from);
    Ok((width, height))
}

/// Makes room for a picture whose size is believable.
fn prepare(width: usize, height: usize, rgb: &mut Vec<u8>) -> Result<(), String> {
    let pixels = width.saturating_mul(height);
    if pixels == 0 || width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(format!("it claims {width}×{height} pixels; at most {MAX_PIXELS} pixels are read"));
    }
    rgb.resize(pixels * 3, 0);
    Ok(())
}

/// Whether there is a Huffman table before the first scan. MJPG cameras leave the standard's example tables out.
fn has_huffman_tables(data: &[u8]) -> bool {
    let mut at = 2;
    // Segments: ff, marker, length (which counts itself), content.
    while let Some(&[0xff, marker, high, low]) = data.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        match marker {
            0xc4 => return true,
            0xda => return false,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // Not what we expect: the decoder will say.
    true
}

/// The file with the mark of an AVI's frames, by which the decoder knows that the standard's tables are meant.
fn with_avi_mark(data: &[u8]) -> Vec<u8> {
    let (start, rest) = data.split_at(data.len().min(2));
    [start, b"\xff\xe0\x00\x10AVI1\0\0\0\0\0\0\0\0\0\0", rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder as _};

    fn scene(width: u32, height: u32) -> image::RgbImage {
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 3) as u8, (y * 2) as u8, 90]))
    }

    fn file(picture: &image::DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decode(encoding: Encoding, data: &[u8]) -> Result<(u32, u32, Vec<u8>), String> {
        let mut rgb = Vec::new();
        let (width, height) = to_rgb(encoding, data, &mut rgb).map_err(|error| error.to_string())?;
        Ok((width, height, rgb))
    }

    #[test]
    fn png_comes_through_as_it_was_and_jpeg_nearly() {
        let picture = scene(60, 40);
        let png = file(&picture.clone().into(), ImageFormat::Png);
        assert_eq!(detect(&png), Some(Encoding::Png));
        assert_eq!(decode(Encoding::Png, &png), Ok((60, 40, picture.clone().into_raw())));
        let jpeg = file(&picture.clone().into(), ImageFormat::Jpeg);
        assert_eq!(detect(&jpeg), Some(Encoding::Jpeg));
        let (width, height, rgb) = decode(Encoding::Jpeg, &jpeg).unwrap();
        assert_eq!((width, height), (60, 40));
        let error: u32 = rgb.iter().zip(picture.as_raw()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(f64::from(error) / rgb.len() as f64 <= 4.0, "{error}");
    }

    #[test]
    fn grey_and_deep_pictures_become_rgb() {
        let grey = image::GrayImage::from_pixel(20, 20, image::Luma([77]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = file(&grey.clone().into(), format);
            let (.., rgb) = decode(detect(&bytes).unwrap(), &bytes).unwrap();
            assert!(rgb.len() == 1200 && rgb.iter().all(|v| v.abs_diff(77) <= 1), "{format:?}");
        }
        let deep = image::ImageBuffer::from_pixel(20, 20, image::Rgb([0xffff_u16, 0x8080, 0]));
        let bytes = file(&image::DynamicImage::ImageRgb16(deep), ImageFormat::Png);
        assert_eq!(decode(Encoding::Png, &bytes).unwrap().2[..3], [255, 128, 0]);
    }

    #[test]
    fn what_is_cut_short_is_refused_wherever_the_cut_is() {
        let jpeg = file(&scene(64, 64).into(), ImageFormat::Jpeg);
        let png = file(&scene(64, 64).into(), ImageFormat::Png);
        for (encoding, bytes) in [(Encoding::Jpeg, jpeg), (Encoding::Png, png)] {
            for keep in (0..bytes.len() - 20).step_by(7) {
                assert!(decode(encoding, &bytes[..keep]).is_err(), "{encoding} {keep} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn zeros_after_a_jpeg_are_padding() {
        let mut jpeg = file(&scene(64, 64).into(), ImageFormat::Jpeg);
        jpeg.extend([0; 9000]);
        assert!(decode(Encoding::Jpeg, &jpeg).is_ok());
    }

    #[test]
    fn a_cameras_jpeg_without_huffman_tables_is_read_with_the_standards() {
        // This encoder writes the standard's example tables.
        let mut whole = Vec::new();
        JpegEncoder::new_with_quality(&mut whole, 90)
            .write_image(scene(64, 64).as_raw(), 64, 64, ExtendedColorType::Rgb8)
            .unwrap();
        let mut bare = whole[..2].to_vec();
        let mut at = 2;
        while whole[at + 1] != 0xda {
            let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
            if whole[at + 1] != 0xc4 {
                bare.extend_from_slice(&whole[at..end]);
            }
            at = end;
        }
        bare.extend_from_slice(&whole[at..]);
        assert!(has_huffman_tables(&whole) && !has_huffman_tables(&bare));
        assert_eq!(decode(Encoding::Jpeg, &bare), decode(Encoding::Jpeg, &whole));
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut png = file(&scene(64, 64).into(), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0x3f, 0xff, 0, 0, 0x3f, 0xff]);
        // A checksum that is right: nothing but the size speaks against it.
        let checksum = crc32fast::hash(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decode(Encoding::Png, &png).unwrap_err();
        assert!(error.contains("16383×16383"), "{error}");
        let mut jpeg = file(&scene(64, 64).into(), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3f, 0xff, 0x3f, 0xff]);
        let error = decode(Encoding::Jpeg, &jpeg).unwrap_err();
        assert!(error.contains("16383×16383"), "{error}");
    }

    #[test]
    fn another_format_under_a_wrong_name_is_refused() {
        assert_eq!(detect(b"GIF89a"), None);
        let png = file(&scene(64, 64).into(), ImageFormat::Png);
        assert!(decode(Encoding::Jpeg, &png).is_err());
        assert!(decode(Encoding::Png, b"").is_err() && decode(Encoding::Jpeg, b"").is_err());
    }
}
