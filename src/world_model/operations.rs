//! Floating-point operations of the networks, counted from the architecture.
//!
//! Counted are products of matrices and convolutions, a multiplication and an addition each: 2·m·k·n for
//! [m,k]·[k,n]. Everything else (norms, softmax, GELU, rotary positions, energies) is below 1 % of that and left out.

use super::architecture::{Architecture, Stem};
use crate::robot::pose::STATE_DIM;

/// Action and state token of a time step.
const CONDITION_TOKENS: usize = 2;

/// Operations of one call of a rollout graph with B candidates: `shared + B · per_candidate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutOperations {
    /// Of the context: done once per call.
    pub shared: u64,
    /// Of each candidate.
    pub per_candidate: u64,
}

impl RolloutOperations {
    /// Of a call with `batch` candidates.
    pub fn of_call(&self, batch: usize) -> u64 {
        self.shared + batch as u64 * self.per_candidate
    }
}

/// The encoder graph on one frame; its patch projection is folded over the repeated frame.
pub fn encode(a: &Architecture) -> u64 {
    let (n, width) = (a.tokens(), a.embed_dim);
    let stem = match a.stem {
        Stem::Patch => product(n, 3 * a.patch_size * a.patch_size, width),
        Stem::Conv => {
            let mut total = 0;
            let (mut side, mut channels) = (a.image_size, 3);
            for out in a.stem_widths() {
                side /= 2;
                total += product(side * side, 9 * channels, out);
                channels = out;
            }
            total
        }
    };
    let block = Block { width, mlp: a.mlp_width() };
    stem + a.depth as u64 * (block.keys_and_values(n) + block.rest(n, n))
}

/// A rollout graph with `context` frames T and `horizon` steps H, as `python/vjepa_ac/emit.py` builds it: earlier steps
/// once for all candidates, the current frame's first attention shared, later steps on the cache of the earlier ones.
pub fn rollout(a: &Architecture, context: usize, horizon: usize) -> RolloutOperations {
    let (n, depth) = (a.tokens(), a.predictor_depth);
    let block = Block { width: a.predictor_embed_dim, mlp: a.predictor_mlp_width() };
    let step_tokens = n + CONDITION_TOKENS;
    let embed = product(n, a.embed_dim, block.width);
    let condition = product(CONDITION_TOKENS, STATE_DIM, block.width);
    let project = product(n, block.width, a.embed_dim);

    // Steps before the current one: keys and values of every block, the rest of all but the last.
    let past = (context.saturating_sub(1)) * step_tokens;
    let mut shared = context.saturating_sub(1) as u64 * (embed + condition);
    if past > 0 {
        shared += depth as u64 * block.keys_and_values(past);
        shared += depth.saturating_sub(1) as u64 * block.rest(past, past);
    }
    // The current frame in the first block: its patches are the same for all candidates.
    shared += embed + block.keys_and_values(n) + block.queries(n) + block.attention(n, past + n);

    let mut per_candidate = 0;
    for step in 0..horizon {
        per_candidate += condition + project + if step > 0 { embed } else { 0 };
        for i in 0..depth {
            let last = i + 1 == depth;
            let asking = if last { n } else { step_tokens };
            per_candidate += if step == 0 && i == 0 {
                let pair = CONDITION_TOKENS;
                let of_pair = if last { 0 } else { block.queries(pair) + block.attention(pair, past + step_tokens) };
                block.keys_and_values(pair) + block.attention(n, pair) + of_pair + block.feed_forward(asking)
            } else {
                block.keys_and_values(step_tokens) + block.rest(asking, past + (step + 1) * step_tokens)
            };
        }
    }
    RolloutOperations { shared, per_candidate }
}

/// One candidate in the original algorithm: the context repeated for it, and every step's prediction from all tokens
/// anew.
pub fn original_per_candidate(a: &Architecture, context: usize, horizon: usize) -> u64 {
    let block = Block { width: a.predictor_embed_dim, mlp: a.predictor_mlp_width() };
    let n = a.tokens();
    (context..context + horizon)
        .map(|steps| {
            let tokens = steps * (n + CONDITION_TOKENS);
            let blocks = a.predictor_depth as u64 * (block.keys_and_values(tokens) + block.rest(tokens, tokens));
            let condition = product(steps * CONDITION_TOKENS, STATE_DIM, block.width);
            condition + 2 * product(steps * n, a.embed_dim, block.width) + blocks
        })
        .sum()
}

/// The parts of a transformer block.
#[derive(Clone, Copy)]
struct Block {
    width: usize,
    mlp: usize,
}

impl Block {
    fn keys_and_values(self, tokens: usize) -> u64 {
        2 * product(tokens, self.width, self.width)
    }

    fn queries(self, tokens: usize) -> u64 {
        product(tokens, self.width, self.width)
    }

    /// Queries times keys, and weights times values; all heads together are as wide as the block.
    fn attention(self, asking: usize, answering: usize) -> u64 {
        2 * product(asking, self.width, answering)
    }

    /// Projection of the attention, and the MLP.
    fn feed_forward(self, tokens: usize) -> u64 {
        product(tokens, self.width, self.width) + 2 * product(tokens, self.width, self.mlp)
    }

    /// All of a block but its keys and values.
    fn rest(self, asking: usize, answering: usize) -> u64 {
        self.queries(asking) + self.attention(asking, answering) + self.feed_forward(asking)
    }
}

/// Operations of [m,k]·[k,n].
fn product(m: usize, k: usize, n: usize) -> u64 {
    2 * m as u64 * k as u64 * n as u64
}

#[cfg(test)]
mod tests {
    use super::super::architecture::tests::{demo, vitg};
    use super::*;

    fn near(found: u64, expected: f64, tolerance: f64) -> bool {
        (found as f64 / expected - 1.0).abs() < tolerance
    }

    #[test]
    fn the_full_size_has_the_published_counts() {
        let large = vitg();
        assert!(near(original_per_candidate(&large, 1, 1), 162.5e9, 0.02));
        // Published as about 0.55 TFLOP; products of matrices alone make 0.532.
        assert!(near(encode(&large), 0.55e12, 0.04));
    }

    /// One patch token of width 6, one block, MLP as wide: small enough to count on paper.
    fn tiny() -> Architecture {
        Architecture {
            image_size: 2,
            patch_size: 2,
            embed_dim: 6,
            depth: 1,
            num_heads: 1,
            mlp_ratio: 1.0,
            predictor_embed_dim: 8,
            predictor_depth: 1,
            predictor_num_heads: 1,
            predictor_mlp_ratio: 2.0,
            ..vitg()
        }
    }

    #[test]
    fn an_encoder_counted_by_hand() {
        // Stem 12·6; q, k, v, projection and two MLP layers 6·6 each; attention 6 for logits and 6 for the sum.
        assert_eq!(encode(&tiny()), 2 * (12 * 6 + 6 * 36 + 12));
        let conv = Architecture { stem: Stem::Conv, image_size: 4, patch_size: 4, ..tiny() };
        // 4×4 → 2×2 with 8 channels (at least 8), → 1×1 with 6.
        assert_eq!(encode(&conv), 2 * (4 * 27 * 8 + 72 * 6 + 6 * 36 + 12));
    }

    #[test]
    fn a_one_block_rollout_counted_by_hand() {
        // Embedding 6·8 = 48, condition tokens 2·7·8 = 112, projection 48.
        // One linear layer 8·8 = 64 a token; MLP 2·8·16 = 256 a token; attention 2·8 = 16 a pair of tokens.
        let one = rollout(&tiny(), 1, 1);
        // Shared: embedding, q, k, v and attention of the patch to itself.
        assert_eq!(one.shared, 2 * (48 + 3 * 64 + 16));
        // Candidate: k and v of two condition tokens, the patch's attention to them, projection, MLP.
        assert_eq!(one.per_candidate, 2 * (112 + 4 * 64 + 2 * 16 + 64 + 256 + 48));
        // One block means that earlier steps are only keys and values of three tokens; the patch attends to them.
        let two = rollout(&tiny(), 2, 1);
        assert_eq!(two.shared - one.shared, 2 * (48 + 112 + 3 * 2 * 64 + 3 * 16));
        assert_eq!(two.per_candidate, one.per_candidate);
        // A second step: embedding; k and v of three tokens; the patch's q and attention to all six.
        let ahead = rollout(&tiny(), 1, 2);
        assert_eq!(ahead.shared, one.shared);
        assert_eq!(ahead.per_candidate - one.per_candidate, 2 * (48 + 112 + 6 * 64 + 64 + 6 * 16 + 64 + 256 + 48));
        // The original: all three tokens through everything.
        let block = 3 * (4 * 64 + 256) + 9 * 16;
        assert_eq!(original_per_candidate(&tiny(), 1, 1), 2 * (48 + 112 + block + 48));
        let longer = 6 * (4 * 64 + 256) + 36 * 16;
        assert_eq!(
            original_per_candidate(&tiny(), 1, 2) - original_per_candidate(&tiny(), 1, 1),
            2 * (2 * 48 + 2 * 112 + longer + 2 * 48)
        );
    }

    #[test]
    fn counts_are_those_of_the_exported_graphs() {
        // Sums over the Gemm, MatMul and Conv nodes of models/demo and tests/models/golden_a at B = 1 and 2.
        let demo = demo();
        assert_eq!(encode(&demo), 27_230_208);
        let counts = |a, t, h| {
            let RolloutOperations { shared, per_candidate } = rollout(a, t, h);
            (shared, per_candidate)
        };
        assert_eq!(counts(&demo, 1, 1), (2_228_224, 12_637_696));
        assert_eq!(counts(&demo, 1, 2), (2_228_224, 27_816_960));
        let golden = Architecture {
            image_size: 64,
            embed_dim: 96,
            depth: 3,
            num_heads: 3,
            predictor_embed_dim: 64,
            predictor_depth: 3,
            predictor_num_heads: 2,
            ..vitg()
        };
        assert_eq!(encode(&golden), 13_897_728);
        assert_eq!(counts(&golden, 1, 1), (655_360, 5_123_840));
        assert_eq!(counts(&golden, 2, 2), (4_927_232, 11_548_160));
        assert_eq!(counts(&golden, 3, 1), (9_530_880, 5_455_616));
        assert_eq!(counts(&golden, 3, 2), (9_530_880, 11_953_664));
    }

    #[test]
    fn sharing_saves_more_the_longer_context_and_horizon() {
        for a in [vitg(), demo()] {
            let ratio = |t, h| original_per_candidate(&a, t, h) as f64 / rollout(&a, t, h).per_candidate as f64;
            assert!(ratio(1, 1) > 1.0);
            assert!(ratio(2, 1) > 1.8 * ratio(1, 1));
            assert!(ratio(1, 2) > 1.3 * ratio(1, 1));
            let calls = |t, h| rollout(&a, t, h).of_call(64) as f64;
            assert!(calls(1, 2) < 2.2 * calls(1, 1));
            assert!(calls(2, 1) < 1.15 * calls(1, 1));
        }
    }
}
