#!/usr/bin/env bash
# Makes a Python environment with extras of python/pyproject.toml.
# Usage: scripts/environment.sh PYTHON FOLDER EXTRA…
set -euo pipefail

python=$1 folder=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)

echo "setup: Python packages for ${*} into $folder"
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/python" "$root/scripts/requirements.py" "$root/python/pyproject.toml" "$@" >"$folder/requirements.txt"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$folder/requirements.txt"
