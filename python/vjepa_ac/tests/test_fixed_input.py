"""The fixed input of the checks, and the sums that the manifest records."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from vjepa_ac.check import session
from vjepa_ac.export import export_model
from vjepa_ac.fixed_input import fixed_input, summary, uniform
from vjepa_ac.golden import REPOSITORY, TEST_MODELS
from vjepa_ac.graph import METADATA_KEY

from .small import SMALL, small_model

NUMBERS = {
    name: number
    for number, name in enumerate(
        ("frames", "context", "context_states", "context_actions", "actions", "states", "goal")
    )
}
HALF_WIDTHS = {"context": 1.732, "goal": 1.732, "context_states": 0.5, "states": 0.5}


def scrambled(k: int) -> float:
    """The number in 0..1 that belongs to k, in plain integers."""
    k &= 0xFFFFFFFF
    k = (k ^ k >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    k = (k ^ k >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return ((k ^ k >> 16) >> 8) / 2**24


@pytest.mark.parametrize("sequence", [0, 3, 7, 4300])
def test_uniform(sequence: int) -> None:
    assert uniform(50, sequence).tolist() == [scrambled(i + 1_000_003 * sequence) for i in range(50)]


@pytest.mark.parametrize("name", NUMBERS)
def test_ranges(name: str) -> None:
    values = fixed_input(name, (2, 300, 7))
    assert values.dtype == np.float32 and values.shape == (2, 300, 7)
    low, high = (0, 255) if name == "frames" else (-HALF_WIDTHS.get(name, 0.1), HALF_WIDTHS.get(name, 0.1))
    u = scrambled(4000 + 1_000_003 * NUMBERS[name])
    assert values.ravel()[4000] == np.float32(low + (high - low) * u)
    assert values.min() < low + 0.01 * (high - low) and values.max() > high - 0.01 * (high - low)


def test_summary() -> None:
    values = np.array([[0.5, -2.0], [1.0, 0.25]], np.float32)
    found = summary(values)
    assert found["mean_abs"] == 3.75 / 4
    expected = sum(
        float(x) * (2 * scrambled(i + 7 * 1_000_003) - 1) for i, x in enumerate(values.ravel())
    ) / math.sqrt(4)
    assert found["projection"] == pytest.approx(expected, abs=1e-15)


def models_with_checks(tmp_path: Path) -> list[Path]:
    export_model(small_model(), SMALL, tmp_path, contexts=(1, 3), horizons=(2,))
    return [tmp_path, REPOSITORY / "models/demo", *sorted(TEST_MODELS.iterdir())]


def test_manifests_tell_what_the_graphs_give(tmp_path: Path) -> None:
    """Recorded sums and recorded facts, of a new export and of the models in the repository."""
    for folder in models_with_checks(tmp_path):
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
        assert manifest["format"] == 2
        rollouts = {rollout["file"]: rollout for rollout in manifest["rollouts"]}
        assert set(manifest["checks"]) == {"encoder.onnx", *rollouts}
        for name, recorded in manifest["checks"].items():
            run = session(folder / name)
            inputs = {
                put.name: fixed_input(put.name, tuple(2 if size == "B" else size for size in put.shape))
                for put in run.get_inputs()
            }
            assert set(recorded) == {put.name for put in run.get_outputs()}
            within = {"fp32": 1e-3, "fp16": 3e-2}[manifest["precision"]]
            for output, sums in recorded.items():
                (value,) = run.run([output], inputs)
                assert summary(value) == pytest.approx(sums, abs=within)

            properties = onnx.load(folder / name, load_external_data=False).metadata_props
            (entry,) = [entry.value for entry in properties if entry.key == METADATA_KEY]
            facts = json.loads(entry)
            assert entry == json.dumps(facts, sort_keys=True)
            if name in rollouts:
                for size in ("context", "horizon"):
                    assert facts.pop(size) == rollouts[name][size]
            assert facts == {
                field: manifest[field]
                for field in (
                    "format",
                    "precision",
                    "image_size",
                    "patch_size",
                    "tokens",
                    "latent_dim",
                    "resize_filter",
                    "rate_hz",
                    "max_step_m",
                    "architecture",
                )
            }
