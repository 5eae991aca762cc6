# SPDX-License-Identifier: Apache-2.0
# Training on several processes uses LibTorch's c10d. LibTorch holds the compiled Gloo and NCCL, but not their headers,
# which c10d's own include: those of Debian's libgloo-dev fit, and nothing of that package is linked. Without them
# everything else is built, and a run on several processes is an error that names the package.
option(FORESIGHT_WITH_GLOO "Training on several CPU processes, if the headers of Gloo are found" ON)
option(FORESIGHT_WITH_NCCL "Training on several GPUs, if LibTorch is a CUDA build and nccl.h is found" ON)

set(_c10d "${torch_ROOT}/include/torch/csrc/distributed/c10d")
set(_definitions "")
set(_includes "")
if(FORESIGHT_WITH_GLOO)
  find_path(FORESIGHT_GLOO_INCLUDE_DIR gloo/algorithm.h)
  mark_as_advanced(FORESIGHT_GLOO_INCLUDE_DIR)
  if(FORESIGHT_GLOO_INCLUDE_DIR AND EXISTS "${_c10d}/ProcessGroupGloo.hpp")
    list(APPEND _definitions USE_C10D_GLOO)
    list(APPEND _includes "${FORESIGHT_GLOO_INCLUDE_DIR}")
  else()
    message(STATUS "foresight: no headers of Gloo (libgloo-dev), so no training on several processes")
  endif()
endif()
if(FORESIGHT_WITH_NCCL AND torch_torch_cuda_LIBRARY)
  # c10d includes headers of the whole toolkit. Beside torch lie the wheels nvidia-cusparse, nvidia-nccl-cu12 or -cu13.
  find_path(FORESIGHT_CUSPARSE_INCLUDE_DIR cusparse.h
            HINTS "${FORESIGHT_CUDA_INCLUDE_DIR}" "${torch_ROOT}/../nvidia/cu13" "${torch_ROOT}/../nvidia/cusparse"
            PATH_SUFFIXES include)
  find_path(FORESIGHT_NCCL_INCLUDE_DIR nccl.h
            HINTS "${torch_ROOT}/../nvidia/nccl" ENV NCCL_HOME PATHS /usr/local/cuda PATH_SUFFIXES include)
  mark_as_advanced(FORESIGHT_CUSPARSE_INCLUDE_DIR FORESIGHT_NCCL_INCLUDE_DIR)
  if(FORESIGHT_CUDA_INCLUDE_DIR AND FORESIGHT_CUSPARSE_INCLUDE_DIR AND FORESIGHT_NCCL_INCLUDE_DIR AND
     EXISTS "${_c10d}/ProcessGroupNCCL.hpp")
    list(APPEND _definitions USE_C10D_NCCL)
    list(APPEND _includes "${FORESIGHT_CUDA_INCLUDE_DIR}" "${FORESIGHT_CUSPARSE_INCLUDE_DIR}" "${FORESIGHT_NCCL_INCLUDE_DIR}")
    list(REMOVE_DUPLICATES _includes)
  else()
    message(STATUS "foresight: no headers of NCCL (nccl.h) or of the CUDA toolkit (crt/host_config.h, cusparse.h), so "
                   "several GPUs exchange through the CPUs' memory")
  endif()
endif()

# The compiler's own folder, given again, would come before those of the standard library.
if(CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
  list(REMOVE_ITEM _includes ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
endif()
set_source_files_properties(
  src/train/join_processes.cpp
  PROPERTIES COMPILE_DEFINITIONS "${_definitions}" INCLUDE_DIRECTORIES "${_includes}" SKIP_UNITY_BUILD_INCLUSION ON)
