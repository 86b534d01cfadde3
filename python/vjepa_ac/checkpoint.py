"""Reading and writing checkpoints in the published V-JEPA 2-AC layout.

A file holds `{"encoder": state dict, "predictor": state dict, …}`; the published ones prefix parameter names
with `module.` and `backbone.`. Nothing in a file is executed: it is read with `weights_only`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import Architecture
from .model import WorldModel

PREFIXES = ("module.", "backbone.")


class CheckpointError(ValueError):
    """A checkpoint that does not fit the architecture; the message names the tensors."""


def _bare_name(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _load_network(network: nn.Module, part: str, stored: dict[str, Tensor], path: Path) -> None:
    stored = {_bare_name(name): tensor for name, tensor in stored.items()}
    wanted = network.state_dict()
    faults = []
    for name, tensor in wanted.items():
        if not isinstance(stored.get(name), Tensor):
            faults.append(f"{part}.{name} is missing")
        elif stored[name].shape != tensor.shape:
            found, needed = list(stored[name].shape), list(tensor.shape)
            faults.append(f"{part}.{name} has shape {found}, the architecture needs {needed}")
        elif not stored[name].is_floating_point():
            faults.append(f"{part}.{name} holds {stored[name].dtype}, not floating-point numbers")
        elif not all(bool(bound.isfinite()) for bound in stored[name].aminmax()):
            faults.append(f"{part}.{name} holds values that are not finite")
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise CheckpointError(f"{path} does not fit the architecture: {shown}")
    network.load_state_dict({name: stored[name] for name in wanted}, assign=True)
    network.float()


def load_checkpoint(
    path: str | Path, arch: Architecture, report: Callable[[str], None] = lambda _: None
) -> WorldModel:
    """The model with the weights of a checkpoint, in float32 on the CPU, in evaluation mode.

    The file is mapped, not read: f32 weights stay in it, and what the architecture does not use (optimiser
    state, unused heads) is never touched. Weights in half precision are converted.
    """
    path = Path(path)
    try:
        report(f"{path}: reading weights of {path.stat().st_size / 1e9:.2f} GB")
        mapped = zipfile.is_zipfile(path)  # not so in the format of PyTorch before 1.6
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of plain tensors: {error}") from error
    for part in ("encoder", "predictor"):
        if not isinstance(stored, dict) or not isinstance(stored.get(part), dict):
            raise CheckpointError(f"{path} has no `{part}` state dict")
    with torch.device("meta"):
        model = WorldModel(arch)
    _load_network(model.encoder, "encoder", stored["encoder"], path)
    _load_network(model.predictor, "predictor", stored["predictor"], path)
    model.reset_tables()  # made on the meta device above, so without values
    return model.eval()


def save_checkpoint(path: str | Path, model: WorldModel, **extra: object) -> None:
    """Write the model's weights in the same layout, with `extra` plain values beside them."""
    parts = {
        name: {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
        for name, network in (("encoder", model.encoder), ("predictor", model.predictor))
    }
    torch.save({**parts, **extra}, path)
