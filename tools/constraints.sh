#!/bin/sh
# Writes constraints.txt anew: the versions that a fresh environment gets today.
# torch stays as pyproject.toml allows it; onnxruntime-gpu, which must not stand beside onnxruntime,
# keeps its line.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gpu=$(grep '^onnxruntime-gpu==' constraints.txt)
torch=$(grep '^torch==' constraints.txt)
"${PYTHON:-python3}" -m venv "$dir/venv"
echo "$torch" > "$dir/torch.txt"
"$dir/venv/bin/pip" install --quiet -c "$dir/torch.txt" -e '.[dev,bench]'
{
    grep '^#' constraints.txt
    { "$dir/venv/bin/pip" freeze --exclude-editable | sed 's/+[a-z0-9]*$//'; echo "$gpu"; } | sort -f
} > "$dir/new.txt"
mv "$dir/new.txt" constraints.txt
