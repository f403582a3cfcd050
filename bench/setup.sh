#!/usr/bin/env bash
# Installs what make bench compares with: the Python pipeline, models of true shape with random weights, photos.
# Several GB of Python packages go into the user's cache. `setup.sh full` adds what make bench-full needs: ViT-L/14.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imagefleet
python=${IMAGEFLEET_BENCH_PYTHON:-$cache/bench-python/bin/python}
data=${IMAGEFLEET_BENCH_DATA:-$cache/bench}
say() { printf 'bench-setup: %s\n' "$*" >&2; }

if ! [ -x "$python" ]; then
  say "installing PyTorch, transformers and more into $cache/bench-python"
  python3 -m venv "$cache/bench-python"
  "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt >&2
fi
mkdir -p "$data"
sizes=(tiny b32)
[ "${1:-}" = full ] && sizes+=(l14)
for size in "${sizes[@]}"; do
  if ! [ -e "$data/$size/onnx/text_model.onnx" ]; then
    say "making a CLIP of the shape $size with random weights"
    "$python" -W ignore peer/make_clip.py "$data/$size" --size "$size" >&2
  fi
done
if ! [ -e "$data/b32/onnx/vision_model_int8.onnx" ]; then
  say "quantising it to 8-bit integers"
  "$python" -W ignore quantise.py "$data/b32" >&2
fi
if ! [ -e "$data/golden-b32/golden.json" ]; then
  say "asking the reference for the golden pictures' vectors"
  mkdir -p "$data/golden-b32"
  "$python" -W ignore ../crates/clip/tests/golden/make.py "$data/b32" "$data/golden-b32" >&2
fi
photos() { # name count size [more]
  [ "$(cat "$data/$1.complete" 2>/dev/null)" = "$2" ] && return
  say "making $2 photos: $1"
  rm -rf "${data:?}/$1"
  "$python" peer/make_photos.py "$data/$1" --count "$2" --size "$3" "${@:4}" >&2
  echo "$2" >"$data/$1.complete"
}
photos S 320 S
photos M 192 M
photos L 64 L
photos mixed 128 S --mixed
say "ready: $data"
