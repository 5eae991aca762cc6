#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Question: which part of its steps' time does a training with the demo's model wait for data? Every window decoded anew,
# decoded frames in memory, and in a file. Prints one JSON object. About two minutes on two cores.
#   benchmarks/data_wait.sh [<build>] [<recording>] [<steps>]
# Without a recording, the demo's is recorded first.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
foresight="${1:-$here/../build}/bin/foresight" recording="${2:-}" steps="${3:-150}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if [ -z "$recording" ]; then
  recording="$work/data"
  "$foresight" record --env two_room --episodes 240 --seed 1 --out "$recording" >&2
fi
waited() { # name, options. Of all steps but the first, which the only other row tells
  local name="$1"
  shift
  "$foresight" train --data "$recording" --out "$work/$name" --seed 0 --steps "$steps" --critic_training.steps 0 \
    --training.log_every "$steps" --training.validate_every 0 "$@" </dev/null >&2
  grep -o '"[a-z_]*/data_wait":[ 0-9.e-]*' "$work/$name/metrics.jsonl" | tail -1 | sed 's/.*://'
}
decoding="$(waited decoding --cache.budget_mb 0)" # an assignment fails with what it runs
memory="$(waited memory)"
waited file_made --cache.folder "$work/frames" >/dev/null
file="$(waited file --cache.folder "$work/frames")"
cpu="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
printf '{"benchmark": "data_wait", "machine": {"cpu": "%s", "cores": %s, "day": "%s", "version": "%s"}, "steps": %s,
 "decoding": %s, "memory": %s, "file": %s}\n' \
  "$cpu" "$(nproc)" "$(date -u +%F)" "$("$foresight" --version)" "$steps" "$decoding" "$memory" "$file"
