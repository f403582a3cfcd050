#!/usr/bin/env bash
# Makes every machine in the hosts file ready: setup_workers.sh [hosts-file]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for folder in "$here/target/release" "$here/target/debug" "$here"; do
  if [ -x "$folder/controller" ]; then
    exec "$folder/controller" --setup ${1:+"--hosts=$1"}
  fi
done
echo "error: controller is not built yet; run: make build" >&2
exit 1
