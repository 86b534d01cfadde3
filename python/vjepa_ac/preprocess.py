"""Preprocessing of camera pictures: centre crop to a square, resize. The model itself normalises pixels.

Nothing is rounded on the way: the original normalises the resized picture in f32.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

RESIZE_FILTERS = ("bilinear", "bilinear_antialias")
"""`bilinear`: two taps per axis whatever the ratio, as the original model's pipeline has it.
`bilinear_antialias`: a triangle filter that widens with the ratio (Pillow's BILINEAR)."""


def preprocess(picture: np.ndarray, size: int, resize_filter: str) -> np.ndarray:
    """RGB picture u8 [H,W,3] → f32 [size,size,3] in 0..255: centre crop with side min(H, W), then resize."""
    if resize_filter not in RESIZE_FILTERS:
        raise ValueError(f"resize_filter must be one of {', '.join(RESIZE_FILTERS)}, found {resize_filter!r}")
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side].astype(np.float32)
    if side == size:
        return square
    if resize_filter == "bilinear":
        return _two_taps(_two_taps(square, size).swapaxes(0, 1), size).swapaxes(0, 1)
    # Only single-channel pictures come in f32.
    planes = [Image.fromarray(square[..., c]) for c in range(3)]
    return np.stack([plane.resize((size, size), Image.Resampling.BILINEAR) for plane in planes], -1)


def _two_taps(rows: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation along the first axis at the centres of `size` equal parts."""
    last = len(rows) - 1
    place = ((np.arange(size) + 0.5) * (len(rows) / size) - 0.5).clip(0, last)
    first = place.astype(int)
    share = (place - first).astype(np.float32)[:, None, None]
    return rows[first] * (1 - share) + rows[np.minimum(first + 1, last)] * share
