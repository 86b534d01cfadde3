//! The pictures of an MCAP file or a rosbag2 folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::player::Reel;
use crate::camera::decode::RawImage;
use crate::camera::encoding::Encoding;
use crate::camera::image_file::detect;
use crate::camera::source::SourceError;
use crate::clock::RosTime;
use crate::ros::messages::{CompressedImage, Image, Message as _};
use crate::shadow::log::{LogError, LogEvent, LogReader, LoggedFrame, MessageError};

/// Pictures of one topic at the times at which they were recorded.
pub struct Bag {
    path: PathBuf,
    /// As it was asked for; empty: any.
    wanted: String,
    /// As it was found, once it was.
    topic: Option<Arc<str>>,
    reader: LogReader,
    first: Option<RosTime>,
    next: Option<(Duration, LoggedFrame)>,
    current: Option<LoggedFrame>,
    content: Content,
}

/// The current picture, taken out of its message.
enum Content {
    Nothing,
    Pixels(Image),
    File(Encoding, Vec<u8>),
}

impl Bag {
    /// Opens it and looks for the first picture.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] when it cannot be read or has no picture on `topic`.
    pub fn open(path: &Path, topic: &str) -> Result<Self, SourceError> {
        let mut bag = Self {
            path: path.to_owned(),
            wanted: topic.to_owned(),
            topic: None,
            reader: reader(path)?,
            first: None,
            next: None,
            current: None,
            content: Content::Nothing,
        };
        if bag.peek()?.is_none() {
            let of_topic = if topic.is_empty() { String::new() } else { format!(" on the topic {topic}") };
            return Err(SourceError::Fatal(format!("{} has no pictures{of_topic}", path.display())));
        }
        Ok(bag)
    }

    fn is_wanted(&self, topic: &str) -> bool {
        match &self.topic {
            Some(found) => **found == *topic,
            // Of a topic whose pictures travel compressed people give the name without that.
            None => {
                [topic, topic.strip_suffix("/compressed").unwrap_or(topic)].contains(&self.wanted.as_str())
                    || self.wanted.is_empty()
            }
        }
    }
}

fn reader(path: &Path) -> Result<LogReader, SourceError> {
    let reader = LogReader::open(path).map_err(|error| fatal(&error))?;
    Ok(reader.only(|_, type_name| [Image::TYPE, CompressedImage::TYPE].contains(&type_name)))
}

fn fatal(error: &LogError) -> SourceError {
    SourceError::Fatal(error.to_string())
}

impl Reel for Bag {
    fn describe(&self) -> String {
        format!("replay {}, {}", self.path.display(), self.topic.as_deref().unwrap_or_default())
    }

    fn peek(&mut self) -> Result<Option<Duration>, SourceError> {
        while self.next.is_none() {
            match self.reader.next().transpose().map_err(|error| fatal(&error))? {
                Some(LogEvent::Frame(frame)) if self.is_wanted(&frame.message.topic) => {
                    self.topic.get_or_insert_with(|| Arc::clone(&frame.message.topic));
                    let recorded = frame.message.log_time;
                    let first = *self.first.get_or_insert(recorded);
                    let time = Duration::try_from_secs_f64(recorded.seconds_since(first)).unwrap_or_default();
                    self.next = Some((time, frame));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(self.next.as_ref().map(|(time, _)| *time))
    }

    fn advance(&mut self) {
        self.current = self.next.take().map(|(_, frame)| frame);
    }

    fn picture(&mut self) -> Result<RawImage<'_>, SourceError> {
        let Some(frame) = self.current.take() else { return Err(SourceError::Ended) };
        let unusable = |why: &dyn std::fmt::Display| SourceError::Unusable(format!("{}: {why}", frame.message.topic));
        let wrong = |error: MessageError| unusable(&error);
        self.content = match frame.file().map_err(wrong)? {
            Some(data) => {
                let encoding = detect(&data).ok_or_else(|| unusable(&"is neither JPEG nor PNG"))?;
                Content::File(encoding, data)
            }
            None => Content::Pixels(frame.message.decode().map_err(wrong)?),
        };
        match &self.content {
            Content::Pixels(image) => RawImage::try_from(image).map_err(|error| unusable(&error)),
            Content::File(encoding, data) => Ok(RawImage::file(*encoding, data)),
            Content::Nothing => Err(SourceError::Ended),
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.reader = reader(&self.path)?;
        (self.next, self.current) = (None, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::ros::cdr;
    use crate::ros::messages::Message;
    use crate::shadow::recorder::BagWriter;

    const MS: i64 = 1_000_000;

    fn cdr_of<M: Message>(message: &M) -> Vec<u8> {
        cdr::encode(message, M::TYPE).unwrap()
    }

    fn grey(level: u8) -> Image {
        Image { width: 2, height: 1, encoding: "mono8".to_owned(), step: 2, data: vec![level; 2], ..Image::default() }
    }

    /// Pictures of two cameras, one compressed, and one that is cut short.
    fn recording(folder: &Path) {
        let mut writer = BagWriter::create(folder, &BTreeMap::new()).unwrap();
        let (left, right) = (Arc::from("/left/image_raw"), Arc::from("/right/image_raw/compressed"));
        let mut png = std::io::Cursor::new(Vec::new());
        image::GrayImage::from_pixel(2, 1, image::Luma([7])).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let compressed =
            CompressedImage { format: "png".to_owned(), data: png.into_inner(), ..CompressedImage::default() };
        for (ms, level) in [(1000, 1), (1100, 2), (1300, 3)] {
            let image = if level == 2 { Image { height: 9, ..grey(level) } } else { grey(level) };
            writer.message(&left, Image::TYPE, RosTime(ms * MS), &cdr_of(&image)).unwrap();
            writer.message(&right, CompressedImage::TYPE, RosTime((ms + 50) * MS), &cdr_of(&compressed)).unwrap();
        }
        writer.finish().unwrap();
    }

    fn times(bag: &mut Bag) -> Vec<u128> {
        let mut times = Vec::new();
        while let Some(time) = bag.peek().unwrap() {
            times.push(time.as_millis());
            bag.advance();
        }
        times
    }

    #[test]
    fn pictures_of_one_topic_come_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bag");
        recording(&path);
        let mut bag = Bag::open(&path, "").unwrap();
        assert!(bag.describe().ends_with("/left/image_raw"), "the first that has any");
        let mut levels = Vec::new();
        while let Some(time) = bag.peek().unwrap() {
            bag.advance();
            let picture = bag.picture().unwrap();
            levels.push((time.as_millis(), picture.data[0], picture.rows().is_ok()));
        }
        assert_eq!(levels, [(0, 1, true), (100, 2, false), (300, 3, true)]);
        bag.rewind().unwrap();
        assert_eq!(times(&mut bag), [0, 100, 300]);

        let mut bag = Bag::open(&path, "/right/image_raw").unwrap();
        bag.peek().unwrap();
        bag.advance();
        assert_eq!(bag.picture().unwrap().encoding, Encoding::Png);
        assert_eq!(times(&mut bag), [100, 300]);
    }

    #[test]
    fn a_topic_without_pictures_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bag");
        recording(&path);
        let error = Bag::open(&path, "/up/image_raw").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("/up/image_raw") && error.contains("no pictures"), "{error}");
        let error = Bag::open(Path::new("/nowhere.mcap"), "").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("/nowhere.mcap"), "{error}");
    }
}
