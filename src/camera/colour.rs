//! Rows of pixels to RGB, many pixels at a time.
//!
//! The loops run over blocks of a fixed size and do not branch: the compiler makes vector instructions of them. Since it
//! may only use those that every processor of the kind has, `multiversion` has it do so once more for what most have, and
//! chooses at run time. All is integer arithmetic, so that every version gives the same pixels.

use std::array::from_fn;
use std::ops::Range;

use multiversion::multiversion;

use super::encoding::Encoding;

/// Pixels at a time.
const BLOCK: usize = 32;
/// The same where bytes only change their places.
const SHUFFLED: usize = 16;
/// Half of [`BLOCK`]: pairs that share their colour.
const PAIRS: usize = BLOCK / 2;

/// Writes `columns` of a row, which are within it; `colour` is the row of the other plane, where there is one. Not for
/// image files and Bayer patterns.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn convert(encoding: Encoding, row: &[u8], colour: &[u8], columns: Range<usize>, rgb: &mut [[u8; 3]]) {
    let (twos, fours, colours) = (row.as_chunks().0, row.as_chunks().0, colour.as_chunks().0);
    match encoding {
        Encoding::Rgb8 => {
            let from = row.as_chunks::<3>().0.get(columns).unwrap_or_default();
            if let Some(to) = rgb.get_mut(..from.len()) {
                to.copy_from_slice(from);
            }
        }
        Encoding::Bgr8 => packed::<{ 3 * SHUFFLED }>(row, columns, rgb, |i| i / 3 * 3 + 2 - i % 3),
        Encoding::Rgba8 => with_alpha(fours, columns, rgb, |[r, g, b, _]| [r, g, b]),
        Encoding::Bgra8 => with_alpha(fours, columns, rgb, |[b, g, r, _]| [r, g, b]),
        Encoding::Mono8 => packed::<SHUFFLED>(row, columns, rgb, |i| i / 3),
        Encoding::Uyvy => pairs(&Interleaved(fours, |[u, y0, v, y1]: [u8; 4]| [y0, y1, u, v]), columns, rgb),
        Encoding::Yuyv => pairs(&Interleaved(fours, |[y0, u, y1, v]: [u8; 4]| [y0, y1, u, v]), columns, rgb),
        Encoding::Nv12 => pairs(&Planes(twos, colours, |[u, v]: [u8; 2]| [u, v]), columns, rgb),
        Encoding::Nv21 => pairs(&Planes(twos, colours, |[v, u]: [u8; 2]| [u, v]), columns, rgb),
        Encoding::BayerRggb8 | Encoding::BayerBggr8 | Encoding::BayerGbrg8 | Encoding::BayerGrbg8 => {}
        Encoding::Jpeg | Encoding::Png => {}
    }
}

/// Pixels whose bytes only change their places, `LEN` bytes of a block at a time; `place` says where byte `i` of its RGB
/// is. Written at once, a block is shuffled in registers.
#[inline(always)]
fn packed<const LEN: usize>(row: &[u8], columns: Range<usize>, rgb: &mut [[u8; 3]], place: impl Fn(usize) -> usize) {
    let bytes = LEN / SHUFFLED;
    let (blocks, rest) = rgb.as_chunks_mut::<SHUFFLED>();
    let row = row.get(columns.start * bytes..columns.end * bytes).unwrap_or_default();
    let (from, rest_of) = row.as_chunks::<LEN>();
    for (to, from) in blocks.iter_mut().zip(from) {
        let shuffled: [u8; SHUFFLED * 3] = from_fn(|i| from[place(i)]);
        to.as_flattened_mut().copy_from_slice(&shuffled);
    }
    for (to, from) in rest.iter_mut().zip(rest_of.chunks_exact(bytes)) {
        *to = from_fn(|i| from[place(i)]);
    }
}

#[inline(always)]
fn with_alpha(row: &[[u8; 4]], columns: Range<usize>, rgb: &mut [[u8; 3]], colour: impl Fn([u8; 4]) -> [u8; 3]) {
    for (to, &from) in rgb.iter_mut().zip(row.get(columns).unwrap_or_default()) {
        *to = colour(from);
    }
}

/// A row of pixels that share their colour by twos.
trait Pairs {
    /// Y Y U V of `N` pairs, from pair `first` on.
    fn quads<const N: usize>(&self, first: usize) -> Option<[[u8; 4]; N]>;
}

/// Two pixels in four bytes, and what puts them into the order Y Y U V.
struct Interleaved<'a, F>(&'a [[u8; 4]], F);

impl<F: Fn([u8; 4]) -> [u8; 4]> Pairs for Interleaved<'_, F> {
    #[inline(always)]
    fn quads<const N: usize>(&self, first: usize) -> Option<[[u8; 4]; N]> {
        let from: &[_; N] = self.0.get(first..)?.first_chunk()?;
        let mut quads = [[0; 4]; N];
        for (quad, &from) in quads.iter_mut().zip(from) {
            *quad = (self.1)(from);
        }
        Some(quads)
    }
}

/// Y in one plane, two bytes of colour for each pair of pixels in another, and what puts those into the order U V.
struct Planes<'a, F>(&'a [[u8; 2]], &'a [[u8; 2]], F);

impl<F: Fn([u8; 2]) -> [u8; 2]> Pairs for Planes<'_, F> {
    #[inline(always)]
    fn quads<const N: usize>(&self, first: usize) -> Option<[[u8; 4]; N]> {
        let brightness: &[_; N] = self.0.get(first..)?.first_chunk()?;
        let colour: &[_; N] = self.1.get(first..)?.first_chunk()?;
        let mut quads = [[0; 4]; N];
        // As numbers of which the compiler makes vectors; bytes it would move one by one.
        for ((quad, &brightness), &colour) in quads.iter_mut().zip(brightness).zip(colour) {
            let (low, high) = (u16::from_le_bytes(brightness), u16::from_le_bytes((self.2)(colour)));
            *quad = (u32::from(low) | u32::from(high) << 16).to_le_bytes();
        }
        Some(quads)
    }
}

#[inline(always)]
fn pairs(row: &impl Pairs, columns: Range<usize>, rgb: &mut [[u8; 3]]) {
    let Range { start, end } = columns;
    let Some(mut rgb) = rgb.get_mut(..end.saturating_sub(start)) else { return };
    let one = |pair: usize| row.quads::<1>(pair).map(|[quad]| quad);
    if start % 2 == 1
        && let Some((first, rest)) = std::mem::take(&mut rgb).split_first_mut()
    {
        if let Some([_, y, u, v]) = one(start / 2) {
            *first = yuv(y, u, v);
        }
        rgb = rest;
    }
    let mut pair = start.div_ceil(2);
    let (blocks, rest) = rgb.as_chunks_mut::<BLOCK>();
    for block in blocks {
        let Some(quads) = row.quads::<PAIRS>(pair) else { return };
        pairs_to_rgb(&quads, block);
        pair += PAIRS;
    }
    let (twos, last) = rest.as_chunks_mut::<2>();
    for two in twos {
        let Some([y0, y1, u, v]) = one(pair) else { return };
        *two = [yuv(y0, u, v), yuv(y1, u, v)];
        pair += 1;
    }
    if let (Some(last), Some([y, _, u, v])) = (last.first_mut(), one(pair)) {
        *last = yuv(y, u, v);
    }
}

/// Each channel of all pixels, and then pixel by pixel: the compiler does not find that way by itself.
#[inline(always)]
fn pairs_to_rgb(quads: &[[u8; 4]; PAIRS], rgb: &mut [[u8; 3]; BLOCK]) {
    let mut channels = [[[0; 2]; PAIRS]; 3];
    for (i, &[y0, y1, u, v]) in quads.iter().enumerate() {
        let (even, odd) = (yuv(y0, u, v), yuv(y1, u, v));
        for (channel, two) in channels.iter_mut().zip(even.into_iter().zip(odd)) {
            channel[i] = two.into();
        }
    }
    let [red, green, blue] = &channels;
    interleave(red.as_flattened(), green.as_flattened(), blue.as_flattened(), rgb);
}

#[inline(always)]
fn interleave(red: &[u8], green: &[u8], blue: &[u8], rgb: &mut [[u8; 3]]) {
    for (((rgb, &red), &green), &blue) in rgb.iter_mut().zip(red).zip(green).zip(blue) {
        *rgb = [red, green, blue];
    }
}

/// BT.601, limited range, in fixed point with 20 bits after the point.
#[inline(always)]
fn yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    const BITS: i32 = 20;
    const HALF: i32 = 1 << (BITS - 1);
    // 255/219, and 255/224 of 2(1 − Kr), 2(1 − Kb) and the shares of green; Kr = 0.299, Kb = 0.114.
    const Y: i32 = 1_220_542;
    const RED_OF_V: i32 = 1_673_527;
    const GREEN_OF_V: i32 = -852_492;
    const GREEN_OF_U: i32 = -409_993;
    const BLUE_OF_U: i32 = 2_116_026;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let y = (i32::from(y) - 16).max(0) * Y + HALF;
    [y + RED_OF_V * v, y + GREEN_OF_V * v + GREEN_OF_U * u, y + BLUE_OF_U * u]
        .map(|channel| (channel >> BITS).clamp(0, 255) as u8)
}

/// A row of a Bayer pattern with its neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct BayerRows<'a> {
    pub above: &'a [u8],
    pub here: &'a [u8],
    pub below: &'a [u8],
    /// Whether its pixels are red and green, and not blue and green.
    pub red: bool,
    /// Whether those in odd columns are green.
    pub odd_green: bool,
}

/// Writes `columns` of a row, which are within it, interpolated bilinearly. At the border, where neighbours are missing, a
/// pixel takes the colour of the one next to it, as OpenCV does.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn convert_bayer(rows: &BayerRows<'_>, columns: Range<usize>, rgb: &mut [[u8; 3]]) {
    let last = rows.here.len().saturating_sub(2);
    let mut x = columns.start;
    let (blocks, rest) = rgb.as_chunks_mut::<BLOCK>();
    let one = |x: usize| rows.interpolate::<1>(x.clamp(1, last.max(1))).map(|[pixel]| pixel);
    for block in blocks {
        match rows.interpolate::<BLOCK>(x) {
            Some(inner) => *block = inner,
            // With a border in it.
            None => {
                for (pixel, x) in block.iter_mut().zip(x..columns.end) {
                    *pixel = one(x).unwrap_or_default();
                }
            }
        }
        x += BLOCK;
    }
    for (pixel, x) in rest.iter_mut().zip(x..columns.end) {
        *pixel = one(x).unwrap_or_default();
    }
}

impl BayerRows<'_> {
    /// `N` pixels from column `x` on; `None` where one of them has no neighbour.
    #[inline(always)]
    fn interpolate<const N: usize>(&self, x: usize) -> Option<[[u8; 3]; N]> {
        let left = x.checked_sub(1)?;
        let three = |row: &[u8]| -> Option<[[u8; N]; 3]> {
            let row = row.get(left..)?;
            Some([*row.first_chunk()?, *row.get(1..)?.first_chunk()?, *row.get(2..)?.first_chunk()?])
        };
        let ([nw, n, ne], [w, own, e], [sw, s, se]) = (three(self.above)?, three(self.here)?, three(self.below)?);
        // A pixel that is not green has its own colour, green on four sides and the other colour at the corners; a green one
        // has the row's colour on the left and on the right and the other above and below.
        let green_at = usize::from(self.odd_green == x.is_multiple_of(2));
        let (mut of_row, mut green, mut other) = ([0; N], [0; N], [0; N]);
        for i in 0..N {
            let (sides, corners) = (mean4(n[i], s[i], w[i], e[i]), mean4(nw[i], ne[i], sw[i], se[i]));
            let (across, along) = (mean(w[i], e[i]), mean(n[i], s[i]));
            let is_green = i % 2 == green_at;
            of_row[i] = if is_green { across } else { own[i] };
            green[i] = if is_green { own[i] } else { sides };
            other[i] = if is_green { along } else { corners };
        }
        let (red, blue) = if self.red { (of_row, other) } else { (other, of_row) };
        let mut rgb = [[0; 3]; N];
        interleave(&red, &green, &blue, &mut rgb);
        Some(rgb)
    }
}

#[inline(always)]
fn mean(a: u8, b: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + 1) >> 1) as u8
}

#[inline(always)]
fn mean4(a: u8, b: u8, c: u8, d: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) >> 2) as u8
}
