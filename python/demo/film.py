"""The film of an episode: camera beside goal, the energy curve growing below."""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from demo.results import Episode

PICTURE = (320, 240)
MARGIN = 16
GAP = 12
WIDTH = 2 * MARGIN + 2 * PICTURE[0] + GAP
TITLE_TOP, PICTURES_TOP = 14, 74
CHART_TOP = PICTURES_TOP + PICTURE[1] + 34
CHART_HEIGHT = 110
HEIGHT = CHART_TOP + CHART_HEIGHT + 30
SUPERSAMPLE = 2

BACKGROUND = (18, 21, 26)
PANEL = (27, 32, 39)
TEXT = (236, 239, 244)
MUTED = (150, 160, 173)
LINE = (60, 69, 81)
ACCENT = (255, 158, 68)
GOOD = (104, 211, 145)
BAD = (248, 113, 113)


@dataclass(frozen=True)
class Frame:
    """A camera picture, `t` seconds after the task was loaded; JPEG keeps a minute of them small."""

    t: float
    jpeg: bytes

    @classmethod
    def of(cls, t: float, width: int, height: int, rgb: bytes) -> Frame:
        """From packed rgb8 pixels."""
        buffer = io.BytesIO()
        Image.frombytes("RGB", (width, height), rgb).save(buffer, "JPEG", quality=92)
        return cls(t, buffer.getvalue())

    def picture(self) -> Image.Image:
        """Decoded, RGB."""
        return Image.open(io.BytesIO(self.jpeg)).convert("RGB")


def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(picture: Image.Image) -> Image.Image:
    return picture if picture.size == PICTURE else picture.resize(PICTURE, Image.Resampling.LANCZOS)


class Painter:
    """Draws the episode as it looked at any of its moments."""

    def __init__(
        self, episode: Episode, goals: Sequence[Image.Image], threshold: float | None, headline: str
    ) -> None:
        """`goals`: one picture per goal, in order; `threshold`: the energy below which goals switch."""
        self._episode = episode
        self._goals = [_fit(goal.convert("RGB")) for goal in goals]
        self._threshold = threshold
        self._headline = headline
        self._curve = [(sample.t, sample.energy) for sample in episode.samples if sample.energy is not None]
        self._starts = episode.goal_starts()
        self._times = [sample.t for sample in episode.samples]
        self._end = max([episode.duration_s, 1.0, *self._times])
        highest = max([energy for _, energy in self._curve] + [threshold or 0.0, 0.1])
        self._top = 1.1 * highest
        self._fonts = {size: _font(size) for size in (12, 13, 15, 22)}

    def _x(self, t: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * min(t, self._end) / self._end

    def _y(self, energy: float) -> float:
        return CHART_TOP + CHART_HEIGHT * (1.0 - min(energy, self._top) / self._top)

    def _text(self, draw: ImageDraw.ImageDraw, xy, text: str, **style) -> None:
        """`style`: size, fill and anchor (Pillow's; left and ascender by default)."""
        font = self._fonts[style["size"]]
        draw.text(xy, text, fill=style["fill"], font=font, anchor=style.get("anchor", "la"))

    def paint(self, picture: Image.Image, t: float, *, final: bool = False) -> Image.Image:
        """The whole picture at time `t` with the camera's `picture`; `final` adds the verdict."""
        canvas = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        at = bisect.bisect_right(self._times, t) - 1
        sample = self._episode.samples[max(at, 0)] if self._episode.samples else None
        index = sample.goal_index if sample else 0
        name = (sample.goal if sample else "") or (self._episode.goals[:1] or [""])[0]
        count = max(len(self._goals), index + 1)

        self._text(draw, (MARGIN, TITLE_TOP), f"Goal {index + 1} of {count}", size=22, fill=TEXT)
        left = MARGIN + draw.textlength(f"Goal {index + 1} of {count}", font=self._fonts[22]) + 12
        self._text(draw, (left, TITLE_TOP), name.replace("_", " "), size=22, fill=ACCENT)
        if final:
            success = self._episode.verdict.success
            self._text(
                draw,
                (WIDTH - MARGIN, TITLE_TOP + 4),
                self._verdict(),
                size=15,
                fill=GOOD if success else BAD,
                anchor="ra",
            )
        else:
            self._text(draw, (WIDTH - MARGIN, TITLE_TOP + 4), f"{t:.1f} s", size=15, fill=MUTED, anchor="ra")

        right = MARGIN + PICTURE[0] + GAP
        self._text(draw, (MARGIN, PICTURES_TOP - 7), "camera", size=13, fill=MUTED, anchor="ls")
        self._text(draw, (right, PICTURES_TOP - 7), "goal image", size=13, fill=MUTED, anchor="ls")
        canvas.paste(_fit(picture), (MARGIN, PICTURES_TOP))
        if self._goals:
            canvas.paste(self._goals[min(index, len(self._goals) - 1)], (right, PICTURES_TOP))
        self._chart(canvas, t)
        return canvas

    def _verdict(self) -> str:
        verdict = self._episode.verdict
        word = (
            ("reached" if verdict.reached else "not reached")
            if self._episode.task == "reach"
            else ("lifted and placed" if verdict.placed else "lifted" if verdict.lifted else "not lifted")
        )
        return word if verdict.error_cm is None else f"{word}, {verdict.error_cm:.1f} cm off"

    def _chart(self, canvas: Image.Image, t: float) -> None:
        draw = ImageDraw.Draw(canvas)
        past = [point for point in self._curve if point[0] <= t]
        energy = f"{past[-1][1]:.3f}" if past else ""
        self._text(
            draw, (MARGIN, CHART_TOP - 9), "energy to the goal image", size=13, fill=MUTED, anchor="ls"
        )
        self._text(draw, (WIDTH - MARGIN, CHART_TOP - 9), energy, size=15, fill=ACCENT, anchor="rs")

        # The lines at twice the size, then reduced: Pillow does not smooth them.
        scale = SUPERSAMPLE
        box = (0, CHART_TOP - 4, WIDTH, CHART_TOP + CHART_HEIGHT + 4)
        layer = Image.new("RGB", (WIDTH * scale, (box[3] - box[1]) * scale), BACKGROUND)
        fine = ImageDraw.Draw(layer)

        def at(x: float, y: float) -> tuple[float, float]:
            return x * scale, (y - box[1]) * scale

        low, high = CHART_TOP + CHART_HEIGHT, CHART_TOP
        fine.rectangle([at(MARGIN, high), at(WIDTH - MARGIN, low)], fill=PANEL)
        if self._threshold is not None:
            y = self._y(self._threshold)
            for x in range(MARGIN, WIDTH - MARGIN, 10):
                fine.line([at(x, y), at(min(x + 5, WIDTH - MARGIN), y)], fill=MUTED, width=scale)
        for start, _, _ in self._starts[1:]:
            if start <= t:
                fine.line([at(self._x(start), high), at(self._x(start), low)], fill=LINE, width=scale)
        for number, (start, _, _) in enumerate(self._starts):
            after = self._starts[number + 1][0] if number + 1 < len(self._starts) else float("inf")
            points = [at(self._x(x), self._y(y)) for x, y in past if start <= x < after]
            if len(points) > 1:
                fine.line(points, fill=ACCENT, width=2 * scale, joint="curve")
        if past:
            x, y = at(self._x(past[-1][0]), self._y(past[-1][1]))
            fine.ellipse([x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale], fill=ACCENT)
        canvas.paste(layer.resize((WIDTH, box[3] - box[1]), Image.Resampling.BOX), (0, box[1]))

        for number, (start, index, _) in enumerate(self._starts):
            if start <= t:
                after = self._starts[number + 1][0] if number + 1 < len(self._starts) else self._end
                if self._x(after) - self._x(start) >= 14:
                    self._text(draw, (self._x(start) + 4, high + 3), str(index + 1), size=12, fill=MUTED)
        self._text(draw, (MARGIN, low + 18), "0 s", size=12, fill=MUTED, anchor="ls")
        self._text(draw, (WIDTH - MARGIN, low + 18), f"{self._end:.0f} s", size=12, fill=MUTED, anchor="rs")
        self._text(draw, (WIDTH / 2, low + 18), self._headline, size=12, fill=MUTED, anchor="ms")


def _chosen(frames: Sequence[Frame], period_s: float) -> list[Frame]:
    """Frames at least `period_s` apart (5 ms of slack for jitter), the last one included."""
    kept: list[Frame] = []
    for frame in frames:
        if not kept or frame.t - kept[-1].t >= period_s - 0.005:
            kept.append(frame)
    if frames and kept[-1] is not frames[-1]:
        kept.append(frames[-1])
    return kept


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """One palette for the whole film: GIF stores nothing for a pixel that stays equal."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT * len(pictures)))
    for row, picture in enumerate(pictures):
        sheet.paste(picture, (0, row * HEIGHT))
    own = [*BACKGROUND, *PANEL, *TEXT, *MUTED, *LINE, *ACCENT, *GOOD, *BAD]
    free = 255 - len(own) // 3
    reduced = sheet.quantize(free, method=Image.Quantize.MEDIANCUT)
    palette = Image.new("P", (1, 1))
    palette.putpalette(own + reduced.getpalette()[: 3 * free])
    return palette


def still(path: Path, painter: Painter, frames: Sequence[Frame]) -> None:
    """Writes the last moment of the episode as PNG; nothing without frames."""
    if frames:
        painter.paint(frames[-1].picture(), frames[-1].t, final=True).save(path, optimize=True)


def film(
    path: Path,
    painter: Painter,
    frames: Sequence[Frame],
    *,
    period_s: float = 0.1,
    limit_bytes: int = 6_000_000,
) -> None:
    """Writes the episode as GIF in real time; nothing without frames.

    The frame rate is halved until the file fits into `limit_bytes`.
    """
    if not frames:
        return

    def painted_at(frame: Frame) -> Image.Image:
        return painter.paint(frame.picture(), frame.t, final=frame is frames[-1])

    palette = _palette([painted_at(frame) for frame in (*frames[:: len(frames) // 6 + 1], frames[-1])])
    while True:
        chosen = _chosen(frames, period_s)
        painted = [painted_at(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in chosen]
        # GIF counts in hundredths of a second; the last picture stays for a while.
        moments = [round(frame.t * 100) for frame in chosen]
        durations = [10 * max(2, after - before) for before, after in itertools.pairwise(moments)]
        buffer = io.BytesIO()
        painted[0].save(
            buffer,
            "GIF",
            save_all=True,
            append_images=painted[1:],
            duration=[*durations, 2500] if len(painted) > 1 else 2500,
            loop=0,
            optimize=False,
        )
        if buffer.tell() <= limit_bytes or len(chosen) <= 8:
            path.write_bytes(buffer.getvalue())
            return
        period_s *= 2.0
