#!/usr/bin/env bash
# Makes docs/gallery*.png and docs/map.png of the demo's pictures with Debian's Chromium: small, with a palette of 256 colours.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imagefleet
work=$(mktemp -d)
# Its name is in the pictures.
photos=/tmp/photos
mkdir "$photos"
trap 'kill "${query:-}" 2> "$work/kill"; rm -rf "$work" "$photos"' EXIT
cp -r target/demo/images "$photos/holidays"
echo "localhost work_dir=$work" > "$work/hosts"
index=(--index-prefix "$work/imageindex" --hosts "$work/hosts")
target/debug/controller --image-dir "$photos" --model demo "${index[@]}" > "$work/built"
target/debug/query --map "$work/map.html" "${index[@]}"
target/debug/query --web --no-open "${index[@]}" > "$work/link" &
query=$!
until [ -s "$work/link" ]; do kill -0 "$query"; sleep 0.1; done
"$cache/python/bin/python" scripts/screenshots.py "$(cat "$work/link")" "$work/map.html" docs
pngquant --force --ext .png 256 docs/gallery*.png docs/map.png
