"""Architecture of a world model: every size and every option of the definition in `model.py`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import yaml


class ArchitectureError(ValueError):
    """An architecture that cannot be built, with the field at fault in the message."""


@dataclass(frozen=True)
class Architecture:
    """Sizes and options; the defaults that are not sizes are those of V-JEPA 2-AC."""

    image_size: int
    """Side of the square input picture, pixels."""
    embed_dim: int
    """Width of the encoder and of its latents."""
    depth: int
    num_heads: int
    predictor_embed_dim: int
    predictor_depth: int
    predictor_num_heads: int
    patch_size: int = 16
    tubelet_size: int = 2
    """Frames that one patch covers in time; a single frame is repeated that often."""
    mlp_ratio: float = 48 / 11
    predictor_mlp_ratio: float = 4.0
    eps: float = 1e-6
    """Epsilon of the LayerNorms that have parameters."""
    num_frames: int = 64
    """Frames the predictor was built for; it reads at most num_frames / tubelet_size time steps."""
    stem: str = "patch"
    """`patch`: one projection per patch, as in V-JEPA 2-AC. `conv`: strided convolutions to the same token
    grid, a deviation that lets a small model learn fine positions in minutes."""
    stem_channels: tuple[int, ...] = ()
    """Output channels of the convolutional stem's layers except the last (which has embed_dim). Empty:
    halved from embed_dim towards the picture."""
    residual_prediction: bool = False
    """Add the predictor's output to its input tokens (before LayerNorm). Also a deviation for small models:
    most of the next frame is the present one."""

    def __post_init__(self) -> None:
        positive = [f.name for f in dataclasses.fields(self) if f.type in ("int", "float")]
        for name in positive:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ArchitectureError(f"{name} must be a positive number, found {value!r}")
            if name not in ("mlp_ratio", "predictor_mlp_ratio", "eps") and not isinstance(value, int):
                raise ArchitectureError(f"{name} must be a whole number, found {value!r}")
        if not isinstance(self.residual_prediction, bool):
            raise ArchitectureError(
                f"residual_prediction must be true or false, found {self.residual_prediction!r}"
            )
        object.__setattr__(self, "stem_channels", tuple(self.stem_channels))
        if self.image_size % self.patch_size:
            raise ArchitectureError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.num_frames % self.tubelet_size:
            raise ArchitectureError(
                f"num_frames {self.num_frames} is not a multiple of tubelet_size {self.tubelet_size}"
            )
        for width, heads in (("embed_dim", "num_heads"), ("predictor_embed_dim", "predictor_num_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ArchitectureError(f"{width} {getattr(self, width)} is not a multiple of {heads}")
            head = getattr(self, width) // getattr(self, heads)
            if head < 6 or head % 2:
                raise ArchitectureError(
                    f"{width} / {heads} is {head}; rotary positions need an even number ≥ 6"
                )
        if self.stem not in ("patch", "conv"):
            raise ArchitectureError(f"stem must be `patch` or `conv`, found {self.stem!r}")
        if self.stem == "conv":
            layers = self.patch_size.bit_length() - 1
            if self.patch_size != 1 << layers or layers < 1:
                raise ArchitectureError(
                    f"stem `conv` needs a patch_size that is a power of two, found {self.patch_size}"
                )
            if self.stem_channels and len(self.stem_channels) != layers - 1:
                raise ArchitectureError(
                    f"stem_channels needs {layers - 1} entries for patch_size {self.patch_size},"
                    f" found {len(self.stem_channels)}"
                )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Patch tokens of one frame, N."""
        return self.grid**2

    @property
    def max_steps(self) -> int:
        """Time steps that the predictor accepts at most."""
        return self.num_frames // self.tubelet_size

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Output channels of each layer of the convolutional stem, from the picture inwards."""
        layers = self.patch_size.bit_length() - 1
        inner = self.stem_channels or tuple(
            max(8, self.embed_dim >> (layers - 1 - i)) for i in range(layers - 1)
        )
        return (*inner, self.embed_dim)

    def to_dict(self) -> dict:
        """All fields as plain values, for the manifest and for files."""
        return {**dataclasses.asdict(self), "stem_channels": list(self.stem_channels)}

    @classmethod
    def from_dict(cls, fields: dict) -> Architecture:
        """The architecture with these fields; unknown and missing ones are named in the error."""
        if not isinstance(fields, dict):
            raise ArchitectureError("an architecture is a mapping of field names to values")
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ArchitectureError(f"unknown architecture fields: {', '.join(unknown)}")
        missing = [n for n, f in known.items() if f.default is dataclasses.MISSING and n not in fields]
        if missing:
            raise ArchitectureError(f"missing architecture fields: {', '.join(missing)}")
        return cls(**fields)


ARCHITECTURES: dict[str, Architecture] = {
    "vjepa2_ac_vitg": Architecture(
        image_size=256,
        embed_dim=1408,
        depth=40,
        num_heads=22,
        predictor_embed_dim=1024,
        predictor_depth=24,
        predictor_num_heads=16,
    ),
    "demo": Architecture(
        image_size=64,
        embed_dim=128,
        depth=3,
        num_heads=4,
        mlp_ratio=4.0,
        predictor_embed_dim=128,
        predictor_depth=2,
        predictor_num_heads=4,
        num_frames=16,
        stem="conv",
        residual_prediction=True,
    ),
}


def load_architecture(name_or_file: str | Path) -> Architecture:
    """A named architecture, or one read from a YAML or JSON file of its fields.

    A file may also be a model's manifest: then its `architecture` entry counts.
    """
    if str(name_or_file) in ARCHITECTURES:
        return ARCHITECTURES[str(name_or_file)]
    path = Path(name_or_file)
    if not path.is_file():
        names = ", ".join(sorted(ARCHITECTURES))
        raise ArchitectureError(
            f"{name_or_file} is neither a file nor one of the named architectures ({names})"
        )
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ArchitectureError(f"{path} is not a YAML or JSON file: {error}") from error
    if isinstance(fields, dict) and isinstance(fields.get("architecture"), dict):
        fields = fields["architecture"]
    return Architecture.from_dict(fields)
