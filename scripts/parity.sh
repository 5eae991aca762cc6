#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares foresight with the implementations that it reproduces and writes the page docs/parity.md: runs the tests,
# which append a line for every tensor they compare, and makes tables of the lines.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<'HELP'
Usage: scripts/parity.sh [options]
Prepares the machine (scripts/setup.sh), builds the tests, runs those that compare with other implementations, and
writes docs/parity.md. A fixture that no test compares, a network's that none compares in bfloat16, and a tensor that is
neither an input, nor compared, nor exempt by name (benchmarks/parity_keys.hpp) is named, and an error where its source
is reproduced as a whole; the page is written all the same.
  --goldens DIR     fixtures to compare with (default: $FORESIGHT_GOLDENS, or tests/data/goldens)
  --out FILE        the page to write (default: docs/parity.md)
  --force           write it also over a page of more fixtures
HELP
  setup_options_help
}

own="$SETUP_ROOT/tests/data/goldens"
goldens="${FORESIGHT_GOLDENS:-$own}"
force=0
out="$SETUP_ROOT/docs/parity.md"
code=0
setup_parse "$@" || code=$?
if [ $code -eq 2 ]; then usage; exit 0; fi
[ $code -eq 0 ] || exit 1
set -- ${SETUP_REST[@]+"${SETUP_REST[@]}"}
while [ $# -gt 0 ]; do
  case "$1" in
    --goldens|--out)
      [ $# -ge 2 ] || { warn "$1 needs a path"; exit 1; }
      if [ "$1" = --out ]; then out="$2"; else goldens="$2"; fi
      shift ;;
    --force) force=1 ;;
    *) warn "unknown option: $1"; usage; exit 1 ;;
  esac
  shift
done
[ -d "$goldens" ] || { warn "$goldens is no folder of fixtures"; exit 1; }
count_fixtures() { find "$1" -mindepth 2 -maxdepth 2 -name '*.safetensors' | wc -l | tr -d ' '; }
fixtures="$(count_fixtures "$goldens")"
before="$(sed -n 's/^Fixtures: \([0-9][0-9]*\).*/\1/p' "$out" 2>/dev/null | head -n 1)" || true
if [ "$force" = 0 ] && [ -n "$before" ] && [ "$fixtures" -lt "$before" ]; then
  warn "$out is of $before fixtures and $goldens holds $fixtures: its rows would be lost. Name the full set with" \
    "--goldens, another page with --out, or give --force"
  exit 1
fi
if [ "$(cd "$goldens" && pwd -P)" = "$(cd "$own" && pwd -P)" ]; then
  PARITY_SET="the set of the repository, tests/data/goldens"
elif [ "$fixtures" -gt "$(count_fixtures "$own")" ]; then
  PARITY_SET="the full set, of which the repository holds $(count_fixtures "$own") (tests/data/goldens)"
else
  PARITY_SET="a part of those that there are"
fi
export PARITY_SET

tests=(nn losses models planning control envs train)
setup_all
configure
build "${tests[@]/#/test_}" benchmark_parity_table
trap 'rm -f "$out.new"' EXIT
code=0
"$SETUP_ROOT/benchmarks/parity_page.sh" "$BUILD_DIR/benchmarks/benchmark_parity_table" "$goldens" "$out.new" \
  "${tests[@]/#/$BUILD_DIR/tests/test_}" || code=$?
[ $code -eq 0 ] || [ $code -eq 3 ] || exit $code  # 3: all but the fixtures that it named
mv "$out.new" "$out"
say "the page is $out"
[ $code -eq 0 ] || { warn "what is not compared and should be, see above: write its comparison"; exit 1; }
