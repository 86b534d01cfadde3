//! Which part of a picture the model sees, and which way is up.

use crate::config::parameter::{ParameterError, parameters, read_only};

parameters! {
    /// The part of the picture that is used, as fractions of its width and height, so that it is the same part of
    /// pictures of any resolution: of the camera's frames, and of goal images.
    #[derive(Copy)]
    pub struct Roi {
        /// Left edge, from the left of the picture.
        x: f64 = 0.0 => read_only().range(0.0..=1.0),
        /// Upper edge, from the top of the picture.
        y: f64 = 0.0 => read_only().range(0.0..=1.0),
        /// Width.
        width: f64 = 1.0 => read_only().range(0.01..=1.0),
        /// Height.
        height: f64 = 1.0 => read_only().range(0.01..=1.0),
    }
    checked by Roi::fits
}

impl Roi {
    fn fits(&self) -> Result<(), ParameterError> {
        // 0.7 + 0.3 is a little more than 1.
        for (name, end) in [("width", self.x + self.width), ("height", self.y + self.height)] {
            if end > 1.0 + 1e-9 {
                return Err(ParameterError::new(
                    name,
                    "reaches beyond the picture; make it smaller, or begin further left or up",
                ));
            }
        }
        Ok(())
    }
}

/// Quarter turns, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// As the camera gives it.
    #[default]
    None,
    /// 90° clockwise.
    Right,
    /// 180°.
    Half,
    /// 270° clockwise.
    Left,
}

impl Rotation {
    /// From 0, 90, 180 or 270 degrees clockwise.
    pub fn from_degrees(degrees: u32) -> Option<Self> {
        Some(match degrees {
            0 => Self::None,
            90 => Self::Right,
            180 => Self::Half,
            270 => Self::Left,
            _ => return None,
        })
    }
}

/// The way from a picture to the square that the model sees: cut out the region of interest, turn it, cut the middle
/// square out of that.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Framing {
    /// The part that is used; in the picture as the camera gives it.
    pub roi: Roi,
    /// How that is turned then.
    pub rotation: Rotation,
}

/// A square in a picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns, and rows.
    pub side: usize,
}

impl Framing {
    /// The square of a picture of `width`×`height` pixels that is to be turned and shown to the model. Never empty, and
    /// within the picture, if that has pixels.
    pub fn square(&self, width: usize, height: usize) -> Square {
        let (left, width) = part(self.roi.x, self.roi.width, width);
        let (top, height) = part(self.roi.y, self.roi.height, height);
        let side = width.min(height);
        // The middle of the turned picture, in which the odd pixel is left out on the right and below.
        let (dx, dy) = ((width - side) / 2, (height - side) / 2);
        let (ex, ey) = (width - side - dx, height - side - dy);
        let (dx, dy) = match self.rotation {
            Rotation::None => (dx, dy),
            Rotation::Right => (dx, ey),
            Rotation::Half => (ex, ey),
            Rotation::Left => (ex, dy),
        };
        Square { left: left + dx, top: top + dy, side }
    }
}

/// First pixel and number of pixels of a part of `length` pixels.
fn part(from: f64, share: f64, length: usize) -> (usize, usize) {
    let pixel = |fraction: f64| ((fraction * length as f64).round().max(0.0) as usize).min(length);
    let first = pixel(from).min(length.saturating_sub(1));
    (first, pixel(from + share).saturating_sub(first).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_settings_it_is_the_middle_square() {
        let square = |width, height| Framing::default().square(width, height);
        assert_eq!(square(640, 480), Square { left: 80, top: 0, side: 480 });
        assert_eq!(square(480, 641), Square { left: 0, top: 80, side: 480 });
    }

    #[test]
    fn the_same_part_is_used_at_every_resolution() {
        let roi = Roi { x: 0.25, y: 0.5, width: 0.5, height: 0.5 };
        let framing = Framing { roi, rotation: Rotation::None };
        assert_eq!(framing.square(640, 480), Square { left: 200, top: 240, side: 240 });
        assert_eq!(framing.square(1280, 960), Square { left: 400, top: 480, side: 480 });
    }

    #[test]
    fn a_region_beyond_the_picture_is_refused() {
        assert!(Roi { x: 0.7, width: 0.3, ..Roi::default() }.fits().is_ok());
        assert!(Roi { y: 0.5, height: 0.6, ..Roi::default() }.fits().is_err());
    }

    proptest! {
        /// Turning the whole picture first and cutting the middle out then is the definition.
        #[test]
        fn the_square_is_the_middle_of_the_turned_picture(
            width in 1_usize..60, height in 1_usize..60, x in 0.0..0.9, y in 0.0..0.9, w in 0.01..1.0, h in 0.01..1.0,
            degrees in prop::sample::select(vec![0, 90, 180, 270]),
        ) {
            let roi = Roi { x, y, width: f64::min(w, 1.0 - x), height: f64::min(h, 1.0 - y) };
            let framing = Framing { roi, rotation: Rotation::from_degrees(degrees).unwrap() };
            let square = framing.square(width, height);
            prop_assert!(square.side > 0 && square.left + square.side <= width && square.top + square.side <= height);
            let ((left, columns), (top, rows)) = (part(x, roi.width, width), part(y, roi.height, height));
            let mut picture: Vec<Vec<(usize, usize)>> =
                (top..top + rows).map(|y| (left..left + columns).map(|x| (x, y)).collect()).collect();
            for _ in 0..degrees / 90 {
                picture = (0..picture[0].len())
                    .map(|x| picture.iter().rev().map(|row| row[x]).collect())
                    .collect();
            }
            let side = picture.len().min(picture[0].len());
            let middle: Vec<(usize, usize)> = picture[(picture.len() - side) / 2..][..side]
                .iter()
                .flat_map(|row| row[(row.len() - side) / 2..][..side].iter().copied())
                .collect();
            let corner = (middle.iter().map(|p| p.0).min().unwrap(), middle.iter().map(|p| p.1).min().unwrap());
            prop_assert_eq!((square.left, square.top, square.side), (corner.0, corner.1, side));
        }
    }
}
