#!/usr/bin/env bash
# Draws demo pictures, indexes them on this machine with the built-in model, and asks for a yellow car.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/target/debug
demo=$PWD/target/demo
mkdir -p "$demo"
printf 'localhost\n' > "$demo/hosts"
if ! [ -e "$demo/drawn" ]; then
  echo "Drawing 240 pictures into $demo/images" >&2
  "$bin/draw-demo-pictures" "$demo/images" --count 240 --seed 2026 --exactly "yellow car=16"
  touch "$demo/drawn"
fi
echo
echo "\$ controller --image-dir $demo/images --model demo"
"$bin/controller" --image-dir "$demo/images" --model demo --hosts "$demo/hosts"
echo
# To the small model two yellow cars are nearly the same picture.
echo "\$ query --text \"a yellow car\" --no-collapse"
"$bin/query" --text "a yellow car" --no-collapse --index-prefix "$demo/imageindex" --hosts "$demo/hosts"
