"""Graphs in half precision: interface, arithmetic, order of candidates, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import Tensor

from vjepa_ac import check, export
from vjepa_ac.check import CheckError, feed, rank, rollout_inputs, session
from vjepa_ac.checkpoint import load_checkpoint
from vjepa_ac.config import ARCHITECTURES, Architecture
from vjepa_ac.emit import emit_rollout
from vjepa_ac.export import export_model, main
from vjepa_ac.golden import REPOSITORY, TEST_MODELS
from vjepa_ac.graph import Graph, GraphError
from vjepa_ac.half import HalfPrecisionRun
from vjepa_ac.model import Predictor, WorldModel, energies, rollout_states
from vjepa_ac.random_weights import random_model

from .small import SMALL

OUTPUTS = ["energy_l1", "energy_l2", "final"]


def quiet_model(arch: Architecture = SMALL) -> WorldModel:
    return random_model(arch, 4, lambda _: None)


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "RANKING_CANDIDATES", (16, 40))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_operator_by_operator(precision: str, tmp_path: Path) -> None:
    """Our own run of a graph: ONNX Runtime's result in f32; in f16 near it, but with the roundings."""
    arch = replace(SMALL, stem="conv", residual_prediction=True)
    export_model(quiet_model(arch), arch, tmp_path, contexts=(3,), horizons=(2,), precision=precision)
    path = tmp_path / "rollout_t3_h2.onnx"
    inputs = feed(rollout_inputs(arch, 3, 2, 4, seed=0))
    expected, found = session(path).run(OUTPUTS, inputs), HalfPrecisionRun(path).run(OUTPUTS, inputs)
    differences = [np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]
    if precision == "fp32":
        assert max(differences) < 1e-5
    else:
        assert 1e-4 < differences[2] < 3e-2


def test_interface_stays_f32(tmp_path: Path) -> None:
    for precision in ("fp32", "fp16"):
        export_model(quiet_model(), SMALL, tmp_path / precision, contexts=(1, 2), precision=precision)
    for name in ("encoder.onnx", "rollout_t1_h1.onnx", "rollout_t2_h1.onnx"):
        wide, half = (
            onnx.load(tmp_path / precision / name, load_external_data=False).graph
            for precision in ("fp32", "fp16")
        )
        assert list(half.input) == list(wide.input) and list(half.output) == list(wide.output)
        kinds = {tensor.name: tensor.data_type for tensor in half.initializer}
        float16, float32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
        for tensor, kind in kinds.items():
            stays = "norm" in tensor or "action" in tensor or "state" in tensor
            if tensor.startswith(("encoder.", "predictor.")):
                assert kind == (float32 if stays else float16), tensor
        for node in half.node:
            if node.op_type == "LayerNormalization":
                assert kinds[node.input[1]] == float32
    sizes = [(tmp_path / p / "predictor.weights").stat().st_size for p in ("fp32", "fp16")]
    assert 0.4 < sizes[1] / sizes[0] < 0.7


def test_wrong_graph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def emit_wrong(g: Graph, arch: Architecture, _: Predictor, context: int, horizon: int) -> None:
        wrong = quiet_model().predictor
        with torch.no_grad():
            wrong.predictor_blocks[1].attn.proj.bias[3] += 0.5
        emit_rollout(g, arch, wrong, context, horizon)

    monkeypatch.setattr(export, "emit_rollout", emit_wrong)
    with pytest.raises(CheckError, match=r"rollout_t1_h1\.onnx differs from PyTorch by .* fp16 may by"):
        export_model(quiet_model(), SMALL, tmp_path, precision="fp16")
    assert not (tmp_path / "manifest.yaml").exists()


def test_wrong_order_is_refused(tmp_path: Path) -> None:
    """Actions that drown in the rounding: latents are near, yet the wrong candidates win."""
    model = quiet_model()
    with torch.no_grad():
        model.predictor.action_encoder.weight.mul_(2e-4)
    with pytest.raises(CheckError, match=r"rollout_t1_h1\.onnx orders candidates otherwise than PyTorch"):
        export_model(model, SMALL, tmp_path, precision="fp16")
    assert not (tmp_path / "manifest.yaml").exists()


def test_weights_beyond_half_precision_are_named(tmp_path: Path) -> None:
    model = quiet_model()
    with torch.no_grad():
        model.encoder.blocks[1].mlp.fc2.weight[0, 0] = 7e4
    message = (
        r"encoder\.blocks\.1\.mlp\.fc2\.weight does not fit into half precision: its largest value is 7e\+04"
    )
    with pytest.raises(GraphError, match=message):
        export_model(model, SMALL, tmp_path, precision="fp16")


def test_rank() -> None:
    energies = np.linspace(0, 1, 50)
    same = rank(energies * 2 + 1, energies)
    assert same.admissible and same.spearman == pytest.approx(1) and same.common == same.best == 10
    swapped = energies.copy()
    swapped[:2] = swapped[1::-1]
    assert rank(swapped, energies).admissible
    late = energies.copy()
    late[[0, 1, 48, 49]] = late[[48, 49, 0, 1]]
    assert rank(late, energies).common == 8 and not rank(late, energies).admissible
    assert not rank(energies[::-1].copy(), energies).admissible
    assert rank(energies[:16], energies[:16]).best == 4


def demo_plans() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Pictures of the simulated camera, the next goal's, states, and candidates from the whole box."""
    stored = np.load(Path(__file__).with_name("demo_frames.npz"))
    generator = torch.Generator().manual_seed(0)
    plans = []
    for frame, goal, state in zip(stored["frames"], stored["goals"], stored["states"], strict=True):
        actions = torch.zeros(256, 1, 7)
        actions[..., :3] = 0.05 * (2 * torch.rand(256, 1, 3, generator=generator) - 1)
        actions[..., 6] = torch.rand(256, 1, generator=generator) - float(state[6])
        plans.append((torch.from_numpy(frame), torch.from_numpy(goal), torch.from_numpy(state), actions))
    return plans


@torch.no_grad()
@pytest.mark.parametrize("way", ["onnxruntime", "half arithmetic"])
def test_demo_model_plans_alike(way: str) -> None:
    """The demo's model in half precision, encoder and predictor, orders candidates as PyTorch does in f32."""
    folder = TEST_MODELS / "demo_fp16"
    model = load_checkpoint(REPOSITORY / "models/demo/checkpoint.pt", ARCHITECTURES["demo"])

    def opened(name: str):
        path = folder / name
        return session(path).run if way == "onnxruntime" else HalfPrecisionRun(path).run

    encode, rollout = opened("encoder.onnx"), opened("rollout_t1_h1.onnx")
    for frame, goal, state, actions in demo_plans():
        states = rollout_states(state, actions)
        wanted = model.encode(torch.stack((frame, goal)))
        final = model.rollout(wanted[None, :1], state[None, None], actions[:1, :0], actions, states)[:, -1]
        (latents,) = encode(["latents"], {"frames": torch.stack((frame, goal)).float().numpy()})
        found = rollout(
            OUTPUTS[:2],
            {
                "context": latents[None, :1],
                "context_states": state[None, None].numpy(),
                "actions": actions.numpy(),
                "states": states.numpy(),
                "goal": latents[1:],
            },
        )
        for have, want in zip(found, energies(final, wanted[1:]), strict=True):
            ranking = rank(have, want.numpy())
            print(ranking)
            assert ranking.spearman >= 0.995 and ranking.common >= 9


def test_command_line_with_random_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch_file = tmp_path / "arch.json"
    arch_file.write_text(json.dumps(SMALL.to_dict()))
    call = ["--arch", str(arch_file), "--precision", "fp16", "--out"]
    for name in ("a", "b"):
        assert main([*call, str(tmp_path / name), "--random-weights", "7"]) == 0
    first, second = (yaml.safe_load((tmp_path / name / "manifest.yaml").read_text()) for name in ("a", "b"))
    assert first["files"] == second["files"] and first["checks"] == second["checks"]
    assert first["precision"] == "fp16" and first["checkpoint_sha256"] is None
    assert first["training"] == {"data": "none: random weights, seed 7"}
    assert "GiB of memory" in capsys.readouterr().out
    for wrong in ([], ["--random-weights", "1", "--checkpoint", "x.pt"]):
        with pytest.raises(SystemExit):
            main([*call, str(tmp_path / "c"), *wrong])
