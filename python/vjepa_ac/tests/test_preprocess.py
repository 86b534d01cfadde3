"""Preprocessing: both filters in floating point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vjepa_ac.preprocess import RESIZE_FILTERS, preprocess


@pytest.mark.parametrize("resize_filter", RESIZE_FILTERS)
@pytest.mark.parametrize("shape", [(256, 256, 64), (240, 320, 96), (37, 91, 64), (20, 30, 48), (1, 5, 4)])
def test_as_pytorch_resizes(shape: tuple[int, int, int], resize_filter: str) -> None:
    height, width, size = shape
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(picture[top : top + side, left : left + side]).permute(2, 0, 1)[None].float()
    expected = F.interpolate(
        square, (size, size), mode="bilinear", antialias=resize_filter == "bilinear_antialias"
    )
    found = preprocess(picture, size, resize_filter)
    assert found.dtype == np.float32 and found.shape == (size, size, 3)
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < 2e-3
    if (size, size) != (height, width):
        assert (found != found.round()).any() or side == 1


def test_a_picture_of_the_right_size_is_kept() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(preprocess(picture, 16, "bilinear"), picture)
    with pytest.raises(ValueError, match="resize_filter must be one of bilinear, bilinear_antialias"):
        preprocess(picture, 16, "nearest")
