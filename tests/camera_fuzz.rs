//! Drives the fuzz targets of `fuzz/` without a fuzzer: valid messages of every encoding, mutated. Blind, but on any
//! toolchain. `make fuzz` runs a minute of it where cargo-fuzz is not installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::clock::{Clock as _, SystemClock};
use vjepa_planner::ros::cdr::encode;
use vjepa_planner::ros::messages::{CompressedImage, Image, Message};

/// A generator whose stream is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

fn wire<M: Message>(message: &M) -> Vec<u8> {
    [vec![1], encode(message, M::TYPE).unwrap()].concat()
}

/// Small valid messages.
fn images() -> Vec<Vec<u8>> {
    let picture = |(name, encoding): (&str, Encoding)| {
        let step = encoding.row_bytes(6) + 2;
        let data = (0..step * encoding.rows(5)).map(|i| (i * 31) as u8).collect();
        wire(&Image { width: 6, height: 5, step: step as u32, encoding: name.to_owned(), data, ..Image::default() })
    };
    Encoding::ROS_NAMES.map(picture).into()
}

fn files() -> Vec<Vec<u8>> {
    let scene = image::RgbImage::from_fn(24, 18, |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, (x * y) as u8]));
    let pictures =
        [image::DynamicImage::ImageRgb8(scene.clone()), image::DynamicImage::ImageRgb8(scene).to_luma8().into()];
    let formats = [image::ImageFormat::Jpeg, image::ImageFormat::Png];
    let all = pictures.iter().flat_map(|picture| formats.map(move |format| (picture, format)));
    all.map(|(picture, format)| {
        let mut data = Cursor::new(Vec::new());
        picture.write_to(&mut data, format).unwrap();
        wire(&CompressedImage { format: "jpeg".to_owned(), data: data.into_inner(), ..CompressedImage::default() })
    })
    .collect()
}

/// Changes a message a little, or much.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at + 1),
            1 => bytes.splice(at..at, (0..random.below(9)).map(|i| i as u8)).for_each(drop),
            2 => bytes.extend_from_within(at..),
            // Numbers that are wrong at the edge.
            3 => {
                let extreme = [0_u32, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x4000, 0x1_0000][random.below(8)];
                let at = at / 4 * 4 + 1;
                if let Some(four) = bytes.get_mut(at..at + 4) {
                    four.copy_from_slice(&extreme.to_le_bytes());
                }
            }
            4 => bytes[at] ^= 1 << random.below(8),
            _ => bytes[at] = random.below(256) as u8,
        }
    }
}

/// Mutates the corpus until `enough` says so; answers how often.
fn drive(corpus: &[Vec<u8>], target: fn(&[u8]), seed: u64, mut enough: impl FnMut(u64) -> bool) -> u64 {
    corpus.iter().for_each(|valid| target(valid));
    let mut random = Random(seed);
    let mut done = 0;
    while !enough(done) {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        mutate(&mut bytes, &mut random);
        let result = std::panic::catch_unwind(|| target(&bytes));
        assert!(result.is_ok(), "seed {seed}, input {done}: {bytes:02x?}");
        done += 1;
    }
    done
}

#[test]
fn some_thousand_broken_messages_do_no_harm() {
    drive(&images(), targets::image_message, 1, |done| done >= 20_000);
    drive(&files(), targets::compressed_image, 2, |done| done >= 2_000);
}

/// Where cargo-fuzz looks for inputs to begin with.
#[test]
#[ignore = "writes files: make fuzz"]
fn valid_messages_become_the_fuzzers_seeds() {
    for (target, corpus) in [("image_message", images()), ("compressed_image", files())] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (i, valid) in corpus.iter().enumerate() {
            std::fs::write(folder.join(format!("valid_{i}")), valid).unwrap();
        }
    }
}

#[test]
#[ignore = "takes a minute: make fuzz"]
fn a_minute_of_broken_messages_does_no_harm() {
    let clock = SystemClock::new();
    let seed = clock.monotonic().0 ^ u64::from(std::process::id());
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for (name, corpus, target) in [
        ("image_message", images(), targets::image_message as fn(&[u8])),
        ("compressed_image", files(), targets::compressed_image),
    ] {
        let end = clock.monotonic().after(Duration::from_secs(seconds) / 2);
        let inputs = drive(&corpus, target, seed, |_| clock.monotonic() >= end);
        println!("{name}: {inputs} inputs, seed {seed}");
    }
}
