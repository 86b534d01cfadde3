"""Film and still from made-up pictures."""

import pytest
from PIL import Image

from demo import film
from demo.film import Frame, Painter
from demo.results import Episode
from demo.tests import synthetic


def _painter(episode: Episode) -> Painter:
    goals = [synthetic.picture(*synthetic.at(number)) for number in range(len(episode.goals))]
    return Painter(episode, goals, 0.3, "model demo, cem")


@pytest.mark.parametrize("success", [True, False])
def test_film_lasts_as_long_as_the_episode(tmp_path, success):
    episode, frames = synthetic.episode("reach", success=success)
    path = tmp_path / "film.gif"
    film.film(path, _painter(episode), frames)
    with Image.open(path) as movie:
        assert movie.size == (film.WIDTH, film.HEIGHT)
        durations = []
        for number in range(movie.n_frames):
            movie.seek(number)
            durations.append(movie.info["duration"])
    assert movie.n_frames > 10
    assert sum(durations[:-1]) == pytest.approx(1000 * frames[-1].t, abs=60)
    assert durations[-1] == 2500


def test_film_drops_frames_until_it_is_small_enough(tmp_path):
    episode, frames = synthetic.episode("pick_place")
    film.film(tmp_path / "large.gif", _painter(episode), frames)
    large = (tmp_path / "large.gif").stat().st_size
    film.film(tmp_path / "small.gif", _painter(episode), frames, limit_bytes=int(0.7 * large))
    assert (tmp_path / "small.gif").stat().st_size <= 0.7 * large


def test_still_is_a_picture_of_the_end(tmp_path):
    episode, frames = synthetic.episode("pick_place")
    film.still(tmp_path / "still.png", _painter(episode), frames)
    with Image.open(tmp_path / "still.png") as picture:
        assert picture.size == (film.WIDTH, film.HEIGHT)
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert film.GOOD in [colour for _, colour in colours]


def test_no_frames_make_no_film(tmp_path):
    episode, _ = synthetic.episode("reach")
    film.film(tmp_path / "film.gif", _painter(episode), [])
    film.still(tmp_path / "still.png", _painter(episode), [])
    assert list(tmp_path.iterdir()) == []


def test_an_episode_without_statuses_and_odd_picture_sizes_can_be_drawn():
    episode = Episode(0, 1, "reach", ["target"])
    painter = Painter(episode, [Image.new("RGB", (64, 48))], None, "")
    frame = Frame.of(0.0, 8, 4, bytes(8 * 4 * 3))
    assert painter.paint(frame.picture(), 0.0).size == (film.WIDTH, film.HEIGHT)
