"""Preprocessing of camera pictures: centre crop to a square, resize. The model itself normalises pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

RESIZE_FILTERS = ("bilinear", "bilinear_antialias")
"""`bilinear`: two taps per axis whatever the ratio, as the original model's pipeline has it.
`bilinear_antialias`: a triangle filter that widens with the ratio (Pillow's BILINEAR)."""


def preprocess(picture: np.ndarray, size: int, resize_filter: str) -> np.ndarray:
    """RGB picture u8 [H,W,3] → u8 [size,size,3]: centre crop with side min(H, W), then resize."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(picture[top : top + side, left : left + side])
    if side == size:
        return square
    if resize_filter == "bilinear_antialias":
        return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))
    if resize_filter == "bilinear":
        planes = torch.from_numpy(square).permute(2, 0, 1)[None].float()
        resized = F.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
        resized = resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
        return resized.contiguous().numpy()
    raise ValueError(f"resize_filter must be one of {', '.join(RESIZE_FILTERS)}, found {resize_filter!r}")
