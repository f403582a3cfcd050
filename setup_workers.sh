#!/usr/bin/env bash
# Makes every machine in the hosts file ready: setup_workers.sh [hosts-file] [more options of controller --setup]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  hosts=--hosts=$1
  shift
  set -- "$hosts" "$@"
fi
for folder in "$here/target/release" "$here/target/debug" "$here"; do
  # In a clone there is a folder of this name.
  if [ -f "$folder/controller" ] && [ -x "$folder/controller" ]; then
    exec "$folder/controller" --setup "$@"
  fi
done
echo "error: controller is not built yet; run: make build" >&2
exit 1
