#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills `foresight train` again and again (SIGKILL, at random moments) and goes on with --resume. Whenever it ends, its
# metrics and the bytes of its bundle must be those of a training that was left alone.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: scripts/kill_loop.sh [options]
Records video, trains once undisturbed, then kills trainings and goes on with them; at every end both are compared.
  --kills N         how often (default: 50; two to three minutes on two cores)
  --foresight FILE  the command (default: build/release/bin/foresight)
  --seed N          of the moments (default: 1)
  --out DIR         where recordings and runs go, a folder that does not exist yet (default: a temporary one)
HELP
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
kills=50
foresight="$root/build/release/bin/foresight"
seed=1
out=""
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --kills | --foresight | --seed | --out)
      [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 1; }
      case "$1" in
        --kills) kills="$2" ;;
        --foresight) foresight="$2" ;;
        --seed) seed="$2" ;;
        --out) out="$2" ;;
      esac
      shift ;;
    *) echo "unknown option: $1" >&2; usage >&2; exit 1 ;;
  esac
  shift
done
[ -x "$foresight" ] || { echo "no command at $foresight: build it, or name it with --foresight" >&2; exit 1; }
if [ -n "$out" ]; then
  [ ! -e "$out" ] || { echo "$out exists already; name another folder" >&2; exit 1; }
  mkdir -p "$out"
else
  out="$(mktemp -d)"
  trap 'rm -rf "$out"' EXIT
fi
export OMP_NUM_THREADS=1
RANDOM="$seed"

training=(--data "$out/recordings" --training.steps 120 --training.log_every 1 --training.checkpoint_every 7
  --training.validate_every 20 --training.keep lowest_loss --training.average 0.9 --loader.batch 16
  --critic_training.steps 20 --critic_training.checkpoint_every 5)

curve() {  # the metrics of a run without what a clock says
  sed -E 's/"[^"]*(wall_time|data_wait|samples_per_second)": *[^,}]*//g' "$1/metrics.jsonl"
}

ends=0
compare() {  # the run that was killed with the one that was left alone
  local file
  cmp <(curve "$out/whole") <(curve "$out/killed") || { echo "other metrics, see $out" >&2; trap - EXIT; exit 1; }
  for file in "$out"/whole/bundle/*.safetensors; do
    cmp "$file" "$out/killed/bundle/$(basename "$file")" || { echo "another bundle, see $out" >&2; trap - EXIT; exit 1; }
  done
  ends=$((ends + 1))
}

"$foresight" record --env two_room --episodes 12 --seed 1 --out "$out/recordings" >"$out/record.log" 2>&1 || { tail "$out/record.log" >&2; exit 1; }
begin=$(date +%s%N)
"$foresight" train "${training[@]}" --out "$out/whole" >"$out/whole.log" 2>&1 || { tail "$out/whole.log" >&2; exit 1; }
milliseconds=$((($(date +%s%N) - begin) / 1000000))

killed=0
while [ "$killed" -lt "$kills" ]; do
  # Up to a fifth more than the whole takes, so that some come to their end.
  moment=$((200 + (RANDOM * 32768 + RANDOM) % (milliseconds * 6 / 5)))
  code=0
  seconds="$((moment / 1000)).$(printf %03d $((moment % 1000)))"
  {  # without the shell's own word of what was killed
    timeout --signal=KILL "$seconds" \
      "$foresight" train "${training[@]}" --out "$out/killed" --resume >"$out/killed.log" 2>&1 || code=$?
  } 2>/dev/null
  case $code in
    137) killed=$((killed + 1)) ;;
    0) compare; rm -rf "$out/killed" ;;
    *) tail -n 5 "$out/killed.log" >&2; echo "ended with $code, see $out" >&2; trap - EXIT; exit 1 ;;
  esac
done
"$foresight" train "${training[@]}" --out "$out/killed" --resume >"$out/killed.log" 2>&1
compare
echo "$killed kills, $ends ends: metrics and bundles as of the run that was left alone"
