#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole way once: record episodes of a small environment, train a world model on the video, plan with it, and
# write a report. Everything goes through the command `foresight`, so each line can be repeated by hand.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<'HELP'
Usage: scripts/demo.sh [options]
Prepares the machine (scripts/setup.sh), builds the command `foresight`, and runs record -> train -> eval -> report.
  --quick           little data and few steps: shows that every part works, not that the model is good
  --out DIR         where data, run and report go (default: demo; with --quick: demo/quick)
HELP
  setup_options_help
}

size=full
out=""
code=0
setup_parse "$@" || code=$?
if [ $code -eq 2 ]; then usage; exit 0; fi
[ $code -eq 0 ] || exit 1
set -- ${SETUP_REST[@]+"${SETUP_REST[@]}"}
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) size=quick ;;
    --out)
      [ $# -ge 2 ] || { warn "--out needs a folder"; exit 1; }
      out="$2"
      shift ;;
    *) warn "unknown option: $1"; usage; exit 1 ;;
  esac
  shift
done
if [ -n "$out" ]; then
  for folder in "$out/data" "$out/run"; do  # a folder that somebody chose is never emptied
    if [ -e "$folder" ]; then
      warn "$folder exists already; name another folder"
      exit 1
    fi
  done
else
  if [ $size = quick ]; then out="$SETUP_ROOT/demo/quick"; else out="$SETUP_ROOT/demo"; fi
  rm -rf "$out/data" "$out/run"
fi

step() {  # prints a command and runs it
  printf '\n$ foresight'
  printf ' %q' "$@"
  printf '\n'
  "$foresight" "$@" </dev/null
}

# The job itself.
job() {
  case $size in
    full)
      step record --env two_room --episodes 240 --seed 1 --out "$out/data"
      step train --data "$out/data" --out "$out/run" --seed 0
      step eval --bundle "$out/run/bundle" --data "$out/data" --protocol 25/50,50/100 --instances 50 --trade-off
      ;;
    quick)
      step record --env two_room --episodes 12 --seed 1 --out "$out/data"
      step train --data "$out/data" --out "$out/run" --seed 0 --steps 40 --critic_training.steps 200
      step eval --bundle "$out/run/bundle" --data "$out/data" --protocol 25/50 --instances 4
      ;;
  esac
  step report --run "$out/run"
}

setup_all
configure
build foresight_command
foresight="$BUILD_DIR/bin/foresight"
job
report="$out/run/report.html"
[ -s "$report" ] || { warn "no report at $report"; exit 1; }
printf '\n'
say "the report is $report"
