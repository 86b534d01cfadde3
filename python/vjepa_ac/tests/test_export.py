"""Exported graphs: same function as PyTorch, the promised interface, a manifest only when all is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml

from vjepa_ac import export
from vjepa_ac.check import CheckError, session
from vjepa_ac.checkpoint import save_checkpoint
from vjepa_ac.config import ARCHITECTURES, Architecture, ArchitectureError, load_architecture
from vjepa_ac.emit import emit_rollout
from vjepa_ac.export import ExportError, export_model, file_sha256, main
from vjepa_ac.graph import Graph, WeightFile
from vjepa_ac.model import WorldModel

from .small import SMALL, small_model


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"stem": "conv"},
        {"stem": "conv", "stem_channels": [6, 10, 12], "residual_prediction": True},
        {"predictor_depth": 1},
        {"predictor_depth": 3, "patch_size": 8, "predictor_embed_dim": 24},
    ],
    ids=str,
)
def test_graphs_equal_pytorch(change: dict, tmp_path: Path) -> None:
    arch = replace(SMALL, **change)
    model = small_model(arch)
    manifest = yaml.safe_load(
        export_model(model, arch, tmp_path, contexts=(1, 2, 3), horizons=(1, 2)).read_text()
    )
    assert len(manifest["rollouts"]) == 6
    assert manifest["files"] == {name: file_sha256(tmp_path / name) for name in manifest["files"]}
    assert Architecture.from_dict(manifest["architecture"]) == arch
    assert load_architecture(tmp_path / "manifest.yaml") == arch


def test_interface(tmp_path: Path) -> None:
    export_model(small_model(), SMALL, tmp_path, contexts=(1, 2), horizons=(2,))
    n, d, size = SMALL.tokens, SMALL.embed_dim, SMALL.image_size

    def shapes(file: str) -> tuple[dict, dict]:
        run = session(tmp_path / file)
        return tuple(
            {put.name: (put.type, put.shape) for put in puts}
            for puts in (run.get_inputs(), run.get_outputs())
        )

    floats = "tensor(float)"
    inputs, outputs = shapes("encoder.onnx")
    assert inputs == {"frames": (floats, ["B", size, size, 3])}
    assert outputs == {"latents": (floats, ["B", n, d])}
    for steps in (1, 2):
        inputs, outputs = shapes(f"rollout_t{steps}_h2.onnx")
        expected = {
            "context": (floats, [1, steps, n, d]),
            "context_states": (floats, [1, steps, 7]),
            "actions": (floats, ["B", 2, 7]),
            "states": (floats, ["B", 2, 7]),
            "goal": (floats, [1, n, d]),
        }
        if steps > 1:
            expected["context_actions"] = (floats, [1, steps - 1, 7])
        assert inputs == expected
        assert outputs == {
            "energy_l1": (floats, ["B"]),
            "energy_l2": (floats, ["B"]),
            "final": (floats, ["B", n, d]),
        }


def test_graphs_share_work(tmp_path: Path) -> None:
    """Operators with kernels of their own stay whole; what belongs to the context is computed once."""
    export_model(small_model(), SMALL, tmp_path, contexts=(2,), horizons=(1,))
    nodes = onnx.load(tmp_path / "rollout_t2_h1.onnx", load_external_data=False).graph.node
    kinds = [node.op_type for node in nodes]
    assert "Erf" not in kinds and "Identity" not in kinds
    # Two blocks: of the earlier step only the first block's (the second needs keys and values alone).
    assert kinds.count("Gelu") == 3
    # Repeated for every candidate: the residual stream of the current frame's patches, and the context's keys
    # and values for each of the two blocks.
    assert kinds.count("Expand") == 1 + 2 * 2
    assert kinds.count("Softmax") == 1 + 1 + 1 + 1 + 1


def test_wrong_graph_leaves_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_model(small_model(), SMALL, tmp_path)

    def emit_wrong(g: Graph, arch: Architecture, predictor, context: int, horizon: int) -> None:
        wrong = small_model().predictor
        with torch.no_grad():
            wrong.predictor_blocks[1].attn.proj.bias[3] += 0.01
        emit_rollout(g, arch, wrong, context, horizon)

    monkeypatch.setattr(export, "emit_rollout", emit_wrong)
    with pytest.raises(CheckError, match=r"rollout_t1_h1\.onnx differs from PyTorch"):
        export_model(small_model(), SMALL, tmp_path)
    assert not (tmp_path / "manifest.yaml").exists()


def test_one_name_is_one_tensor(tmp_path: Path) -> None:
    weights = WeightFile(tmp_path / "w")
    graph = Graph("g", weights)
    first = np.arange(100, dtype=np.float32)
    assert graph.tensor("a", first) == graph.tensor("a", first)
    with pytest.raises(ValueError, match="two different tensors are named a"):
        Graph("h", weights).tensor("a", first + 1)
    weights.close()


def test_too_many_steps(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="needs 5 time steps, the predictor has 1 to 4"):
        export_model(small_model(), SMALL, tmp_path, contexts=(4,), horizons=(2,))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch_file = tmp_path / "arch.yaml"
    arch_file.write_text(yaml.safe_dump(SMALL.to_dict()))
    save_checkpoint(tmp_path / "weights.pt", small_model(), epoch=1)
    call = ["--checkpoint", str(tmp_path / "weights.pt"), "--out", str(tmp_path / "out"), "--arch"]
    assert main([*call, str(arch_file), "--horizon", "1", "2"]) == 0
    assert (tmp_path / "out" / "rollout_t1_h2.onnx").exists()
    assert main([*call, str(arch_file)]) == 0
    assert not (tmp_path / "out" / "rollout_t1_h2.onnx").exists(), "a former export's graph is left over"
    assert main([*call, "demo"]) == 1
    assert "encoder.patch_embed.convs.0.weight is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 40}, "not a multiple of patch_size"),
        ({"num_heads": 5}, "embed_dim 24 is not a multiple of num_heads"),
        ({"depth": 0}, "depth must be a positive number"),
        ({"depth": 1.5}, "depth must be a whole number"),
        ({"stem": "resnet"}, "stem must be"),
        ({"stem": "conv", "stem_channels": [3]}, "stem_channels needs 3 entries"),
        ({"colour": 1}, "unknown architecture fields: colour"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_architectures(change: dict, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_dict({**SMALL.to_dict(), **change})


def test_named_architectures() -> None:
    with torch.device("meta"):
        predictor = WorldModel(ARCHITECTURES["vjepa2_ac_vitg"]).predictor
    assert sum(p.numel() for p in predictor.parameters()) == pytest.approx(305e6, rel=0.01)
    with pytest.raises(ArchitectureError, match="neither a file nor one of the named"):
        load_architecture("nowhere")


@pytest.mark.parametrize("name", ["arch.json", "arch.yaml"])
def test_broken_architecture_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{depth: [")
    with pytest.raises(ArchitectureError, match=f"{name} is not a YAML or JSON file"):
        load_architecture(tmp_path / name)
