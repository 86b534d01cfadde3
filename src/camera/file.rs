//! Pictures from files: goal images.

use std::path::{Path, PathBuf};

use image::ImageReader;

use super::image_file::limits;

/// Smallest accepted side, pixels: below this nothing is to be seen.
const MIN_SIDE: u32 = 16;

/// A picture from a file, 8-bit RGB without row padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// `height · width · 3` bytes.
    pub rgb: Vec<u8>,
}

/// Why a file is not a picture for us.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened.
    #[error("image {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is broken, or not PNG or JPEG.
    #[error("image {}: cannot be decoded ({message}); use an intact PNG or JPEG", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        message: String,
    },
    /// The picture is too small to show anything.
    #[error("image {}: {width}×{height} pixels, at least {MIN_SIDE}×{MIN_SIDE} needed", path.display())]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
    },
}

/// Reads a PNG or JPEG of any size and pixel format; the format is told from the content, not from the name.
///
/// # Errors
/// [`PictureError`], naming the file.
pub fn load(path: &Path) -> Result<Picture, PictureError> {
    let open = |source| PictureError::Open { path: path.to_owned(), source };
    let decode = |error: image::ImageError| PictureError::Decode { path: path.to_owned(), message: error.to_string() };
    let mut reader = ImageReader::open(path).map_err(open)?.with_guessed_format().map_err(open)?;
    reader.limits(limits());
    let picture = reader.decode().map_err(decode)?.into_rgb8();
    let (width, height) = picture.dimensions();
    if width < MIN_SIDE || height < MIN_SIDE {
        return Err(PictureError::TooSmall { path: path.to_owned(), width, height });
    }
    Ok(Picture { width: width as usize, height: height as usize, rgb: picture.into_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbaImage::from_pixel(width, height, image::Rgba([1, 2, 3, 255]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_picture_of_any_shape_and_with_any_name_is_read() {
        for (width, height) in [(640, 480), (17, 300)] {
            let (_keep, path) = file("goal.jpg", &png(width, height));
            let picture = load(&path).unwrap();
            assert_eq!((picture.width, picture.height), (width as usize, height as usize));
            assert_eq!(&picture.rgb[..3], [1, 2, 3]);
        }
    }

    #[test]
    fn broken_files_are_named() {
        let whole = png(64, 64);
        for (name, bytes) in [("cut.png", &whole[..40]), ("text.png", b"not a picture"), ("empty.png", b"")] {
            let (_keep, path) = file(name, bytes);
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("PNG or JPEG"), "{error}");
        }
        let error = load(Path::new("/nowhere/goal.png")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/goal.png"), "{error}");
    }

    #[test]
    fn a_picture_too_small_to_show_anything_is_refused() {
        let (_keep, path) = file("dot.png", &png(2, 2));
        assert!(matches!(load(&path), Err(PictureError::TooSmall { width: 2, .. })));
    }

    #[test]
    fn a_file_that_claims_to_be_huge_is_refused_without_taking_the_memory() {
        let mut bytes = png(64, 64);
        // Width and height in the IHDR chunk, and its checksum left wrong or right: both must fail.
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let (_keep, path) = file("bomb.png", &bytes);
        assert!(matches!(load(&path), Err(PictureError::Decode { .. })));
    }
}
