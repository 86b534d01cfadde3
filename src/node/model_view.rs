//! What the model sees: the frame as it goes into the network beside the goal, with the energy between them, as one
//! small JPEG or as plain pixels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use triple_buffer::{Input, Output, triple_buffer};

/// Largest message, bytes: of larger ones, readers with the usual socket buffers lose most.
const MAX_BYTES: usize = 150_000;
/// Pictures are enlarged by a whole number until they have at least this many pixels a side.
const LEGIBLE: usize = 256;
/// The same for plain pixels, which take more bytes.
const LEGIBLE_PLAIN: usize = 128;
/// Height of the strip with the energy, pixels.
const STRIP: usize = 24;
/// Pixels of the picture for one of a letter.
const LETTER_SCALE: usize = 2;

/// A model input, as the planning thread had it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The task that it was for.
    pub task_id: u64,
    /// The goal of that task.
    pub goal_index: usize,
    /// Energy against the goal.
    pub energy: f64,
    /// Picture, [S,S,3], RGB in 0..255.
    pub input: Vec<f32>,
}

/// The planning thread's end: it hands over what the model sees, when somebody wants to see it.
#[derive(Debug)]
pub struct SeenInput {
    wanted: Arc<AtomicBool>,
    slot: Input<Seen>,
}

/// The other end.
pub struct SeenOutput {
    wanted: Arc<AtomicBool>,
    slot: Output<Seen>,
}

/// A slot for model inputs of `input_len` numbers, and its ends.
pub fn seen(input_len: usize) -> (SeenInput, SeenOutput) {
    let (input, output) = triple_buffer(&Seen { input: vec![0.0; input_len], ..Seen::default() });
    let wanted = Arc::new(AtomicBool::new(false));
    (SeenInput { wanted: Arc::clone(&wanted), slot: input }, SeenOutput { wanted, slot: output })
}

impl SeenInput {
    /// Hands over a picture, if it is wanted and has the length agreed. Copies; allocates nothing.
    pub fn show(&mut self, task_id: u64, goal_index: usize, energy: f64, input: &[f32]) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let seen = self.slot.input_buffer_mut();
        if seen.input.len() == input.len() {
            seen.input.copy_from_slice(input);
            (seen.task_id, seen.goal_index, seen.energy) = (task_id, goal_index, energy);
            self.slot.publish();
        }
    }
}

impl SeenOutput {
    /// Says whether pictures are wanted.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// A picture that has come since the last call.
    pub fn newest(&mut self) -> Option<&Seen> {
        self.slot.update().then(|| self.slot.output_buffer())
    }
}

/// The picture as JPEG: frame left, goal right (both [S,S,3] in 0..255), the energy below. `None` when the lengths do not
/// fit a square, or the encoder refuses.
pub fn jpeg(frame: &[f32], goal: &[f32], energy: f64) -> Option<Vec<u8>> {
    let canvas = draw(frame, goal, energy, LEGIBLE)?;
    [85, 70, 50, 30, 10].into_iter().find_map(|quality| canvas.jpeg(quality).filter(|bytes| bytes.len() <= MAX_BYTES))
}

/// The same picture, smaller, as pixels: width, height, RGB row by row.
pub fn pixels(frame: &[f32], goal: &[f32], energy: f64) -> Option<(u32, u32, Vec<u8>)> {
    let canvas = draw(frame, goal, energy, LEGIBLE_PLAIN)?;
    Some((u32::try_from(canvas.width).ok()?, u32::try_from(canvas.height).ok()?, canvas.rgb))
}

fn draw(frame: &[f32], goal: &[f32], energy: f64, legible: usize) -> Option<Canvas> {
    let side = (frame.len() / 3).isqrt();
    if side == 0 || side * side * 3 != frame.len() || goal.len() != frame.len() {
        return None;
    }
    let scale = legible.div_ceil(side);
    let mut canvas = Canvas::new(2 * side * scale, side * scale + STRIP);
    canvas.draw(frame, side, scale, 0);
    canvas.draw(goal, side, scale, side * scale);
    let text = if energy.is_finite() { format!("energy {energy:.3}") } else { "energy -".to_owned() };
    canvas.write(&text, 4, side * scale + (STRIP - 7 * LETTER_SCALE) / 2);
    Some(canvas)
}

/// An RGB picture to draw on; black at first.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: vec![0; width * height * 3] }
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        let at = (y * self.width + x) * 3;
        if x < self.width
            && let Some(pixel) = self.rgb.get_mut(at..at + 3)
        {
            pixel.copy_from_slice(&colour);
        }
    }

    /// Draws a square picture of `side` pixels, enlarged, `left` pixels from the left.
    fn draw(&mut self, picture: &[f32], side: usize, scale: usize, left: usize) {
        for (i, pixel) in picture.as_chunks::<3>().0.iter().enumerate() {
            let colour = pixel.map(|value| value.clamp(0.0, 255.0) as u8);
            let (x, y) = (i % side * scale, i / side * scale);
            for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
                self.set(left + x + dx, y + dy, colour);
            }
        }
    }

    fn write(&mut self, text: &str, left: usize, top: usize) {
        for (i, letter) in text.chars().enumerate() {
            for (y, row) in glyph(letter).iter().enumerate() {
                for x in (0..5).filter(|x| row >> (4 - x) & 1 == 1) {
                    let (x, y) = (left + (i * 6 + x) * LETTER_SCALE, top + y * LETTER_SCALE);
                    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                        self.set(x + dx, y + dy, [255; 3]);
                    }
                }
            }
        }
    }

    fn jpeg(&self, quality: u8) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let (width, height) = (u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?);
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .ok()?;
        Some(bytes)
    }
}

/// A letter of 5×7 pixels, one row a byte; empty for those that are not needed here.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
        '3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        '.' => [0, 0, 0, 0, 0, 0b00110, 0b00110],
        '-' => [0, 0, 0, 0b11111, 0, 0, 0],
        'e' => [0, 0, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
        'n' => [0, 0, 0b10110, 0b11001, 0b10001, 0b10001, 0b10001],
        'r' => [0, 0, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000],
        'g' => [0, 0b01111, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110],
        'y' => [0, 0, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(side: usize, colour: [f32; 3]) -> Vec<f32> {
        colour.repeat(side * side)
    }

    #[test]
    fn frame_and_goal_lie_side_by_side_and_the_energy_is_written_below() {
        let bytes = jpeg(&plain(64, [200.0, 0.0, 0.0]), &plain(64, [0.0, 0.0, 200.0]), 0.25).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (512, 256 + STRIP as u32));
        let near = |x, y, colour: [i32; 3]| {
            let found = picture.get_pixel(x, y).0.map(i32::from);
            assert!(found.iter().zip(colour).all(|(a, b)| (a - b).abs() < 25), "{found:?} at {x}, {y}");
        };
        near(100, 100, [200, 0, 0]);
        near(400, 100, [0, 0, 200]);
        let strip = |bytes: &[u8]| {
            let picture = image::load_from_memory(bytes).unwrap().into_rgb8();
            picture.enumerate_pixels().filter(|(_, y, pixel)| *y >= 256 && pixel.0[0] > 128).count()
        };
        assert!(strip(&bytes) > 200, "something is written");
        let other = jpeg(&plain(64, [200.0, 0.0, 0.0]), &plain(64, [0.0, 0.0, 200.0]), 1.11).unwrap();
        assert_ne!(strip(&bytes), strip(&other), "another number looks different");
    }

    #[test]
    fn the_same_picture_is_there_as_pixels() {
        let (width, height, rgb) = pixels(&plain(64, [200.0, 0.0, 0.0]), &plain(64, [0.0, 0.0, 200.0]), 0.25).unwrap();
        assert_eq!((width, height, rgb.len()), (256, 128 + STRIP as u32, 256 * (128 + STRIP) * 3));
        let at = |x: usize, y: usize| &rgb[(y * 256 + x) * 3..][..3];
        assert_eq!((at(60, 60), at(200, 60)), (&[200, 0, 0][..], &[0, 0, 200][..]));
        assert!(rgb[256 * 128 * 3..].contains(&255), "the energy is written below");
        assert!(rgb.len() <= MAX_BYTES);
    }

    #[test]
    fn the_message_stays_small_for_pictures_that_compress_badly() {
        let mut state = 1_u32;
        let noise: Vec<f32> = (0..384 * 384 * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as f32
            })
            .collect();
        let bytes = jpeg(&noise, &noise, f64::NAN).unwrap();
        assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    }

    #[test]
    fn pictures_of_wrong_length_are_not_drawn() {
        assert!(jpeg(&[0.0; 12], &[0.0; 27], 0.0).is_none());
        assert!(jpeg(&[], &[], 0.0).is_none());
        assert!(jpeg(&[0.0; 9], &[0.0; 9], 0.0).is_none());
    }

    #[test]
    fn nothing_is_copied_unless_somebody_wants_it() {
        let (mut input, mut output) = seen(12);
        input.show(1, 0, 0.5, &[7.0; 12]);
        assert!(output.newest().is_none());
        output.want(true);
        input.show(2, 1, 0.25, &[7.0; 12]);
        let seen = output.newest().unwrap();
        assert_eq!((seen.task_id, seen.goal_index, seen.energy, seen.input[0]), (2, 1, 0.25, 7.0));
        assert!(output.newest().is_none(), "each once");
    }
}
