# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch without its own CMake files, because those enable the CUDA language and stop on a machine that
# has a CUDA build of torch but no nvcc. Searches, in order: Torch_DIR, CMAKE_PREFIX_PATH, ./.venv of the project,
# and the torch that `python3` can import. Installed beside foresight's package config for its consumers.
#
# Result: torch_FOUND, torch_VERSION, torch_ROOT and the imported target torch::torch.

set(_hints "")
if(Torch_DIR)  # <root>/share/cmake/Torch
  get_filename_component(_root "${Torch_DIR}/../../.." ABSOLUTE)
  list(APPEND _hints "${_root}")
endif()
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  # torch.utils.cmake_prefix_path is <root>/share/cmake, a LibTorch archive is <root> itself
  get_filename_component(_root "${_prefix}/../.." ABSOLUTE)
  list(APPEND _hints "${_prefix}" "${_root}")
endforeach()
file(GLOB _venvs "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
list(APPEND _hints ${_venvs})

# Optimised builds of one root only: headers and libraries of two installations must never mix.
find_path(torch_ROOT NAMES include/ATen/ATen.h HINTS ${_hints} NO_DEFAULT_PATH)
if(NOT torch_ROOT)
  find_program(torch_PYTHON NAMES python3 python)
  if(torch_PYTHON)
    execute_process(
      COMMAND "${torch_PYTHON}" -c "import torch, os; print(os.path.dirname(torch.__file__))"
      OUTPUT_VARIABLE _python_root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    find_path(torch_ROOT NAMES include/ATen/ATen.h HINTS "${_python_root}" NO_DEFAULT_PATH)
  endif()
endif()
if(NOT torch_ROOT)
  find_path(torch_ROOT NAMES include/ATen/ATen.h PATHS /opt/libtorch /usr/local/libtorch)
endif()

if(torch_ROOT)
  foreach(_header include/torch/headeronly/version.h
                  include/torch/csrc/api/include/torch/version.h)
    if(NOT torch_VERSION AND EXISTS "${torch_ROOT}/${_header}")
      file(STRINGS "${torch_ROOT}/${_header}" _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
      string(REGEX REPLACE "[^0-9;]" "" _numbers "${_lines}")
      list(JOIN _numbers "." torch_VERSION)
    endif()
  endforeach()
  foreach(_library c10 torch torch_cpu)
    find_library(torch_${_library}_LIBRARY NAMES ${_library} PATHS "${torch_ROOT}/lib"
                 NO_DEFAULT_PATH)
  endforeach()
  # Only in CUDA builds. Their device code registers itself when loaded, so nothing may drop them.
  foreach(_library c10_cuda torch_cuda)
    find_library(torch_${_library}_LIBRARY NAMES ${_library} PATHS "${torch_ROOT}/lib"
                 NO_DEFAULT_PATH)
  endforeach()
  mark_as_advanced(torch_c10_LIBRARY torch_torch_LIBRARY torch_torch_cpu_LIBRARY
                   torch_c10_cuda_LIBRARY torch_torch_cuda_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  torch
  REQUIRED_VARS torch_ROOT torch_c10_LIBRARY torch_torch_LIBRARY torch_torch_cpu_LIBRARY
  VERSION_VAR torch_VERSION
  REASON_FAILURE_MESSAGE
    "Give LibTorch's place as -DTorch_DIR=<root>/share/cmake/Torch or in CMAKE_PREFIX_PATH, or `pip install torch==2.13.0` (CPU) into ./.venv")

if(torch_FOUND AND NOT TARGET torch::torch)
  if(torch_VERSION VERSION_LESS 2.7)
    # Before 2.7 the wheels used the old std::string ABI, whose symbols do not link with ours.
    message(FATAL_ERROR "LibTorch ${torch_VERSION} at ${torch_ROOT} is too old: foresight needs 2.7 or later")
  endif()
  add_library(torch::torch INTERFACE IMPORTED)
  # The wheel's include folder also holds fmt, protobuf and others. Searched last (-idirafter), it cannot shadow
  # the system's copies; like -isystem it silences warnings.
  set_property(TARGET torch::torch PROPERTY INTERFACE_COMPILE_OPTIONS
    "SHELL:-idirafter \"${torch_ROOT}/include/torch/csrc/api/include\""
    "SHELL:-idirafter \"${torch_ROOT}/include\"")
  set_property(TARGET torch::torch PROPERTY INTERFACE_COMPILE_DEFINITIONS
    _GLIBCXX_USE_CXX11_ABI=1)
  set(_libraries "${torch_torch_LIBRARY}" "${torch_torch_cpu_LIBRARY}" "${torch_c10_LIBRARY}")
  if(torch_torch_cuda_LIBRARY)
    list(APPEND _libraries "${torch_torch_cuda_LIBRARY}" "${torch_c10_cuda_LIBRARY}")
  endif()
  set_property(TARGET torch::torch PROPERTY INTERFACE_LINK_LIBRARIES
    "-Wl,--push-state,--no-as-needed" ${_libraries} "-Wl,--pop-state" Threads::Threads)
  find_package(Threads REQUIRED)
endif()
