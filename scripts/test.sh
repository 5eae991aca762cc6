#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything and runs the tests. The last line is 'N passed, N failed', counted over the test programs.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<'HELP'
Usage: scripts/test.sh [options] [-- ctest arguments]
Prepares the machine (scripts/setup.sh), builds everything and runs the tests; with CI set, warnings are errors.
  --packaging       run the packaging tests instead: real projects that use an installed or added foresight
HELP
  setup_options_help
}

stop() {  # nothing could be tested
  warn "$*"
  echo "0 passed, 1 failed"
  exit 1
}

code=0
setup_parse "$@" || code=$?
if [ $code -eq 2 ]; then usage; exit 0; fi
[ $code -eq 0 ] || exit 1
label=(--label-exclude packaging)
ctest_arguments=()
set -- ${SETUP_REST[@]+"${SETUP_REST[@]}"}
while [ $# -gt 0 ]; do
  case "$1" in
    --packaging) label=(--label-regex packaging) ;;
    --) shift; ctest_arguments=("$@"); break ;;
    *) warn "unknown option: $1"; usage; exit 1 ;;
  esac
  shift
done

setup_all || stop "the machine lacks something that the build needs, see above"
configure || stop "CMake could not configure the project"
build || stop "the build failed"

say "testing"
log="$BUILD_DIR/ctest.log"
code=0
"$CTEST" --test-dir "$BUILD_DIR" --output-on-failure --no-tests=error --parallel "$(setup_jobs)" \
  "${label[@]}" \
  ${ctest_arguments[@]+"${ctest_arguments[@]}"} </dev/null 2>&1 | tee "$log" || code=$?
# "93% tests passed, 1 tests failed out of 14"
read -r failed total < <(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log" | tail -n 1) ||
  stop "ctest ran no test"
if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
echo "$((total > failed ? total - failed : 0)) passed, $failed failed"
[ "$failed" -eq 0 ]
