use std::collections::BTreeMap;
use std::io::BufWriter;

use mcap::records::MessageHeader;
use mcap::{Attachment, Compression, WriteOptions, Writer};

use super::*;
use crate::ros::cdr;
use crate::ros::messages::{Header, Message};

/// A recording to be written by a test.
struct Tape {
    folder: tempfile::TempDir,
    writer: Writer<BufWriter<File>>,
}

impl Tape {
    fn new(options: WriteOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("tape.mcap")).unwrap();
        let writer = options.profile("ros2").create(BufWriter::new(file)).unwrap();
        Self { folder, writer }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tape.mcap")
    }

    fn bytes(&mut self, topic: &str, type_name: &str, encoding: &str, log_time: u64, data: &[u8]) {
        let schema = self.writer.add_schema(type_name, "ros2msg", b"string data").unwrap();
        let channel_id = self.writer.add_channel(schema, topic, encoding, &BTreeMap::new()).unwrap();
        let header = MessageHeader { channel_id, sequence: 0, log_time, publish_time: log_time };
        self.writer.write_to_known_channel(&header, data).unwrap();
    }

    fn put<M: Message>(&mut self, topic: &str, log_time: u64, message: &M) {
        self.bytes(topic, M::TYPE, "cdr", log_time, &with_head(&cdr::encode(message, M::TYPE).unwrap()));
    }

    fn joints(&mut self, log_time: u64) {
        let state = JointState { position: vec![log_time as f64], ..JointState::default() };
        self.put("/joint_states", log_time, &state);
    }

    fn cut(&mut self) {
        self.writer.flush().unwrap();
    }

    fn finish(mut self) -> (tempfile::TempDir, PathBuf) {
        self.writer.finish().unwrap();
        let path = self.path();
        (self.folder, path)
    }
}

fn with_head(body: &[u8]) -> Vec<u8> {
    [&[0, 1, 0, 0], body].concat()
}

fn times(reader: &mut LogReader) -> Vec<i64> {
    reader.map(|event| event.unwrap().log_time().0).collect()
}

/// `chunks` chunks of `per_chunk` joint states, one message per nanosecond.
fn plain(chunks: u64, per_chunk: u64) -> Tape {
    let mut tape = Tape::new(WriteOptions::new());
    for i in 0..chunks * per_chunk {
        tape.joints(1000 + i);
        if (i + 1) % per_chunk == 0 {
            tape.cut();
        }
    }
    tape
}

/// Where the chunks of a file begin, and how long they are.
fn chunks(path: &Path) -> Vec<(usize, usize)> {
    let contents = index::look_through(path, 0, &mut Damage::default()).unwrap();
    contents.blocks.iter().map(|block| (block.offset as usize, block.length as usize)).collect()
}

#[test]
fn messages_come_as_what_they_are() {
    let mut tape = Tape::new(WriteOptions::new());
    let header = Header { stamp: RosTime(5_000_000_007).into(), frame_id: "camera".into() };
    let image = Image {
        header: header.clone(),
        height: 1,
        width: 2,
        encoding: "bgr8".into(),
        step: 6,
        data: vec![1, 2, 3, 4, 5, 6],
        ..Image::default()
    };
    tape.put("/camera/image_raw", 1, &image);
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    image::ImageEncoder::write_image(encoder, &[9, 8, 7], 1, 1, image::ExtendedColorType::Rgb8).unwrap();
    tape.put("/camera/image_raw/compressed", 2, &CompressedImage { header, format: "png".into(), data: file.clone() });
    tape.joints(3);
    let step = ShadowStep { step: 12, energy: Some(0.5), ..ShadowStep::default() };
    tape.put("/planner/shadow/step", 4, &StringMessage { data: step.to_json().unwrap() });
    tape.put("/planner/load_task", 5, &StringMessage { data: "reach.yaml".into() });
    let (_folder, path) = tape.finish();

    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.span(), Some((RosTime(1), RosTime(5))));
    let events: Vec<LogEvent> = reader.by_ref().map(Result::unwrap).collect();
    assert!(reader.damage().is_none(), "{:?}", reader.damage());
    let [
        LogEvent::Frame(raw),
        LogEvent::Frame(packed),
        LogEvent::JointState(joints),
        LogEvent::Step(found),
        LogEvent::Message(other),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(raw.stamp().unwrap(), RosTime(5_000_000_007));
    assert_eq!(raw.rgb().unwrap().rgb, [3, 2, 1, 6, 5, 4]);
    assert_eq!(raw.file().unwrap(), None);
    assert_eq!(packed.stamp().unwrap(), RosTime(5_000_000_007));
    assert_eq!((packed.rgb().unwrap().rgb, packed.file().unwrap().unwrap()), (vec![9, 8, 7], file));
    assert_eq!((&*joints.topic, joints.value.position[0]), ("/joint_states", 3.0));
    assert_eq!(*found.value, step);
    assert_eq!(other.decode::<StringMessage>().unwrap().data, "reach.yaml");
    assert!(matches!(other.decode::<JointState>(), Err(MessageError::Type { .. })));
}

#[test]
fn order_is_that_of_log_time_also_across_chunks_and_splits() {
    let bag = tempfile::tempdir().unwrap();
    for (split, order) in [(0, [[5, 1], [9, 4]]), (1, [[8, 12], [11, 10]])] {
        let mut tape = Tape::new(WriteOptions::new());
        for chunk in order {
            chunk.iter().for_each(|&log_time| tape.joints(log_time));
            tape.cut();
        }
        let (_folder, path) = tape.finish();
        std::fs::copy(path, bag.path().join(format!("tape_{split}.mcap"))).unwrap();
    }
    let mut reader = LogReader::open(bag.path()).unwrap();
    assert_eq!(times(&mut reader), [1, 4, 5, 8, 9, 10, 11, 12]);
    assert_eq!(reader.damage().out_of_order, 0);
}

#[test]
fn other_ways_to_write_the_same_are_read_too() {
    for options in [
        WriteOptions::new().compression(None),
        WriteOptions::new().compression(Some(Compression::Lz4)),
        WriteOptions::new().use_chunks(false),
        WriteOptions::new().calculate_chunk_crcs(false).emit_summary_records(false),
    ] {
        let mut tape = Tape::new(options.clone());
        (1..=6).for_each(|log_time| tape.joints(log_time));
        let (_folder, path) = tape.finish();
        let mut reader = LogReader::open(&path).unwrap();
        assert_eq!(times(&mut reader), [1, 2, 3, 4, 5, 6], "{options:?}");
        assert!(reader.damage().is_none());
    }
}

#[test]
fn only_what_is_wanted_comes() {
    let (_folder, path) = plain(4, 10).finish();
    let mut part = LogReader::open(&path).unwrap().between(RosTime(1015), RosTime(1022));
    assert_eq!(times(&mut part), (1015..=1022).collect::<Vec<_>>());
    let mut none = LogReader::open(&path).unwrap().only(|topic, _| topic != "/joint_states");
    assert!(times(&mut none).is_empty());
    let mut all = LogReader::open(&path).unwrap().only(|_, kind| kind == JointState::TYPE);
    assert_eq!(times(&mut all).len(), 40);
}

#[test]
fn a_file_cut_off_anywhere_is_read_up_to_the_last_whole_chunk() {
    let (folder, path) = plain(4, 10).finish();
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = chunks(&path).iter().map(|(offset, length)| offset + length).collect();
    let cut = folder.path().join("cut.mcap");
    for length in (mcap::MAGIC.len()..whole.len()).step_by(7) {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let mut reader = LogReader::open(&cut).unwrap();
        let expected = 10 * ends.iter().filter(|&&end| end <= length).count();
        assert_eq!(times(&mut reader).len(), expected, "cut at {length}");
    }
    std::fs::write(&cut, &whole[..ends[1] + 20]).unwrap();
    let reader = LogReader::open(&cut).unwrap();
    assert_eq!((reader.damage().cut_files, reader.damage().corrupt_chunks), (1, 0));
    assert!(reader.damage().notes[0].contains("cut.mcap"), "{:?}", reader.damage());
}

#[test]
fn a_range_after_the_cut_off_of_a_summary_still_knows_its_topics() {
    let (folder, path) = plain(4, 10).finish();
    let whole = std::fs::read(&path).unwrap();
    let (offset, length) = chunks(&path)[3];
    let cut = folder.path().join("cut.mcap");
    std::fs::write(&cut, &whole[..offset + length]).unwrap();
    let mut reader = LogReader::open(&cut).unwrap().between(RosTime(1035), RosTime(2000));
    assert_eq!(times(&mut reader), [1035, 1036, 1037, 1038, 1039]);
}

#[test]
fn a_damaged_chunk_is_counted_named_and_left_out() {
    let (folder, path) = plain(4, 10).finish();
    let whole = std::fs::read(&path).unwrap();
    let (offset, length) = chunks(&path)[1];
    let damaged = folder.path().join("damaged.mcap");
    for at in (offset + 60..offset + length).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&damaged, &bytes).unwrap();
        let mut reader = LogReader::open(&damaged).unwrap();
        let found = times(&mut reader);
        assert!(found.len() == 30 && !found.contains(&1012), "byte {at}: {found:?}");
        assert_eq!(reader.damage().corrupt_chunks, 1, "byte {at}");
        assert!(reader.damage().notes[0].contains("damaged.mcap: chunk at byte"), "{:?}", reader.damage().notes);
    }
}

#[test]
fn no_flipped_byte_panics_or_takes_much_memory() {
    let (folder, path) = plain(2, 3).finish();
    let whole = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.mcap");
    for at in 0..whole.len() {
        for flip in [0xff, 0x80, 0x01] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            std::fs::write(&damaged, &bytes).unwrap();
            if let Ok(reader) = LogReader::open(&damaged) {
                assert!(reader.filter_map(Result::ok).count() <= 6);
            }
        }
    }
}

#[test]
fn other_encodings_are_left_out_and_told() {
    let mut tape = Tape::new(WriteOptions::new());
    tape.bytes("/old", "sensor_msgs/JointState", "ros1", 1, b"x");
    tape.bytes("/joint_states", JointState::TYPE, "cdr", 2, &with_head(&[1, 2, 3]));
    tape.bytes("/later", JointState::TYPE, "cdr", 3, &[0, 7, 0, 0, 1]);
    tape.joints(4);
    let (_folder, path) = tape.finish();
    let mut reader = LogReader::open(&path).unwrap().only(|_, _| true);
    assert_eq!(times(&mut reader), [4]);
    assert_eq!(reader.damage().other_encodings["/old"], "ros1");
    assert_eq!(reader.damage().undecodable, 2);
    assert!(reader.damage().notes.iter().any(|note| note.starts_with("/later") && note.contains("encapsulation")));
}

#[test]
fn attachments_and_metadata_are_there_before_the_first_message() {
    let mut tape = plain(1, 3);
    let attachment = |name: &str, data: &'static [u8]| Attachment {
        log_time: 7,
        create_time: 7,
        name: name.to_owned(),
        media_type: "image/png".to_owned(),
        data: data.into(),
    };
    tape.writer.attach(&attachment("goal.png", b"picture")).unwrap();
    tape.writer.attach(&attachment("empty", b"")).unwrap();
    let content = BTreeMap::from([("seed".to_owned(), "3".to_owned())]);
    tape.writer
        .write_metadata(&mcap::records::Metadata { name: "vjepa_planner".into(), metadata: content.clone() })
        .unwrap();
    let (_folder, path) = tape.finish();
    let reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.metadata(), [("vjepa_planner".to_owned(), content)]);
    let names: Vec<_> = reader.attachments().iter().map(|a| (&*a.name, a.length, a.log_time)).collect();
    assert_eq!(names, [("goal.png", 7, 7), ("empty", 0, 7)]);
    assert_eq!(reader.attachment(&reader.attachments()[0]).unwrap(), b"picture");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|w| w == b"picture").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = reader.attachment(&reader.attachments()[0]).unwrap_err().to_string();
    assert!(error.contains("goal.png"), "{error}");
}

#[test]
fn a_file_of_another_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for text in ["", "short", "this is no recording at all"] {
        std::fs::write(&path, text).unwrap();
        let error = LogReader::open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("notes.txt") && error.contains(".mcap"), "{error}");
    }
}

/// A database as rosbag2 writes it, with two messages at each time.
fn database(path: &Path, times: std::ops::Range<i64>) {
    let database = rusqlite::Connection::open(path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT,
             offered_qos_profiles TEXT); CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,
             data BLOB); CREATE INDEX timestamp_idx ON messages (timestamp ASC);
             INSERT INTO topics VALUES (3, '/joint_states', 'sensor_msgs/msg/JointState', 'cdr', ''),
             (7, '/image', 'sensor_msgs/msg/Image', 'cdr', ''), (8, '/old', 'a/B', 'ros1', '');",
        )
        .unwrap();
    let mut insert = database.prepare("INSERT INTO messages(topic_id, timestamp, data) VALUES (?1, ?2, ?3)").unwrap();
    let image = Image { data: vec![5; 2_000_000], ..Image::default() };
    let image = with_head(&cdr::encode(&image, Image::TYPE).unwrap());
    // Not in the order of time: a row is written when it arrives.
    for time in times.rev() {
        let state = JointState { position: vec![time as f64], ..JointState::default() };
        let state = with_head(&cdr::encode(&state, JointState::TYPE).unwrap());
        insert.execute(rusqlite::params![3, time, state]).unwrap();
        insert.execute(rusqlite::params![7, time, image]).unwrap();
        insert.execute(rusqlite::params![8, time, b"x"]).unwrap();
    }
}

#[test]
fn databases_of_rosbag2_are_read_in_order_too() {
    let folder = tempfile::tempdir().unwrap();
    database(&folder.path().join("bag_0.db3"), 100..110);
    database(&folder.path().join("bag_1.db3"), 110..115);
    let mut reader = LogReader::open(folder.path()).unwrap();
    assert!(reader.blocks.len() >= 6, "not all of it at once: {:?}", reader.blocks);
    assert_eq!(reader.span(), Some((RosTime(100), RosTime(114))));
    let twice: Vec<i64> = (100..115).flat_map(|time| [time, time]).collect();
    assert_eq!(times(&mut reader), twice);
    assert_eq!(reader.damage().other_encodings["/old"], "ros1");
    let states = LogReader::open(folder.path()).unwrap().only(|topic, _| topic == "/joint_states");
    let mut states = states.between(RosTime(105), RosTime(111));
    assert_eq!(times(&mut states), (105..=111).collect::<Vec<_>>());
    let one = LogReader::open(folder.path().join("bag_1.db3")).unwrap();
    assert_eq!(one.filter(|event| matches!(event, Ok(LogEvent::Frame(_)))).count(), 5);
}

#[test]
fn a_database_that_is_none_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bag_0.db3");
    let error = |path: &Path| LogReader::open(path).map(|_| ()).unwrap_err().to_string();
    assert!(error(&path).contains("bag_0.db3"), "it is not there");
    for content in
        [&b""[..], b"this is no database, however long one looks at it, and there is nothing to be had from it"]
    {
        std::fs::write(&path, content).unwrap();
        let error = error(&path);
        assert!(error.contains("bag_0.db3") && error.contains("ros2 bag convert"), "{error}");
    }
}
