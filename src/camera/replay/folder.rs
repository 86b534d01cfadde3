//! A folder of images.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::player::Reel;
use crate::camera::decode::RawImage;
use crate::camera::image_file::detect;
use crate::camera::source::SourceError;

/// Largest image file that is read, bytes.
const MAX_BYTES: u64 = 256 << 20;

/// JPEG and PNG files in the order of their names, evenly apart.
pub struct Folder {
    path: PathBuf,
    period_s: f64,
    files: Vec<PathBuf>,
    next: usize,
    data: Vec<u8>,
}

impl Folder {
    /// The images that are there now.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] when there is none, or the folder cannot be read.
    pub fn open(path: &Path, rate_hz: f64) -> Result<Self, SourceError> {
        let fatal = |why: String| SourceError::Fatal(format!("{}: {why}", path.display()));
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|error| fatal(error.to_string()))?;
        let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_image(path)).collect();
        if files.is_empty() {
            return Err(fatal("has no .jpg, .jpeg or .png files".to_owned()));
        }
        files.sort();
        Ok(Self { path: path.to_owned(), period_s: 1.0 / rate_hz, files, next: 0, data: Vec::new() })
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

impl Reel for Folder {
    fn describe(&self) -> String {
        format!("replay {}, {} images", self.path.display(), self.files.len())
    }

    fn peek(&mut self) -> Result<Option<Duration>, SourceError> {
        let time = Duration::try_from_secs_f64(self.next as f64 * self.period_s).unwrap_or(Duration::MAX);
        Ok((self.next < self.files.len()).then_some(time))
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn picture(&mut self) -> Result<RawImage<'_>, SourceError> {
        let Some(path) = self.next.checked_sub(1).and_then(|at| self.files.get(at)) else {
            return Err(SourceError::Ended);
        };
        let unusable = |why: &dyn std::fmt::Display| SourceError::Unusable(format!("{}: {why}", path.display()));
        self.data.clear();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut self.data));
        read.map_err(|error| unusable(&error))?;
        let encoding = detect(&self.data).ok_or_else(|| unusable(&"is neither JPEG nor PNG"))?;
        Ok(RawImage::file(encoding, &self.data))
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.next = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::decode::to_rgb;

    fn write(folder: &Path, name: &str, level: u8) {
        image::RgbImage::from_pixel(4, 4, image::Rgb([level; 3])).save(folder.join(name)).unwrap();
    }

    #[test]
    fn images_come_in_the_order_of_their_names_and_others_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "b.png", 20);
        write(folder.path(), "a.PNG", 10);
        write(folder.path(), "c.png", 30);
        std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        std::fs::write(folder.path().join("d.jpg"), "no image either").unwrap();
        let mut reel = Folder::open(folder.path(), 10.0).unwrap();
        assert!(reel.describe().ends_with("4 images"));
        let mut levels = Vec::new();
        while let Some(time) = reel.peek().unwrap() {
            reel.advance();
            let mut rgb = Vec::new();
            let level = reel.picture().map(|image| to_rgb(&image, &mut rgb).map(|_| rgb[0]));
            levels.push((time.as_millis(), level));
        }
        let wrong = levels.pop().unwrap();
        assert!(matches!(&wrong.1, Err(SourceError::Unusable(why)) if why.contains("d.jpg")));
        assert_eq!(levels, [(0, Ok(Ok(10))), (100, Ok(Ok(20))), (200, Ok(Ok(30)))]);
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Folder::open(folder.path(), 10.0).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(".png"), "{error}");
    }
}
