"""Writes opencv.json: small pictures of every encoding and what OpenCV makes of them, as `cv_bridge` would.

Needs opencv-python-headless, which is no dependency of anything else here:
    python tests/camera/opencv.py
"""

import json
from pathlib import Path

import cv2
import numpy as np

# Wider than what is converted at a time, and no multiple of it.
WIDTH, HEIGHT = 38, 4

# OpenCV's newer names of Bayer patterns are ROS's: the first two pixels of the first two rows.
PACKED = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
}
PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def main() -> None:
    """Makes the file."""
    random = np.random.default_rng(7)
    pictures = {}
    for name, (channels, code) in PACKED.items():
        raw = random.integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
        rgb = raw if code is None else cv2.cvtColor(raw, code)
        pictures[name] = (raw, rgb)
    for name, code in PLANES.items():
        raw = random.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
        pictures[name] = (raw, cv2.cvtColor(raw, code))
    file = {
        "opencv": cv2.__version__,
        "width": WIDTH,
        "height": HEIGHT,
        "pictures": {
            name: {"step": raw.size // raw.shape[0], "raw": raw.tobytes().hex(), "rgb": rgb.tobytes().hex()}
            for name, (raw, rgb) in pictures.items()
        },
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(file, indent=1) + "\n")


if __name__ == "__main__":
    main()
