#!/usr/bin/env bash
# The full-size table on a machine with an NVIDIA GPU; benches/gpu.md says more.
# Usage: benches/gpu.sh [CHECKPOINT]     without a checkpoint: random weights, which cost the same time
set -euo pipefail
cd "$(dirname "$0")/.."
out=out/bench-gpu
mkdir -p "$out"

make setup-train build
scripts/environment.sh "$(scripts/python.sh)" .venv-gpu gpu

weights=(--random-weights 0)
[ $# -gt 0 ] && weights=(--checkpoint "$1")
for precision in fp32 fp16; do
    [ -f "models/bench_$precision/manifest.yaml" ] ||
        PYTHONPATH=python .venv-train/bin/python -m vjepa_ac.export "${weights[@]}" --arch vjepa2_ac_vitg \
            --context 1 2 --horizon 1 2 --precision "$precision" --out "models/bench_$precision"
done

# The GPU build of ONNX Runtime lies beside the project's own; the program is the same.
ORT_DYLIB_PATH=$(echo .venv-gpu/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
export ORT_DYLIB_PATH
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
for precision in fp32 fp16; do
    for provider in cuda tensorrt; do
        echo "== $provider, $precision"
        target/release/vjepa-planner check --model "models/bench_$precision" --provider "$provider" ||
            echo "the outputs are not as exported: report this with the table"
        target/release/vjepa-planner bench --model "models/bench_$precision" --provider "$provider" \
            --batch 1,4,16,33,64,128 --runs 30 --json >"$out/$provider-$precision.json"
    done
done
.venv-train/bin/python benches/gpu_table.py "$out"
