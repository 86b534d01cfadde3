"""A frame to the model's input: this planner against OpenCV's Python wheel, by turns in one run, one thread.

OpenCV does what the planner does: cut the middle square out, convert it to RGB, resize it bilinearly without
rounding (`INTER_LINEAR` on 32-bit floats). Needs opencv-python-headless:
    python benches/camera_opencv.py
"""

import subprocess
import time
from collections.abc import Callable
from statistics import median

import cv2
import numpy as np

SIDE = 256
REPETITIONS = 200
ROUNDS = 3
BENCH = ["cargo", "bench", "--locked", "--offline", "--bench", "camera"]


def square(picture: np.ndarray) -> np.ndarray:
    """The middle."""
    height, width = picture.shape[:2]
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture[top : top + side, left : left + side]


def to_input(rgb: np.ndarray) -> np.ndarray:
    """The model's input."""
    return cv2.resize(rgb.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def nv12(picture: np.ndarray) -> np.ndarray:
    """Y and UV lie in planes of which only the middle is converted."""
    height = picture.shape[0] * 2 // 3
    luma, colour = picture[:height], picture[height:].reshape(height // 2, -1, 2)
    return cv2.cvtColorTwoPlane(
        np.ascontiguousarray(square(luma)), np.ascontiguousarray(square(colour)), cv2.COLOR_YUV2RGB_NV12
    )


def cases() -> dict[str, Callable[[], object]]:
    """By the names of the bench."""
    random = np.random.default_rng(0)
    found: dict[str, Callable[[], object]] = {}
    for size, (width, height) in {"vga": (640, 480), "1080p": (1920, 1080)}.items():
        smooth = cv2.GaussianBlur(random.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
        yuyv = np.ascontiguousarray(smooth[..., :2])
        planes = np.ascontiguousarray(np.vstack([smooth[..., 0], smooth[: height // 2, :, 1]]))
        bayer = np.ascontiguousarray(smooth[..., 0])
        found[f"{size}_rgb8"] = lambda p=smooth: to_input(square(p))
        found[f"{size}_bgr8"] = lambda p=smooth: to_input(cv2.cvtColor(square(p), cv2.COLOR_BGR2RGB))
        found[f"{size}_yuyv"] = lambda p=yuyv: to_input(cv2.cvtColor(square(p), cv2.COLOR_YUV2RGB_YUY2))
        found[f"{size}_nv12"] = lambda p=planes: to_input(nv12(p))
        found[f"{size}_bayer"] = lambda p=bayer: to_input(cv2.cvtColor(square(p), cv2.COLOR_BayerRGGB2RGB))
    return found


def opencv_ms(body: Callable[[], object]) -> float:
    """The quickest of the repetitions."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    """Measures by turns and prints the medians of the rounds."""
    cv2.setNumThreads(1)
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        out = subprocess.run(BENCH, check=True, capture_output=True, text=True).stdout
        for line in out.splitlines()[1:]:
            match line.split():
                case [name, _slot, two_taps, _antialiased]:
                    ours.setdefault(name, []).append(float(two_taps))
        for name, body in cases().items():
            theirs.setdefault(name, []).append(opencv_ms(body))
    print(f"OpenCV {cv2.__version__}, one thread; ms to a {SIDE}x{SIDE} input")
    print(f"{'':12} {'ours':>8} {'OpenCV':>8} {'ratio':>8}")
    for name in filter(theirs.__contains__, ours):
        ratio = median(other / mine for mine, other in zip(ours[name], theirs[name], strict=True))
        print(f"{name:12} {median(ours[name]):8.3f} {median(theirs[name]):8.3f} {ratio:8.2f}")


if __name__ == "__main__":
    main()
