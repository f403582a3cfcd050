#!/usr/bin/env bash
# Compares with the Python pipeline, in turn, on the same pictures. Needs make bench-setup once.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imagefleet
python=${IMAGEFLEET_BENCH_PYTHON:-$cache/bench-python/bin/python}
data=${IMAGEFLEET_BENCH_DATA:-$cache/bench}
if ! [ -x "$python" ] || ! [ -e "$data/mixed.complete" ]; then
  echo "error: the peers are not here yet; run: make bench-setup" >&2
  exit 1
fi
cargo build --workspace --bins --examples
exec "$python" bench/compare.py "$data" "$@"
