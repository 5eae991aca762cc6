#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All figures of benchmark_loader, anew: writes benchmarks/results/loader.json. Two to six minutes on an idle machine.
#   benchmarks/loader.sh <recordings> <lerobot python> <swm python> [<build>] [<folder for sets>]
# <recordings> holds tworoom/, pusht/ and camera/. The folder must lie on the disk that is to be measured; larger sets are
# written to it once.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 3,6p "$0"; exit 2; }
here="$(cd "$(dirname "$0")" && pwd)"
recordings="$(realpath "$1")" lerobot="$2" swm="$3"
build="$(realpath "${4:-$here/../build}")"
sets="$(realpath -m "${5:-${TMPDIR:-/tmp}/foresight_loader_sets}")"

mkdir -p "$sets"
if [ ! -d "$sets/video" ]; then
  "$swm" "$here/peer_swm_loader.py" make "$recordings" "$sets.part"
  rm -rf "$sets"
  mv "$sets.part" "$sets"
fi
names="$(mktemp -d)" # recordings are called by what the report should call them
trap 'rm -rf "$names"' EXIT
ln -s "$recordings/tworoom" "$names/tworoom"
ln -s "$recordings/pusht" "$names/pusht"
ln -s "$sets" "$names/sets"
cd "$names"
sync # what is not written cannot be dropped from the system's cache
OMP_NUM_THREADS=1 "$build/benchmarks/benchmark_loader" tworoom/lerobot_v30 \
  tworoom/lerobot_v30_converted pusht/lerobot_v30 sets/video \
  tworoom/swm/video sets/jpeg tworoom/swm/folder sets/jpeg_480x640 sets/raw.h5 \
  tworoom/swm/tworoom_raw.h5 tworoom/folder \
  "lerobot=$lerobot" "swm=$swm" rounds=5 batches=4 cache="$sets.frames" >report.json
cp report.json "$here/results/loader.json"
echo "$here/results/loader.json"
