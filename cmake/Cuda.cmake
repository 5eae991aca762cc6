# SPDX-License-Identifier: Apache-2.0
# CUDA graphs and NCCL need CUDA's headers; everything else that runs on a GPU does so through LibTorch. No CUDA
# compiler is needed.
option(FORESIGHT_CUDA_CHECK "Beside a CPU build of LibTorch: compile what only a CUDA build uses, to know that it does" OFF)

# crt/host_config.h: pip's wheels of the CUDA runtime leave it out, and cuda_runtime.h does not compile without.
find_path(FORESIGHT_CUDA_INCLUDE_DIR crt/host_config.h
          HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include)
mark_as_advanced(FORESIGHT_CUDA_INCLUDE_DIR)

if(FORESIGHT_CUDA_INCLUDE_DIR AND torch_torch_cuda_LIBRARY)
  set_source_files_properties(src/models/cuda_graph.cpp PROPERTIES COMPILE_DEFINITIONS FORESIGHT_HAS_CUDA=1
    INCLUDE_DIRECTORIES "${FORESIGHT_CUDA_INCLUDE_DIR}" SKIP_UNITY_BUILD_INCLUSION ON)
else()
  set_source_files_properties(src/models/cuda_graph.cpp PROPERTIES COMPILE_DEFINITIONS FORESIGHT_HAS_CUDA=0
    SKIP_UNITY_BUILD_INCLUSION ON)
  if(torch_torch_cuda_LIBRARY)
    message(STATUS "foresight: no headers of the CUDA toolkit (crt/host_config.h), so GPUs launch rollouts kernel by kernel")
  elseif(FORESIGHT_CUDA_INCLUDE_DIR AND FORESIGHT_CUDA_CHECK)
    # What only a CUDA build of LibTorch has: a header of macros, which may be empty.
    file(WRITE "${PROJECT_BINARY_DIR}/cuda_check/c10/cuda/impl/cuda_cmake_macros.h" "")
    file(WRITE "${PROJECT_BINARY_DIR}/cuda_check/cuda_graph.cpp" "#include \"${PROJECT_SOURCE_DIR}/src/models/cuda_graph.cpp\"\n")
    add_library(foresight_cuda_check OBJECT "${PROJECT_BINARY_DIR}/cuda_check/cuda_graph.cpp")
    target_include_directories(foresight_cuda_check SYSTEM PRIVATE "${PROJECT_BINARY_DIR}/cuda_check" "${FORESIGHT_CUDA_INCLUDE_DIR}")
    target_compile_definitions(foresight_cuda_check PRIVATE FORESIGHT_HAS_CUDA=1)
    target_link_libraries(foresight_cuda_check PRIVATE foresight_models)
  endif()
endif()
