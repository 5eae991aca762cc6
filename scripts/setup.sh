#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Finds what foresight is built with and installs what is missing: compiler and libraries with apt, LibTorch as the
# CPU wheel into ./.venv. What is already there is used as it is, so a second run changes nothing. test.sh and
# demo.sh source this file; run by itself it only prepares the machine.

if [ "${BASH_SOURCE[0]}" = "$0" ]; then set -euo pipefail; fi
SETUP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SETUP_TORCH_VERSION=2.13.0  # the release that the project is tested with; 2.7 is the oldest that links
SETUP_PYARROW_VERSION=26.0.1  # brings Arrow and Parquet, for LeRobot's data; whatever is there is used first
SETUP_INSTALL=yes           # --no-install: no
BUILD_DIR="$SETUP_ROOT/build/release"
SETUP_REST=()  # arguments that are not ours, left to the calling script
CMAKE=cmake
export CTEST=ctest  # used by test.sh
TORCH_ROOT=""

say() { printf '== %s\n' "$*"; }
warn() { printf '!! %s\n' "$*" >&2; }

setup_options_help() {
  cat <<'HELP'
  --no-install      install nothing; say what is missing and go on with what is there
  --build-dir DIR   build in DIR (default: build/release)
  --help            this text
LibTorch is taken from Torch_DIR or CMAKE_PREFIX_PATH if set, else from ./.venv, else from the torch that python3
imports, else the CPU wheel is installed into ./.venv. CXX chooses the compiler, FORESIGHT_JOBS the parallel jobs.
HELP
}

setup_parse() {  # takes the common options out of "$@"; returns 2 on --help
  SETUP_REST=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --no-install) SETUP_INSTALL=no ;;
      --build-dir)
        [ $# -ge 2 ] || { warn "--build-dir needs a folder"; return 1; }
        BUILD_DIR="$(mkdir -p "$2" && cd "$2" && pwd)" || return 1
        shift ;;
      --help | -h) return 2 ;;
      --) SETUP_REST+=("$@"); return 0 ;;
      *) SETUP_REST+=("$1") ;;
    esac
    shift
  done
}

# ---- Packages of the system -------------------------------------------------------------------------------------

has_command() { command -v "$1" >/dev/null 2>&1; }

has_header() {  # a header in the places where compilers and CMake look
  local place
  for place in /usr/include /usr/local/include "/usr/include/$(uname -m)-linux-gnu" \
    $(printf '%s' "${CMAKE_PREFIX_PATH:-}" | tr ':;' '\n' | sed 's|$|/include|'); do
    [ -e "$place/$1" ] && return 0
  done
  return 1
}

has_python_venv() {
  local python
  for python in python3 /usr/bin/python3; do
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 && return 0
  done
  return 1
}

has_package() {  # is what this Debian package brings on the machine, from wherever it came?
  case "$1" in
    cmake | ccache | mold | pkg-config | git) has_command "$1" ;;
    ninja-build) has_command ninja ;;
    g++) has_command "${CXX:-c++}" ;;
    python3) has_command python3 ;;
    python3-venv) has_python_venv ;;
    libeigen3-dev) has_header eigen3/Eigen/Core || has_header Eigen/Core ;;
    libfmt-dev) has_header fmt/format.h ;;
    libspdlog-dev) has_header spdlog/spdlog.h ;;
    nlohmann-json3-dev) has_header nlohmann/json.hpp ;;
    catch2) has_header catch2/catch.hpp || has_header catch2/catch_all.hpp ;;
    libcli11-dev) has_header CLI/CLI.hpp ;;
    libavcodec-dev | libavformat-dev | libavutil-dev | libswscale-dev) has_header "${1%-dev}/version.h" ;;
    libjpeg-dev) has_header jpeglib.h ;;
    zlib1g-dev) has_header zlib.h ;;
    libgloo-dev) has_header gloo/algorithm.h ;;
    libhdf5-dev) has_header hdf5.h || has_header hdf5/serial/hdf5.h ;;
    hdf5-filter-plugin-blosc-serial) compgen -G "/usr/lib/*/hdf5/serial/plugins/libH5Zblosc.so" >/dev/null ;;
    *) return 1 ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif has_command sudo; then
    if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
  else
    return 1
  fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null; }

setup_packages() {
  local needed=(g++ cmake ninja-build pkg-config libeigen3-dev libfmt-dev libspdlog-dev nlohmann-json3-dev catch2
    libcli11-dev libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libjpeg-dev zlib1g-dev)
  local faster=(ccache mold)  # only shorten the build
  local formats=(libhdf5-dev hdf5-filter-plugin-blosc-serial)  # of data sets; the build goes on without
  [ -n "$TORCH_ROOT" ] || needed+=(python3 python3-venv)
  local processes=(libgloo-dev)  # headers for training on several processes; likewise
  local package missing=()
  for package in "${needed[@]}" "${faster[@]}" "${formats[@]}" "${processes[@]}"; do
    has_package "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "system packages: all there"
    return 0
  fi
  if [ "$SETUP_INSTALL" = no ]; then
    warn "missing, not installed because of --no-install: ${missing[*]}"
  elif ! has_command apt-get; then
    warn "no apt-get here. Install what these Debian packages bring: ${missing[*]}"
  elif [ "$(id -u)" != 0 ] && ! has_command sudo; then
    warn "neither root nor sudo. Have somebody run: apt-get install ${missing[*]}"
  else
    say "installing: ${missing[*]}"
    local log
    log="$(mktemp)"
    apt_get -qq update >"$log" 2>&1 || { warn "apt-get update failed, going on with the old lists:"; tail -n 3 "$log" >&2; }
    if ! apt_get -qq install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
      tail -n 5 "$log" >&2
      warn "apt-get could not install them together; trying one by one"
      for package in "${missing[@]}"; do
        apt_get -qq install --no-install-recommends "$package" >"$log" 2>&1 || {
          warn "could not install $package:"
          tail -n 2 "$log" >&2
        }
      done
    fi
    rm -f "$log"
  fi
  local lacking=()
  for package in "${needed[@]}"; do
    has_package "$package" || lacking+=("$package")
  done
  if [ ${#lacking[@]} -gt 0 ]; then
    warn "still missing: ${lacking[*]}. CMake fetches the small libraries itself where it can; it says what it cannot."
  fi
}

# ---- Python environment: LibTorch, and a newer CMake where the system's is too old --------------------------------

torch_version() {  # of the LibTorch under $1, e.g. 2.13.0; empty if there is none
  local header numbers=""
  for header in include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h; do
    [ -e "$1/$header" ] || continue
    numbers="$(sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\|PATCH\) \+\([0-9]\+\).*/\2/p' "$1/$header" | paste -sd.)"
    [ -n "$numbers" ] && break
  done
  printf '%s' "$numbers"
}

usable_torch() {  # is there a LibTorch of 2.7 or later under $1?
  local version
  [ -e "$1/include/ATen/ATen.h" ] && [ -e "$1/lib/libtorch_cpu.so" ] || return 1
  version="$(torch_version "$1")"
  if [ -z "$version" ] || [ "$(printf '2.7\n%s\n' "$version" | sort -V | head -n 1)" != 2.7 ]; then
    warn "LibTorch ${version:-of unknown version} at $1 is too old (2.7 or later is needed), looking further"
    return 1
  fi
}

setup_find_torch() {  # sets TORCH_ROOT, or fails
  local place
  local -a places=()
  if [ -n "${Torch_DIR:-}" ]; then places+=("$Torch_DIR/../../..") ; fi
  while IFS= read -r place; do
    [ -n "$place" ] && places+=("${place%/share/cmake}")
  done < <(printf '%s\n' "${CMAKE_PREFIX_PATH:-}" | tr ':;' '\n')
  places+=("$SETUP_ROOT"/.venv/lib*/python3*/site-packages/torch)
  if has_command python3; then
    place="$(python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')" 2>/dev/null || true)"
    [ -n "$place" ] && places+=("$place")
  fi
  places+=(/opt/libtorch /usr/local/libtorch)
  for place in "${places[@]}"; do
    [ -d "$place" ] && usable_torch "$place" && { TORCH_ROOT="$(cd "$place" && pwd)"; return 0; }
  done
  return 1
}

setup_pythons() {  # interpreters to try: the user's, the system's, then any other that has a name
  local python
  for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
    has_command "$python" && printf '%s\n' "$python"
  done
}

setup_venv() {  # makes .venv with the interpreter $1; says why not
  local venv="$SETUP_ROOT/.venv" log
  if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then return 0; fi
  log="$(mktemp)"
  rm -rf "$venv"  # half made: Debian's python without python3-venv leaves one behind
  if ! "$1" -m venv "$venv" >"$log" 2>&1 || ! "$venv/bin/python" -m pip --version >>"$log" 2>&1; then
    warn "$1 cannot make a virtual environment (on Debian and Ubuntu it needs the package python3-venv):"
    tail -n 3 "$log" >&2
    rm -rf "$venv" "$log"
    return 1
  fi
  rm -f "$log"
}

venv_install() { "$SETUP_ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" </dev/null; }

setup_install_torch() {
  local python log attempt
  log="$(mktemp)"
  for python in $(setup_pythons); do
    setup_venv "$python" || continue
    say "installing LibTorch $SETUP_TORCH_VERSION (CPU) into .venv with $("$SETUP_ROOT/.venv/bin/python" --version)"
    # Only the C++ library inside the wheel is used, so the CPU build needs no dependencies, but for the one that
    # the wheel's torchrun imports: a test starts it, and is skipped without. The plain release on the package index
    # is a CUDA build of several GB on x86_64: it works too, but comes last.
    for attempt in configured cpu-index plain; do
      case "$attempt" in
        configured) venv_install --no-deps "torch==$SETUP_TORCH_VERSION+cpu" ;;
        cpu-index) venv_install --no-deps --retries 1 --timeout 60 --index-url https://download.pytorch.org/whl/cpu \
          "torch==$SETUP_TORCH_VERSION" ;;
        plain)
          warn "no CPU wheel found; taking the package index's torch==$SETUP_TORCH_VERSION, which may be several GB"
          venv_install "torch==$SETUP_TORCH_VERSION" ;;
      esac >"$log" 2>&1 && setup_find_torch && {
        rm -f "$log"
        venv_install typing_extensions 2>/dev/null || true
        return 0
      }
    done
    warn "pip could not install torch==$SETUP_TORCH_VERSION with $python:"
    tail -n 5 "$log" >&2
    rm -rf "$SETUP_ROOT/.venv"  # another interpreter needs another environment
  done
  rm -f "$log"
  return 1
}

setup_torch() {
  if [ -z "$TORCH_ROOT" ] && ! setup_find_torch; then
    if [ "$SETUP_INSTALL" = no ] || ! setup_install_torch; then
      warn "no LibTorch. Either make one with 'python3 -m venv .venv && .venv/bin/pip install torch==$SETUP_TORCH_VERSION',"
      warn "or unpack one of pytorch.org and name it: CMAKE_PREFIX_PATH=/path/to/libtorch $0"
      return 1
    fi
  fi
  say "LibTorch $(torch_version "$TORCH_ROOT"): $TORCH_ROOT"
}

has_parquet() {  # is there an Arrow with headers: the system's, or a pyarrow where CMake looks
  has_header parquet/arrow/reader.h && return 0
  local place python
  for place in "$TORCH_ROOT/../pyarrow" "$SETUP_ROOT"/.venv/lib*/python3*/site-packages/pyarrow; do
    [ -e "$place/include/parquet/arrow/reader.h" ] && return 0
  done
  python="$(python3 -c "import importlib.util as u; s = u.find_spec('pyarrow'); print(s.submodule_search_locations[0] if s else '')" 2>/dev/null || true)"
  [ -n "$python" ] && [ -e "$python/include/parquet/arrow/reader.h" ]
}

setup_parquet() {  # wanted, not needed: without it LeRobot's data does not open, and says so
  if has_parquet; then return 0; fi
  local python
  if [ "$SETUP_INSTALL" = yes ]; then
    for python in $(setup_pythons); do
      setup_venv "$python" || continue
      say "installing pyarrow $SETUP_PYARROW_VERSION into .venv, for LeRobot's data"
      venv_install "pyarrow==$SETUP_PYARROW_VERSION" && return 0
    done
  fi
  warn "no Apache Parquet: LeRobot data sets will not open. .venv/bin/pip install pyarrow==$SETUP_PYARROW_VERSION brings it."
  return 0
}

cmake_new_enough() {
  local version
  version="$("$1" --version 2>/dev/null | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')"
  [ -n "$version" ] && [ "$(printf '3.24\n%s\n' "$version" | sort -V | head -n 1)" = 3.24 ]
}

setup_from_pip() {  # a tool that apt has too old or not at all: $1 command, $2 package
  [ "$SETUP_INSTALL" = yes ] || return 1
  local python
  for python in $(setup_pythons); do
    setup_venv "$python" && venv_install "$2" && [ -x "$SETUP_ROOT/.venv/bin/$1" ] && return 0
  done
  return 1
}

setup_build_tools() {
  if ! cmake_new_enough cmake; then
    if cmake_new_enough "$SETUP_ROOT/.venv/bin/cmake" || setup_from_pip cmake 'cmake>=3.24,<4'; then
      CMAKE="$SETUP_ROOT/.venv/bin/cmake"
      CTEST="$SETUP_ROOT/.venv/bin/ctest"
    else
      warn "CMake 3.24 or later is needed, and pip could not bring it: $(cmake --version 2>&1 | head -n 1)"
      return 1
    fi
  fi
  if ! has_command ninja; then
    [ -x "$SETUP_ROOT/.venv/bin/ninja" ] || setup_from_pip ninja ninja || {
      warn "ninja is needed: apt-get install ninja-build"
      return 1
    }
    export PATH="$PATH:$SETUP_ROOT/.venv/bin"
  fi
  local compiler="${CXX:-c++}"
  if ! printf '#include <concepts>\n#include <span>\n#include <version>\n#if __cpp_concepts < 201907L\n#error\n#endif\nint main() {}\n' |
    "$compiler" -std=c++20 -x c++ -fsyntax-only - >/dev/null 2>&1; then
    warn "a C++20 compiler is needed (GCC 11 or Clang 14, or later): '$compiler' is none. Set CXX to another one."
    return 1
  fi
  say "tools: $("$CMAKE" --version | head -n 1), ninja $(ninja --version), $("$compiler" --version | head -n 1)"
}

setup_all() {
  setup_find_torch || true
  setup_packages && setup_torch && setup_parquet && setup_build_tools
}

# ---- Building, the same way for every script ----------------------------------------------------------------------

setup_jobs() {  # one job a core, but no more than memory allows: a file that includes torch takes 2 GB
  local cores memory
  cores="$(nproc 2>/dev/null || echo 2)"
  memory="$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo 2>/dev/null || echo "$cores")"
  [ "${memory:-0}" -ge 1 ] || memory=1
  echo "${FORESIGHT_JOBS:-$((cores < memory ? cores : memory))}"
}

configure() {
  # Warnings are errors where the project's own compiler is used (CI), not on a stranger's newer one.
  local werror=()
  if [ -n "${CI:-}" ]; then werror=(-DFORESIGHT_WARNINGS_AS_ERRORS=ON -DFORESIGHT_CUDA_CHECK=ON); fi
  say "configuring in $BUILD_DIR"
  # These scripts mostly build from nothing, which is where compiling files together pays.
  (cd "$SETUP_ROOT" && "$CMAKE" --preset release -B "$BUILD_DIR" -DTorch_DIR="$TORCH_ROOT/share/cmake/Torch" \
    -DFORESIGHT_UNITY=ON ${werror[@]+"${werror[@]}"} </dev/null)
}

build() {  # build [targets]: everything without targets
  local target=()
  if [ $# -gt 0 ]; then target=(--target "$@"); fi
  say "building ${*:-everything} with $(setup_jobs) jobs; the first time takes a while"
  "$CMAKE" --build "$BUILD_DIR" --parallel "$(setup_jobs)" ${target[@]+"${target[@]}"} </dev/null
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  code=0
  setup_parse "$@" || code=$?
  if [ $code -eq 2 ] || [ ${#SETUP_REST[@]} -gt 0 ]; then
    [ $code -eq 2 ] || warn "unknown option: ${SETUP_REST[0]}"
    echo "Usage: scripts/setup.sh [--no-install]"
    echo "Finds or installs what foresight is built with."
    setup_options_help
    [ $code -eq 2 ] && exit 0 || exit 1
  fi
  [ $code -eq 0 ] || exit 1
  setup_all
  say "ready: scripts/test.sh builds and tests, scripts/demo.sh shows what it does"
fi
