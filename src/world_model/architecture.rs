//! The sizes of a network, as `python/vjepa_ac/config.py` has them and a manifest carries them.

use serde::{Deserialize, Serialize};

/// What comes before the encoder's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// One projection per patch, as in V-JEPA 2-AC.
    Patch,
    /// Strided 3×3 convolutions that halve the picture down to the token grid.
    Conv,
}

/// Every size and option of a world model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Side S of the square input picture, px.
    pub image_size: usize,
    /// Side of a patch, px.
    pub patch_size: usize,
    /// Frames that one patch covers in time; a single frame is repeated that often.
    pub tubelet_size: usize,
    /// Width D of the encoder and of its latents.
    pub embed_dim: usize,
    /// Blocks of the encoder.
    pub depth: usize,
    /// Attention heads of the encoder.
    pub num_heads: usize,
    /// Width of the encoder's MLPs over `embed_dim`.
    pub mlp_ratio: f64,
    /// Width of the predictor.
    pub predictor_embed_dim: usize,
    /// Blocks of the predictor.
    pub predictor_depth: usize,
    /// Attention heads of the predictor.
    pub predictor_num_heads: usize,
    /// Width of the predictor's MLPs over `predictor_embed_dim`.
    pub predictor_mlp_ratio: f64,
    /// Epsilon of the LayerNorms that have parameters.
    pub eps: f64,
    /// Frames that the predictor was built for; it reads at most `num_frames / tubelet_size` time steps.
    pub num_frames: usize,
    /// What comes before the encoder's blocks.
    pub stem: Stem,
    /// Output channels of the convolutional stem's layers except the last. Empty: halved from `embed_dim` outwards.
    pub stem_channels: Vec<usize>,
    /// Whether the predictor's output is added to its input tokens.
    pub residual_prediction: bool,
}

/// A size that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchitectureError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Architecture {
    /// Checks every field, as the exporter does; sizes are bounded, so that products of them cannot overflow.
    ///
    /// # Errors
    /// [`ArchitectureError`] for the first field that cannot be right.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        let fail = |field, reason: String| Err(ArchitectureError { field, reason });
        for (field, value, limit) in [
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, 4096),
            ("tubelet_size", self.tubelet_size, 64),
            ("embed_dim", self.embed_dim, 1 << 16),
            ("depth", self.depth, 1024),
            ("num_heads", self.num_heads, 1024),
            ("predictor_embed_dim", self.predictor_embed_dim, 1 << 16),
            ("predictor_depth", self.predictor_depth, 1024),
            ("predictor_num_heads", self.predictor_num_heads, 1024),
            ("num_frames", self.num_frames, 4096),
        ] {
            if !(1..=limit).contains(&value) {
                return fail(field, format!("{value} is outside 1..{limit}"));
            }
        }
        for (field, value, limit) in [
            ("mlp_ratio", self.mlp_ratio, 64.0),
            ("predictor_mlp_ratio", self.predictor_mlp_ratio, 64.0),
            ("eps", self.eps, 1.0),
        ] {
            if !(value > 0.0 && value <= limit) {
                return fail(field, format!("{value} must be above 0 and at most {limit}"));
            }
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return fail(
                "image_size",
                format!("{} is not a multiple of patch_size {}", self.image_size, self.patch_size),
            );
        }
        if !self.num_frames.is_multiple_of(self.tubelet_size) {
            let reason = format!("{} is not a multiple of tubelet_size {}", self.num_frames, self.tubelet_size);
            return fail("num_frames", reason);
        }
        for (field, heads, width) in [
            ("num_heads", self.num_heads, self.embed_dim),
            ("predictor_num_heads", self.predictor_num_heads, self.predictor_embed_dim),
        ] {
            let head = width / heads;
            if !width.is_multiple_of(heads) || head < 6 || !head.is_multiple_of(2) {
                let rule = "a head needs an even width of at least 6, for rotary positions";
                return fail(field, format!("{heads} heads do not fit a width of {width}; {rule}"));
            }
        }
        match self.stem {
            Stem::Conv if !self.patch_size.is_power_of_two() || self.patch_size < 2 => {
                fail("patch_size", format!("{} must be a power of two with stem `conv`", self.patch_size))
            }
            Stem::Conv if !self.stem_channels.is_empty() && self.stem_channels.len() != self.stem_layers() - 1 => {
                let (needed, found) = (self.stem_layers() - 1, self.stem_channels.len());
                fail("stem_channels", format!("has {found} entries, patch_size {} needs {needed}", self.patch_size))
            }
            Stem::Conv if self.stem_channels.iter().any(|c| !(1..=1 << 16).contains(c)) => {
                fail("stem_channels", format!("{:?} has an entry outside 1..65536", self.stem_channels))
            }
            Stem::Patch | Stem::Conv => Ok(()),
        }
    }

    /// Patch tokens of one frame, N.
    pub fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }

    /// Time steps that the predictor accepts at most.
    pub fn max_steps(&self) -> usize {
        self.num_frames / self.tubelet_size
    }

    /// Width of the hidden layer of the encoder's MLPs.
    pub fn mlp_width(&self) -> usize {
        (self.embed_dim as f64 * self.mlp_ratio) as usize
    }

    /// Width of the hidden layer of the predictor's MLPs.
    pub fn predictor_mlp_width(&self) -> usize {
        (self.predictor_embed_dim as f64 * self.predictor_mlp_ratio) as usize
    }

    /// Output channels of each layer of the convolutional stem, from the picture inwards.
    pub fn stem_widths(&self) -> Vec<usize> {
        let inner = self.stem_layers().saturating_sub(1);
        let mut widths = if self.stem_channels.is_empty() {
            (0..inner).map(|i| (self.embed_dim >> (inner - i)).max(8)).collect()
        } else {
            self.stem_channels.clone()
        };
        widths.push(self.embed_dim);
        widths
    }

    /// Layers of the convolutional stem: each halves the picture.
    fn stem_layers(&self) -> usize {
        self.patch_size.max(1).ilog2() as usize
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// V-JEPA 2-AC, ViT-g.
    pub fn vitg() -> Architecture {
        Architecture {
            image_size: 256,
            patch_size: 16,
            tubelet_size: 2,
            embed_dim: 1408,
            depth: 40,
            num_heads: 22,
            mlp_ratio: 48.0 / 11.0,
            predictor_embed_dim: 1024,
            predictor_depth: 24,
            predictor_num_heads: 16,
            predictor_mlp_ratio: 4.0,
            eps: 1e-6,
            num_frames: 64,
            stem: Stem::Patch,
            stem_channels: Vec::new(),
            residual_prediction: false,
        }
    }

    /// The demo's.
    pub fn demo() -> Architecture {
        Architecture {
            image_size: 64,
            embed_dim: 128,
            depth: 3,
            num_heads: 4,
            mlp_ratio: 4.0,
            predictor_embed_dim: 128,
            predictor_depth: 2,
            predictor_num_heads: 4,
            num_frames: 16,
            stem: Stem::Conv,
            residual_prediction: true,
            ..vitg()
        }
    }

    #[test]
    fn the_published_sizes_are_valid_and_derive_what_the_definition_does() {
        let (large, small) = (vitg(), demo());
        assert_eq!((large.validate(), small.validate()), (Ok(()), Ok(())));
        assert_eq!((large.tokens(), large.max_steps(), large.mlp_width()), (256, 32, 6144));
        assert_eq!((small.tokens(), small.max_steps(), small.predictor_mlp_width()), (16, 8, 512));
        assert_eq!(small.stem_widths(), [16, 32, 64, 128]);
    }

    #[test]
    fn every_bad_field_is_named() {
        type Change = fn(&mut Architecture);
        let cases: [(&str, Change); 16] = [
            ("image_size", |a| a.image_size = 250),
            ("patch_size", |a| a.patch_size = 0),
            ("tubelet_size", |a| a.tubelet_size = 0),
            ("embed_dim", |a| a.embed_dim = 1 << 20),
            ("depth", |a| a.depth = 0),
            ("num_heads", |a| a.num_heads = 21),
            ("num_heads", |a| a.num_heads = 704),
            ("mlp_ratio", |a| a.mlp_ratio = f64::NAN),
            ("predictor_embed_dim", |a| a.predictor_embed_dim = 0),
            ("predictor_depth", |a| a.predictor_depth = 0),
            ("predictor_num_heads", |a| a.predictor_num_heads = 3),
            ("predictor_mlp_ratio", |a| a.predictor_mlp_ratio = -4.0),
            ("eps", |a| a.eps = 0.0),
            ("num_frames", |a| a.num_frames = 63),
            ("patch_size", |a| (a.stem, a.image_size, a.patch_size) = (Stem::Conv, 240, 15)),
            ("stem_channels", |a| (a.stem, a.stem_channels) = (Stem::Conv, vec![8, 8])),
        ];
        for (field, change) in cases {
            let mut architecture = vitg();
            change(&mut architecture);
            assert_eq!(architecture.validate().unwrap_err().field, field, "{architecture:?}");
        }
    }
}
