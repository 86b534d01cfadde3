"""The fixed input of a model's checks, and the two numbers that sum up an output.

The exporter runs every graph once on this input and records the sums in the manifest; whoever loads the files
can do the same and compare. The Rust counterpart makes the same numbers from the same integers: everything
here is exact in f64 up to the final rounding to f32.
"""

from __future__ import annotations

import numpy as np

BATCH = 2
"""Frames, or candidates, of the fixed input."""
STRIDE = 1_000_003
"""Distance between the sequences of two inputs."""
INPUTS = ("frames", "context", "context_states", "context_actions", "actions", "states", "goal")
"""Inputs by number; a graph has some of them."""
PROJECTION = len(INPUTS)
"""Number of the sequence that outputs are projected on."""
RANGES = {
    "frames": (0.0, 255.0),
    "context": (-1.732, 1.732),
    "goal": (-1.732, 1.732),
    "context_states": (-0.5, 0.5),
    "states": (-0.5, 0.5),
    "context_actions": (-0.1, 0.1),
    "actions": (-0.1, 0.1),
}


def uniform(count: int, sequence: int) -> np.ndarray:
    """The first `count` numbers in 0..1 (f64, multiples of 2⁻²⁴) of a sequence: MurmurHash3's finaliser."""
    k = np.arange(count, dtype=np.uint64) + np.uint64(sequence * STRIDE)
    k = k.astype(np.uint32)  # modulo 2³², as all that follows
    k ^= k >> np.uint32(16)
    k *= np.uint32(0x85EBCA6B)
    k ^= k >> np.uint32(13)
    k *= np.uint32(0xC2B2AE35)
    k ^= k >> np.uint32(16)
    return (k >> np.uint32(8)).astype(np.float64) / 2.0**24


def fixed_input(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The input of that name, f32, filled row by row."""
    low, high = RANGES[name]
    numbers = low + (high - low) * uniform(int(np.prod(shape)), INPUTS.index(name))
    return numbers.astype(np.float32).reshape(shape)


def summary(output: np.ndarray) -> dict[str, float]:
    """Mean magnitude of an output, and its projection on the fixed sequence of numbers in ±1."""
    values = output.astype(np.float64).ravel()
    directions = 2.0 * uniform(values.size, PROJECTION) - 1.0
    return {
        "mean_abs": float(np.abs(values).mean()),
        "projection": float(values @ directions / np.sqrt(values.size)),
    }
