# SPDX-License-Identifier: Apache-2.0
# Finds Apache Arrow's and Parquet's C++ libraries: those of the system (they bring CMake packages), else those inside
# the Python package pyarrow, which ships headers and libraries. Installed beside foresight's package config.
#
#   arrow_parquet_ROOT                     a folder with include/ and libparquet.so*, e.g. of pyarrow
#   CMake packages Arrow and Parquet       as libarrow-dev and libparquet-dev of Arrow's own archive install them
#   the pyarrow beside LibTorch            where scripts/setup.sh puts it
#   the pyarrow that `python3` would import
#
# Result: arrow_parquet_FOUND, arrow_parquet_VERSION and the imported target arrow_parquet::arrow_parquet.

if(TARGET arrow_parquet::arrow_parquet)
  set(arrow_parquet_FOUND TRUE)
  return()
endif()

set(_parquet_from "")
if(NOT arrow_parquet_ROOT)
  find_package(Arrow CONFIG QUIET)
  find_package(Parquet CONFIG QUIET)
  if(TARGET Parquet::parquet_shared AND TARGET Arrow::arrow_shared)
    set(_parquet_from system)
    set(arrow_parquet_VERSION "${Arrow_VERSION}")
  endif()
endif()

if(NOT _parquet_from)
  set(_parquet_hints ${arrow_parquet_ROOT} ${foresight_PARQUET_HINT})
  if(torch_ROOT)
    list(APPEND _parquet_hints "${torch_ROOT}/../pyarrow")
  endif()
  file(GLOB _parquet_venvs "${CMAKE_SOURCE_DIR}/.venv/lib*/python3*/site-packages/pyarrow")
  list(APPEND _parquet_hints ${_parquet_venvs})
  find_program(torch_PYTHON NAMES python3 python)
  mark_as_advanced(torch_PYTHON)
  if(torch_PYTHON)
    execute_process(
      COMMAND "${torch_PYTHON}" -c
        "import importlib.util as u; s = u.find_spec('pyarrow'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _parquet_python_root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND _parquet_hints ${_parquet_python_root})
  endif()
  foreach(_hint IN LISTS _parquet_hints)
    # The wheel has no development links: the name carries the release, "libparquet.so.2600".
    file(GLOB _parquet_library "${_hint}/libparquet.so*" "${_hint}/lib/libparquet.so*")
    file(GLOB _arrow_library "${_hint}/libarrow.so*" "${_hint}/lib/libarrow.so*")
    if(NOT _parquet_library OR NOT _arrow_library OR NOT EXISTS "${_hint}/include/parquet/arrow/reader.h")
      continue()
    endif()
    list(GET _parquet_library 0 _parquet_library)
    list(GET _arrow_library 0 _arrow_library)
    # Its std::string must be ours: wheels for old systems use the other layout, whose symbols do not link.
    file(STRINGS "${_parquet_library}" _parquet_symbols REGEX "parquet5arrow17FileReaderBuilder8OpenFileERKNSt7__cxx11"
         LIMIT_COUNT 1)
    if(NOT _parquet_symbols)
      message(STATUS "foresight: the Parquet library in ${_hint} uses an old std::string, it is not used")
      continue()
    endif()
    get_filename_component(arrow_parquet_ROOT "${_hint}" REALPATH)
    set(_parquet_from wheel)
    file(STRINGS "${_hint}/include/arrow/util/config.h" _parquet_line REGEX "#define ARROW_VERSION_STRING ")
    string(REGEX REPLACE ".*\"(.*)\".*" "\\1" arrow_parquet_VERSION "${_parquet_line}")
    break()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(arrow_parquet REQUIRED_VARS _parquet_from VERSION_VAR arrow_parquet_VERSION)
if(arrow_parquet_FOUND)
  add_library(arrow_parquet::arrow_parquet INTERFACE IMPORTED)
  if(_parquet_from STREQUAL "system")
    target_link_libraries(arrow_parquet::arrow_parquet INTERFACE Parquet::parquet_shared Arrow::arrow_shared)
  else()
    target_include_directories(arrow_parquet::arrow_parquet SYSTEM INTERFACE "${arrow_parquet_ROOT}/include")
    target_link_libraries(arrow_parquet::arrow_parquet INTERFACE "${_parquet_library}" "${_arrow_library}")
  endif()
endif()
