# SPDX-License-Identifier: Apache-2.0
# One packaging test, see CMakeLists.txt: installs a build tree (BUILD_TREE, PREFIX), or configures, builds and runs a
# project (PROJECT, perhaps with another PROGRAM or compiler FLAGS) against an installation (FIND_IN) or the sources
# (ADD). With EXPECT_FAILURE, configuring must fail with a message that matches it. With PKG_CONFIG, what pkg-config knows
# can be found, and of the sources only what the project needs is built.

cmake_minimum_required(VERSION 3.24)

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "exit code ${result}")
  endif()
endfunction()

if(BUILD_TREE)
  file(REMOVE_RECURSE "${PREFIX}")  # what an earlier run installed must not hide what this one forgets
  run(${CMAKE_COMMAND} --install "${BUILD_TREE}" --prefix "${PREFIX}")
  return()
endif()

# No FFmpeg, and nothing of the environment that would help to find foresight or LibTorch.
if(NOT PKG_CONFIG)
  set(ENV{PKG_CONFIG_LIBDIR} "/nonexistent")
  set(ENV{PKG_CONFIG_PATH} "")
endif()
set(ENV{CMAKE_PREFIX_PATH} "")
unset(ENV{Torch_DIR})
set(ENV{CCACHE_SLOPPINESS} "pch_defines,time_macros,include_file_mtime,include_file_ctime")

set(arguments -S "${SOURCE}/tests/packaging/${PROJECT}" -B "${WORK}/build" -G "${GENERATOR}"
              "-DCMAKE_CXX_COMPILER=${COMPILER}")
if(LAUNCHER)
  list(APPEND arguments "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
endif()
if(FIND_IN)
  file(REMOVE_RECURSE "${WORK}")
  list(APPEND arguments "-DCMAKE_PREFIX_PATH=${FIND_IN}" -DCMAKE_BUILD_TYPE=Release)
else()
  file(REMOVE "${WORK}/build/CMakeCache.txt")
  # -z defs: a library that uses a symbol which another one hides must not link.
  list(APPEND arguments "-DFORESIGHT_SOURCES=${ADD}" "-DBUILD_SHARED_LIBS=${SHARED}" -DFORESIGHT_INSTALL=ON -DFORESIGHT_UNITY=ON
                        "-DTorch_DIR=${TORCH}/share/cmake/Torch" -DCMAKE_CXX_FLAGS=-O0
                        -DCMAKE_SHARED_LINKER_FLAGS=-Wl,-z,defs)
endif()
if(PROGRAM)
  list(APPEND arguments "-DPROGRAM=${PROGRAM}")
endif()
if(FLAGS)
  list(APPEND arguments "-DCMAKE_CXX_FLAGS=${FLAGS}")
endif()
if(COMPONENT)
  list(APPEND arguments "-DCOMPONENT=${COMPONENT}")
endif()
if(README)  # its C++ blocks are the program
  file(READ "${README}" rest)
  set(number 0)
  while(TRUE)
    string(FIND "${rest}" "```cpp\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 7")
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "```" end)
    string(SUBSTRING "${rest}" 0 ${end} block)
    math(EXPR end "${end} + 3")
    string(SUBSTRING "${rest}" ${end} -1 rest)
    math(EXPR number "${number} + 1")
    file(WRITE "${WORK}/readme/${number}.cpp" "${block}")
  endwhile()
  if(number EQUAL 0)
    message(FATAL_ERROR "${README} has no C++ example")
  endif()
  list(APPEND arguments "-DPROGRAM=${WORK}/readme/*.cpp")
endif()

if(EXPECT_FAILURE)
  execute_process(COMMAND ${CMAKE_COMMAND} ${arguments} RESULT_VARIABLE result ERROR_VARIABLE errors
                  OUTPUT_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " errors "${errors}")  # CMake wraps its messages
  if(result EQUAL 0 OR NOT errors MATCHES "${EXPECT_FAILURE}")
    message(FATAL_ERROR "expected an error that matches '${EXPECT_FAILURE}', got exit code ${result}:\n${errors}")
  endif()
  return()
endif()

cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
run(${CMAKE_COMMAND} ${arguments})
run(${CMAKE_COMMAND} --build "${WORK}/build" --target consumer --parallel ${cores})
run("${WORK}/build/consumer")
if(ADD AND NOT PKG_CONFIG)  # all libraries, as they are installed next
  run(${CMAKE_COMMAND} --build "${WORK}/build" --parallel ${cores})
endif()
