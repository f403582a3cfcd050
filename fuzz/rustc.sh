#!/bin/sh
# What cargo starts for rustc: libFuzzer is told the way through our own crates alone. Their dependencies stay as they are
# built for the workspace.
for word; do
    case "$last=$word" in
    --crate-name=protocol | --crate-name=fleet | --crate-name=index | --crate-name=clip | --crate-name=fuzz)
        exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    esac
    last=$word
done
exec "$@"
