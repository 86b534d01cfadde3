"""Train the demo model, probe it and export it.

python -m vjepa_ac.train --data out/train-data --out models/demo [--steps N] [--arch demo] …

The data come from `python -m sim.dataset`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..check import CheckError
from ..checkpoint import save_checkpoint
from ..config import ArchitectureError, load_architecture
from ..export import ExportError, export_model, file_sha256
from ..model import WorldModel
from .data import DataError, load_clips
from .fit import Settings, fit
from .losses import WEIGHTS
from .probes import landscape, linear_probes

SUPERVISION = (
    "self-supervised prediction (one and two steps, L1) with a variance-covariance penalty and inverse"
    " dynamics; besides, a pixel decoder and a regression of end effector, gripper and cube positions from"
    " simulator labels, both dropped after training"
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vjepa_ac.train", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder written by sim.dataset")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--arch", default="demo", help="named architecture, or a file of its fields")
    parser.add_argument("--picture-steps", type=int, default=Settings.picture_steps, help="encoder alone")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="everything")
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--held-out", type=int, default=60, help="episodes kept for probes")
    parser.add_argument("--gripper", choices=("commanded", "achieved"), default="commanded")
    parser.add_argument("--horizon", type=int, nargs="+", default=[1, 2, 4, 8], help="horizons to export")
    parser.add_argument(
        "--checkpoint", type=Path, help="where to keep the weights (default: beside the data)"
    )
    parser.add_argument("--save-every", type=int, default=0, help="write the checkpoint every so many steps")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    checkpoint = args.checkpoint or args.data / "demo.pt"
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        arch = load_architecture(args.arch)
        known, unseen = load_clips(args.data, args.gripper).split(args.held_out)
        begin = time.monotonic()

        def keep(step: int, model: WorldModel) -> None:
            if args.save_every and step % args.save_every == 0:
                save_checkpoint(checkpoint, model)

        settings = Settings(
            picture_steps=args.picture_steps, steps=args.steps, batch=args.batch, seed=args.seed
        )
        model = fit(arch, known, settings, keep)
        seconds = time.monotonic() - begin
        save_checkpoint(checkpoint, model)
        figures = {
            "data": json.loads((args.data / "dataset.json").read_text()),
            **dataclasses.asdict(settings),
            "seconds": round(seconds),
            "supervision": SUPERVISION,
            "loss_weights": WEIGHTS,
            "gripper_action": args.gripper,
            "probes": linear_probes(model, known, unseen, args.seed),
            "landscape": landscape(model, unseen, args.seed),
        }
        print(json.dumps({name: figures[name] for name in ("seconds", "probes", "landscape")}, indent=2))
        export_model(
            model,
            arch,
            args.out,
            contexts=(1,),
            horizons=args.horizon,
            resize_filter="bilinear_antialias",
            max_step_m=0.05,
            manifest_extra={
                "license": "MIT OR Apache-2.0",
                "checkpoint_sha256": file_sha256(checkpoint),
                "training": figures,
            },
        )
    except (ArchitectureError, CheckError, DataError, ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
