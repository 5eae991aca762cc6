# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch without its own CMake files, because those enable the CUDA language and stop on a machine that
# has a CUDA build of torch but no nvcc. Installed beside foresight's package config, for its consumers.
#
# Searches, in this order, and takes the first place that has ATen/ATen.h:
#   -Dtorch_ROOT=<root>                     the folder that has include/ and lib/
#   -DTorch_DIR=<root>/share/cmake/Torch    as for LibTorch's own package
#   CMAKE_PREFIX_PATH                       <root>, or <root>/share/cmake as torch.utils.cmake_prefix_path prints it
#   the LibTorch that an installed foresight was built with
#   ./.venv of the project                  where scripts/setup.sh puts the CPU wheel
#   the torch that `python3` would import, then /opt/libtorch and /usr/local/libtorch
#
# Result: torch_FOUND, torch_VERSION, torch_ROOT and the imported target torch::torch.

set(_torch_hints "")
if(Torch_DIR)
  get_filename_component(_torch_dir_root "${Torch_DIR}/../../.." ABSOLUTE)
  list(APPEND _torch_hints "${_torch_dir_root}")
endif()
file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" _torch_prefixes)
list(PREPEND _torch_prefixes ${CMAKE_PREFIX_PATH})
foreach(_prefix IN LISTS _torch_prefixes)
  string(REGEX REPLACE "/share/cmake/?$" "" _prefix "${_prefix}")
  list(APPEND _torch_hints "${_prefix}")
endforeach()
list(APPEND _torch_hints ${foresight_TORCH_HINT})
file(GLOB _torch_venvs "${PROJECT_SOURCE_DIR}/.venv/lib*/python3*/site-packages/torch"
                       "${CMAKE_SOURCE_DIR}/.venv/lib*/python3*/site-packages/torch")
list(APPEND _torch_hints ${_torch_venvs})

# A remembered place counts only while it is there, and gives way to a Torch_DIR that names another one.
if(torch_ROOT AND (NOT EXISTS "${torch_ROOT}/include/ATen/ATen.h"
                   OR (Torch_DIR AND NOT torch_ROOT STREQUAL _torch_dir_root)))
  unset(torch_ROOT CACHE)
  foreach(_library c10 torch torch_cpu c10_cuda torch_cuda)
    unset(torch_${_library}_LIBRARY CACHE)
  endforeach()
endif()

# Headers and libraries must come from one root: those of two installations never mix.
find_path(torch_ROOT NAMES include/ATen/ATen.h HINTS ${_torch_hints} NO_DEFAULT_PATH
          DOC "LibTorch: the folder with include/ and lib/")
if(NOT torch_ROOT)
  find_program(torch_PYTHON NAMES python3 python)
  mark_as_advanced(torch_PYTHON)
  if(torch_PYTHON)
    # Asks where torch is without importing it: importing takes seconds and fails if a dependency is missing.
    execute_process(
      COMMAND "${torch_PYTHON}" -c
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _torch_python_root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_torch_python_root)
      find_path(torch_ROOT NAMES include/ATen/ATen.h HINTS "${_torch_python_root}" NO_DEFAULT_PATH)
    endif()
  endif()
endif()
if(NOT torch_ROOT)
  find_path(torch_ROOT NAMES include/ATen/ATen.h PATHS /opt/libtorch /usr/local/libtorch NO_DEFAULT_PATH)
endif()

unset(torch_VERSION)
if(torch_ROOT)
  foreach(_header include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
    if(NOT torch_VERSION AND EXISTS "${torch_ROOT}/${_header}")
      file(STRINGS "${torch_ROOT}/${_header}" _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
      string(REGEX REPLACE "[^0-9;]" "" _numbers "${_lines}")
      list(JOIN _numbers "." torch_VERSION)
    endif()
  endforeach()
  # The last two exist only in CUDA builds.
  foreach(_library c10 torch torch_cpu c10_cuda torch_cuda)
    find_library(torch_${_library}_LIBRARY NAMES ${_library} PATHS "${torch_ROOT}/lib" NO_DEFAULT_PATH)
    mark_as_advanced(torch_${_library}_LIBRARY)
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
set(_torch_advice "Give its place as -DTorch_DIR=<root>/share/cmake/Torch or in CMAKE_PREFIX_PATH, or let \
scripts/setup.sh put the CPU wheel into ./.venv")
if(torch_ROOT AND torch_VERSION VERSION_LESS 2.7)
  # Before 2.7 the wheels used the old std::string ABI, whose symbols do not link with ours.
  set(_torch_advice "LibTorch ${torch_VERSION} at ${torch_ROOT} is too old, 2.7 or later is needed. ${_torch_advice}")
  unset(torch_ROOT CACHE)
  unset(torch_ROOT)
endif()
find_package_handle_standard_args(
  torch
  REQUIRED_VARS torch_ROOT torch_c10_LIBRARY torch_torch_LIBRARY torch_torch_cpu_LIBRARY
  VERSION_VAR torch_VERSION
  REASON_FAILURE_MESSAGE "${_torch_advice}")

if(torch_FOUND AND NOT TARGET torch::torch)
  find_package(Threads REQUIRED)
  add_library(torch::torch INTERFACE IMPORTED)
  # The wheel's include folder also holds fmt, protobuf and others. Searched last (-idirafter), it cannot shadow
  # the system's copies; like -isystem it silences warnings.
  set_property(TARGET torch::torch PROPERTY INTERFACE_COMPILE_OPTIONS
    "SHELL:-idirafter \"${torch_ROOT}/include/torch/csrc/api/include\""
    "SHELL:-idirafter \"${torch_ROOT}/include\"")
  set_property(TARGET torch::torch PROPERTY INTERFACE_COMPILE_DEFINITIONS _GLIBCXX_USE_CXX11_ABI=1)
  set(_libraries "${torch_torch_LIBRARY}" "${torch_torch_cpu_LIBRARY}" "${torch_c10_LIBRARY}")
  if(torch_torch_cuda_LIBRARY)
    list(APPEND _libraries "${torch_torch_cuda_LIBRARY}" "${torch_c10_cuda_LIBRARY}")
  endif()
  # Wheels of LibTorch for CUDA export a part of the standard library that was linked into libtorch.so, among it
  # std::filesystem, of which a program that found it there would crash. The program's own comes first.
  if(torch_torch_cuda_LIBRARY AND NOT CMAKE_CXX_FLAGS MATCHES "-stdlib=libc\\+\\+")
    list(PREPEND _libraries -lstdc++)
  endif()
  # Nothing refers to libtorch_cuda by name, its device code registers itself when loaded. A linker that drops
  # "unneeded" libraries (Ubuntu's default) would make CUDA disappear without a word.
  set_property(TARGET torch::torch PROPERTY INTERFACE_LINK_LIBRARIES
    "-Wl,--push-state,--no-as-needed" ${_libraries} "-Wl,--pop-state" Threads::Threads)
endif()

# What code compiled with GCC's -fopenmp links: the runtime that LibTorch's wheel brought, so that the threads are
# LibTorch's and at::set_num_threads() counts for both, or the system's.
if(torch_FOUND AND NOT TARGET torch::openmp)
  file(GLOB _gomp "${torch_ROOT}/lib/libgomp*.so*" "${torch_ROOT}/../torch.libs/libgomp*.so*")
  list(APPEND _gomp -lgomp)
  list(GET _gomp 0 _gomp)
  add_library(torch::openmp INTERFACE IMPORTED)
  set_property(TARGET torch::openmp PROPERTY INTERFACE_LINK_LIBRARIES "${_gomp}")
endif()
