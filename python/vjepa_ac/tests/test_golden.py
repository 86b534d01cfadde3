"""The PyTorch definition computes what the original code computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_ac import golden as golden_module
from vjepa_ac import pose
from vjepa_ac.check import session
from vjepa_ac.checkpoint import save_checkpoint
from vjepa_ac.golden import TEST_MODELS, GoldenSet, export_golden, is_exported
from vjepa_ac.model import energies, normalise_latents, normalise_pixels, rollout_states
from vjepa_ac.preprocess import preprocess
from vjepa_ac.random_weights import random_model

from .conftest import Golden


def assert_close(found: torch.Tensor, expected: torch.Tensor, within: float) -> None:
    assert found.shape == expected.shape
    difference = (found - expected).abs()
    print(f"max {difference.max():.3g} mean {difference.mean():.3g}")
    assert difference.max() <= within


@torch.no_grad()
def test_encoder(golden: Golden) -> None:
    raw = golden.model.encoder(golden.vectors["pixels"])
    assert_close(raw, golden.vectors["encoder_raw"], 1e-4)
    assert_close(normalise_latents(raw), golden.vectors["encoder_norm"], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_predictor(golden: Golden, steps: int) -> None:
    latents = golden.vectors["encoder_norm"][None, :steps]
    actions, states = (golden.vectors[name][:, :steps] for name in ("actions", "states"))
    raw = golden.model.predictor(latents, actions, states)
    assert_close(raw.flatten(1, 2), golden.vectors[f"predictor_raw_T{steps}"], 1e-4)


def test_preprocessing(golden: Golden) -> None:
    size = golden.arch.image_size
    frames = np.stack([preprocess(f.numpy(), size, "bilinear") for f in golden.vectors["frames_u8"]])
    assert_close(normalise_pixels(torch.from_numpy(frames)), golden.vectors["pixels"], 1e-4)


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.numpy()], ids=["torch", "numpy"])
def test_poses(golden: Golden, convert) -> None:
    start, action, result = (
        convert(golden.vectors[f"pose_compose_{n}"]) for n in ("pose", "action", "result")
    )
    assert_close(torch.as_tensor(pose.compose(start, action)), torch.as_tensor(result), 1e-9)
    expected = golden.vectors["pose_diff_result"]
    assert_close(torch.as_tensor(pose.difference(start, result)), expected, 1e-9)


COORDINATES = {"0": 0, "1": 1, "2": 2, "3": 6}
"""Entries of the action that a recorded search's axes mean."""


def candidates(arguments: dict, noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Actions [samples,H,7] of one iteration from its noise [H,samples,4]."""
    bound = arguments["maxnorm"]
    drawn = noise.transpose(0, 1) * std + mean
    actions = torch.zeros(*drawn.shape[:2], 7)
    actions[..., :3] = drawn[..., :3].clamp(-bound, bound)
    actions[..., 6] = drawn[..., 3].clamp(-0.75, 0.75)
    for axis, value in arguments.get("axis", {}).items():
        # A pinned axis is both the mean and, after clipping, the value of every sample.
        actions[..., COORDINATES[axis]] = value
    if arguments["close_gripper"] is not None:
        actions[:, arguments["close_gripper"] :, 6] = 1.0
    return actions


@torch.no_grad()
def test_recorded_searches(golden: Golden) -> None:
    """The recorded planning runs, fed their noise: roll-out, pose composition, energies and the action."""
    latents, states = golden.vectors["encoder_norm"], golden.vectors["states"]
    for run, arguments in enumerate(golden.cem):
        horizon = arguments["rollout"]
        mean = torch.zeros(horizon, 4)
        std = torch.tensor([*[arguments["maxnorm"]] * 3, 1.0]).repeat(horizon, 1)
        for axis, value in arguments.get("axis", {}).items():
            mean[:, int(axis)] = value
        suffixes = ("", "", "", "_gripper")
        keep_mean = torch.tensor([arguments[f"momentum_mean{suffix}"] for suffix in suffixes])
        keep_std = torch.tensor([arguments[f"momentum_std{suffix}"] for suffix in suffixes])
        recorded = golden.vectors[f"cem{run}_energy"]
        found = []
        for noise in golden.vectors[f"cem{run}_noise"]:
            actions = candidates(arguments, noise, mean, std)
            composed = rollout_states(states[0, 0], actions)
            plan = (latents[None, :1], states[:, :1], actions[:1, :0], actions, composed)
            found.append(energies(golden.model.rollout(*plan)[:, -1], latents[1:2])[0])
            best = actions[found[-1].topk(arguments["topk"], largest=False).indices][..., [0, 1, 2, 6]]
            mean = best.mean(0) * (1 - keep_mean) + mean * keep_mean
            std = best.std(0) * (1 - keep_std) + std * keep_std
        assert_close(torch.stack(found), recorded, 1e-4)
        action = torch.zeros(horizon, 7)
        action[:, :3], action[:, 6] = mean[:, :3], mean[:, 3] * (mean[:, 3].abs() >= 0.25)
        assert_close(action, golden.vectors[f"cem{run}_action"], 1e-4)


def test_exported_graphs(golden: Golden, tmp_path: Path) -> None:
    """The graphs against the numbers of the original code, from the camera's frame on, without PyTorch."""
    export_golden(golden.files, tmp_path / golden.files.name)
    assert is_exported(golden.files, [tmp_path])
    folder, vectors = tmp_path / golden.files.name, golden.vectors
    size, n = golden.arch.image_size, golden.arch.tokens
    frames = np.stack([preprocess(f.numpy(), size, "bilinear") for f in vectors["frames_u8"]])
    (latents,) = session(folder / "encoder.onnx").run(["latents"], {"frames": frames})
    assert_close(torch.from_numpy(latents), vectors["encoder_norm"], 1e-4)
    for steps in (1, 2, 3):
        feed = {
            "context": vectors["encoder_norm"][None, :steps],
            "context_states": vectors["states"][:, :steps],
            "actions": vectors["actions"][:, steps - 1 : steps],
            "states": vectors["states"][:, steps - 1 : steps],
            "goal": vectors["encoder_norm"][1:2],
        }
        if steps > 1:
            feed["context_actions"] = vectors["actions"][:, : steps - 1]
        run = session(folder / f"rollout_t{steps}_h1.onnx")
        (final,) = run.run(["final"], {name: tensor.numpy() for name, tensor in feed.items()})
        expected = normalise_latents(vectors[f"predictor_raw_T{steps}"][:, -n:])
        assert_close(torch.from_numpy(final), expected, 1e-4)


def test_set_in_the_repository_is_not_exported_again(
    golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if golden.files.name != "golden_a":
        pytest.skip("not in the repository")
    assert is_exported(golden.files, [TEST_MODELS])
    monkeypatch.setattr(golden_module, "golden_sets", lambda: [golden.files])
    assert golden_module.main(["--out", str(tmp_path / "out")]) == 0
    assert "golden_a: exported already" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_odd_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another set: one block, heads whose width leaves a rest unrotated, a longer recorded search."""
    config = {"img": 96, "embed": 80, "depth": 1, "heads": 5, "pdim": 88, "pdepth": 1, "pheads": 4}
    meta = {"config": config, "cem": [{"rollout": 3}]}
    (tmp_path / "odd_meta.json").write_text(json.dumps(meta))
    files = GoldenSet(tmp_path, "odd")
    save_checkpoint(files.checkpoint, random_model(files.architecture, 3, lambda _: None))
    monkeypatch.setattr(golden_module, "golden_sets", lambda: [files])
    for _ in range(2):
        assert golden_module.main(["--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("odd: exported already") == 1
    assert (tmp_path / "out/odd/rollout_t1_h3.onnx").is_file()
    save_checkpoint(files.checkpoint, random_model(files.architecture, 4, lambda _: None))
    assert not is_exported(files, [tmp_path / "out"])
