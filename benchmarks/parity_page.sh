#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the parity tests and makes a page of what they compared. Ends with 3 where a fixture, or a tensor of one, is
# forgotten (benchmark_parity_table names it): the page is written all the same.
# $PARITY_SET: what the page calls the fixtures. <fixtures> "-": the folder that $FORESIGHT_GOLDENS names, or
# tests/data/goldens, as the tests choose it.
#   parity_page.sh <benchmark_parity_table> <fixtures> <page> <test program>...
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: parity_page.sh <benchmark_parity_table> <fixtures> <page> <test program>..." >&2; exit 1; }
table="$1"
page="$3"
own="$(dirname "${BASH_SOURCE[0]}")/../tests/data/goldens"
if [ "$2" = - ]; then FORESIGHT_GOLDENS="${FORESIGHT_GOLDENS:-$own}"; else FORESIGHT_GOLDENS="$2"; fi
FORESIGHT_PARITY_OUT="$(mktemp)"
trap 'rm -f "$FORESIGHT_PARITY_OUT"' EXIT
export FORESIGHT_GOLDENS FORESIGHT_PARITY_OUT OMP_NUM_THREADS=1
for program in "${@:4}"; do
  echo "comparing: ${program##*/test_}"
  "$program" "[parity]" </dev/null || exit 1
done
"$table" "$FORESIGHT_PARITY_OUT" "$FORESIGHT_GOLDENS" ${PARITY_SET:+"$PARITY_SET"} > "$page"
