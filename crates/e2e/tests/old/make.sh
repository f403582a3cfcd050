#!/usr/bin/env bash
# Makes an index with unmerged parts and a ledger, by the programs in BIN, for later releases to open.
#   crates/e2e/tests/old/make.sh target/debug crates/e2e/tests/old/format-N.tar.gz
# Run it once with each new format, from the release that wrote it, and commit the archive. tests/old.rs draws the same
# pictures again.
set -euo pipefail
bin=$(cd "$1" && pwd)
archive=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-${XDG_CACHE_HOME:-$HOME/.cache}/imagefleet/onnxruntime/libonnxruntime.so}
export HOME=$place/home XDG_RUNTIME_DIR=$place/run XDG_STATE_HOME=$place/home/state XDG_CONFIG_HOME=$place/home
mkdir -p "$place/home" "$place/images"
mkdir -m 700 "$place/run"
printf '* path_map=%s:/photos\nlocalhost work_dir=%s/work\n' "$place" "$place" > "$place/hosts"

draw() { # FOLDER COUNT SEED
  "$bin/draw-demo-pictures" "$place/images/$1" --count "$2" --seed "$3" --two 0
  find "$place/images" -type f -exec touch -d @1700000000 {} +
}
index() {
  local code=0
  "$bin/controller" --image-dir "$place/images" --hosts "$place/hosts" --model demo "$@" || code=$?
  [ "$code" = 0 ] || [ "$code" = 3 ] # 3: some pictures could not be read
}

printf 'no picture' > "$place/images/broken.jpg"
draw first 200 1
index
printf 'nor is this' > "$place/images/new_broken.jpg"
draw second 40 2
index --no-merge
tar -C "$place" --owner=0 --group=0 --numeric-owner -czf "$archive" imageindex imageindex.meta.json imageindex.parquet imageindex.faiss
