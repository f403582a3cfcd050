#!/usr/bin/env bash
# Makes docs/gallery*.png from the demo's index with Debian's Chromium: small, with a palette of 256 colours.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imagefleet
link=$(mktemp)
target/debug/query --web --no-open --index-prefix target/demo/imageindex --hosts target/demo/hosts > "$link" &
query=$!
trap 'kill "$query"; rm -f "$link"' EXIT
until [ -s "$link" ]; do kill -0 "$query"; sleep 0.1; done
"$cache/python/bin/python" scripts/screenshots.py "$(cat "$link")" docs
pngquant --force --ext .png 256 docs/gallery*.png
