"""Markdown table of the figures that benches/gpu.sh left in a folder: `gpu_table.py FOLDER`."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
gpu = folder / "gpu.txt"
print(f"\n{gpu.read_text(encoding='utf-8').strip() if gpu.is_file() else 'GPU unknown'}\n")
print(
    "| provider | precision | encode p50 / p99 (ms) | batch | call p50 / p99 (ms) | ms/candidate | TFLOP/s |"
)
print("|---|---|---|---|---|---|---|")
for path in sorted(folder.glob("*-*.json")):
    report = json.loads(path.read_text(encoding="utf-8"))
    encode = report["encode"]
    for row in report["rollout"]:
        print(
            f"| {report['provider']} | {report['precision']}"
            f" | {encode['p50_ms']:.2f} / {encode['p99_ms']:.2f} | {row['batch']}"
            f" | {row['call_p50_ms']:.2f} / {row['call_p99_ms']:.2f} | {row['candidate_ms']:.3f}"
            f" | {row['gflop_per_s'] / 1e3:.1f} |"
        )
