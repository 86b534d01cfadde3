"""Checkpoints: the published layout, what is ignored, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from vjepa_ac.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from vjepa_ac.random_weights import random_model

from .small import SMALL, small_model


def test_published_layout(tmp_path: Path) -> None:
    """Prefixes, training state beside the weights, parameters of options that are off."""
    model, path = small_model(), tmp_path / "weights.pt"
    networks = {"encoder": model.encoder, "predictor": model.predictor}
    stored: dict = {
        part: {f"module.backbone.{name}": tensor for name, tensor in network.state_dict().items()}
        for part, network in networks.items()
    }
    stored["encoder"]["module.backbone.pos_embed"] = torch.zeros(1, 4, 24)
    stored["predictor"]["module.backbone.extrinsics_encoder.weight"] = torch.zeros(28, 6)
    opt = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}},
        "param_groups": [{"lr": 1e-4}],
    }
    stored |= {"opt": opt, "scaler": None, "target_encoder": {"x": torch.full((1,), torch.nan)}}
    stored |= {"epoch": 315, "loss": 0.4, "lr": 1e-5, "betas": [0.9, 0.999], "note": "text"}
    torch.save(stored, path)
    loaded = load_checkpoint(path, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_old_file_format(tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "weights.pt"
    stored = {"encoder": model.encoder.state_dict(), "predictor": model.predictor.state_dict()}
    torch.save(stored, path, _use_new_zipfile_serialization=False)
    loaded = load_checkpoint(path, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_converted(dtype: torch.dtype, tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "weights.pt"
    save_checkpoint(path, small_model().to(dtype))
    for found, expected in zip(load_checkpoint(path, SMALL).parameters(), model.parameters(), strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, expected.to(dtype).float())


def test_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_checkpoint(path, small_model())
    stored = torch.load(path, weights_only=True)
    predictor = stored["predictor"]
    predictor["predictor_norm.weight"] = torch.zeros(3)
    predictor["predictor_norm.bias"] = torch.zeros(28, dtype=torch.int64)
    predictor["predictor_blocks.1.mlp.fc1.weight"][3, 4] = torch.nan
    predictor["predictor_blocks.1.mlp.fc2.weight"][0, 0] = -torch.inf
    predictor["predictor_embed.bias"] = [0.0] * 28
    del predictor["predictor_proj.bias"]
    torch.save(stored, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, SMALL)
    for fault in (
        "predictor.predictor_norm.weight has shape [3], the architecture needs [28]",
        "predictor.predictor_norm.bias holds torch.int64, not floating-point numbers",
        "predictor.predictor_blocks.1.mlp.fc1.weight holds values that are not finite",
        "predictor.predictor_blocks.1.mlp.fc2.weight holds values that are not finite",
        "predictor.predictor_embed.bias is missing",
        "predictor.predictor_proj.bias is missing",
    ):
        assert fault in str(caught.value)


class Malicious:
    """Would run a command where pickles are executed."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def test_what_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    torch.save({"encoder": {}}, path)
    with pytest.raises(CheckpointError, match="no `predictor` state dict"):
        load_checkpoint(path, SMALL)
    torch.save({"encoder": {}, "predictor": {}, "opt": Malicious()}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of plain tensors"):
        load_checkpoint(path, SMALL)
    assert not (tmp_path / "executed").exists()
    save_checkpoint(path, small_model())
    for broken in (b"not a checkpoint", b"", path.read_bytes()[:-5000]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="is not a checkpoint of plain tensors"):
            load_checkpoint(path, SMALL)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "absent.pt", SMALL)


def test_random_weights_follow_their_seed() -> None:
    first, same, other = (random_model(SMALL, seed, lambda _: None) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
