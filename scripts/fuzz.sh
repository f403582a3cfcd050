#!/usr/bin/env bash
# Builds the fuzz targets and feeds each for so many seconds: scripts/fuzz.sh [SECONDS] [TARGET...]. What is found lies in
# fuzz/findings afterwards; new inputs that went new ways, in target/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(hosts list commands events metas manifest part pictures)
target=${CARGO_TARGET_DIR:-$PWD/target}

(cd fuzz && RUSTC_WRAPPER=$PWD/rustc.sh cargo build --target-dir "$target" --bins)
mkdir -p fuzz/findings
export RUST_BACKTRACE=0 # decoders' panics are contained, and many
failed=()
for name in "${targets[@]}"; do
    corpus=(fuzz/corpus/"$name")
    if [ "$name" = pictures ]; then corpus=(crates/clip/tests/golden crates/clip/tests/formats); fi
    mkdir -p "$target/fuzz/$name"
    echo "== $name, $seconds s"
    nice -n 19 "$target/debug/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=20000 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="fuzz/findings/$name-" "$target/fuzz/$name" "${corpus[@]}" ||
        failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "found in ${failed[*]}: see fuzz/findings; run one again with $target/debug/fuzz_NAME FILE" >&2
    exit 1
fi
