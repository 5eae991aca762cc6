# SPDX-License-Identifier: Apache-2.0
# How the project's own targets are made: one library a folder, one test program a folder, shared settings.

# What every target of ours is compiled with. Nothing is set globally, so a project that adds us with
# add_subdirectory() keeps its own flags.
add_library(foresight_settings INTERFACE)
target_compile_features(foresight_settings INTERFACE cxx_std_20)
if(FORESIGHT_WARNINGS)
  target_compile_options(foresight_settings INTERFACE -Wall -Wextra -Wno-psabi)
  if(FORESIGHT_WARNINGS_AS_ERRORS)
    target_compile_options(foresight_settings INTERFACE -Werror)
  endif()
endif()
if(FORESIGHT_SANITIZE)
  target_compile_options(foresight_settings INTERFACE -fsanitize=${FORESIGHT_SANITIZE}
                                                      -fno-omit-frame-pointer)
  target_link_options(foresight_settings INTERFACE -fsanitize=${FORESIGHT_SANITIZE})
endif()
# mold links a test program in a second where ld takes ten. GCC knows it from 12.1 on.
find_program(FORESIGHT_MOLD mold)
mark_as_advanced(FORESIGHT_MOLD)
if(FORESIGHT_MOLD AND PROJECT_IS_TOP_LEVEL)
  include(CheckLinkerFlag)
  check_linker_flag(CXX -fuse-ld=mold FORESIGHT_HAS_MOLD)
  if(FORESIGHT_HAS_MOLD)
    target_link_options(foresight_settings INTERFACE -fuse-ld=mold)
  endif()
endif()

function(foresight_target_settings target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:foresight_settings>)
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  # The property would give programs -fPIE, and GCC refuses a precompiled header made with -fPIC there.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_compile_options(${target} PRIVATE -fPIC)
  else()
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  endif()
  if(FORESIGHT_CCACHE)
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER "${FORESIGHT_CCACHE}")
  endif()
endfunction()

# foresight_library(<folder> [DEPENDS <folders>] [PRIVATE <libs>] [PUBLIC <libs>])
# Compiles src/<folder>/*.cpp into foresight_<folder>. The folder order of docs/architecture.md is the link order: a
# folder that reaches upwards does not link. Users link components, see foresight_component().
function(foresight_library folder)
  cmake_parse_arguments(arg "" "" "DEPENDS;PUBLIC;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/*.cpp")
  file(GLOB headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/foresight/${folder}/*.hpp")
  if(NOT sources)
    return()
  endif()
  set(target foresight_${folder})
  add_library(${target} ${sources} ${headers})
  foresight_target_settings(${target})
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  if(BUILD_SHARED_LIBS)
    target_compile_definitions(${target} PUBLIC FORESIGHT_SHARED)
  endif()
  foreach(dependency IN LISTS arg_DEPENDS)
    if(TARGET foresight_${dependency})
      target_link_libraries(${target} PUBLIC foresight_${dependency})
    endif()
  endforeach()
  target_link_libraries(${target} PUBLIC torch::torch nlohmann_json::nlohmann_json ${arg_PUBLIC}
                                  PRIVATE fmt::fmt spdlog::spdlog ${arg_PRIVATE})
  set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION}
                                             SOVERSION ${PROJECT_VERSION_MAJOR})
  foresight_precompile(${target} ${folder})
  set_property(GLOBAL APPEND PROPERTY FORESIGHT_LIBRARIES ${target})
endfunction()

# Two precompiled headers, because loading one costs time as well (measured on two cores: a file that needs
# ATen takes 17 s without and 4 s with the small one; the large one costs every file 8 s). Folders that define
# torch modules use the large one.
set(FORESIGHT_TORCH_FOLDERS nn losses models train cli)

function(foresight_precompile target folder)
  if(NOT FORESIGHT_PCH)
    return()
  endif()
  set(header <ATen/ATen.h>)
  set(pch foresight_pch_aten)
  if(folder IN_LIST FORESIGHT_TORCH_FOLDERS)
    set(header <torch/nn.h> <torch/optim.h>)
    set(pch foresight_pch_torch)
  endif()
  if(NOT TARGET ${pch})
    file(WRITE "${PROJECT_BINARY_DIR}/${pch}.cpp" "// carries the precompiled header\n")
    add_library(${pch} OBJECT "${PROJECT_BINARY_DIR}/${pch}.cpp")
    foresight_target_settings(${pch})
    target_link_libraries(${pch} PRIVATE torch::torch nlohmann_json::nlohmann_json)
    target_precompile_headers(${pch} PRIVATE ${header} <nlohmann/json.hpp>)
  endif()
  target_precompile_headers(${target} REUSE_FROM ${pch})
endfunction()
