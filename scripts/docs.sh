#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the reference of the public headers to build/docs/html. Needs doxygen; fails on any warning.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v doxygen >/dev/null || { echo "doxygen is needed: apt-get install doxygen" >&2; exit 1; }
export FORESIGHT_DOCS="${1:-build/docs}"
FORESIGHT_VERSION="$(sed -n 's/^project(foresight VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)"
export FORESIGHT_VERSION
mkdir -p "$FORESIGHT_DOCS"
doxygen Doxyfile
echo "the reference is $FORESIGHT_DOCS/html/index.html"
