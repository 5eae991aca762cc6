# SPDX-License-Identifier: Apache-2.0
# Third-party libraries: the system's copy first, a pinned release through FetchContent otherwise.
# GLOBAL, because a project that adds foresight with add_subdirectory() links through these targets too.
include(FetchContent)

find_package(torch REQUIRED GLOBAL)
message(STATUS "foresight: LibTorch ${torch_VERSION} at ${torch_ROOT}")

# A fetched copy is installed with foresight, so that the installed package finds it. One fmt for all: spdlog
# must not bring its own.
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
foreach(_install FMT_INSTALL SPDLOG_INSTALL JSON_Install)
  set(${_install} ${FORESIGHT_INSTALL})
endforeach()
set(SPDLOG_FMT_EXTERNAL ON)

# foresight_dependency(<package> <target> <git url> <tag>)
macro(foresight_dependency package target url tag)
  find_package(${package} QUIET GLOBAL)
  if(NOT TARGET ${target})
    message(STATUS "foresight: ${package} not found in the system, fetching ${tag}")
    FetchContent_Declare(${package} GIT_REPOSITORY ${url} GIT_TAG ${tag} GIT_SHALLOW ON SYSTEM)
    FetchContent_MakeAvailable(${package})
  endif()
endmacro()

foresight_dependency(fmt fmt::fmt https://github.com/fmtlib/fmt.git 9.1.0)
foresight_dependency(spdlog spdlog::spdlog https://github.com/gabime/spdlog.git v1.10.0)
foresight_dependency(nlohmann_json nlohmann_json::nlohmann_json https://github.com/nlohmann/json.git v3.11.2)
foresight_dependency(Eigen3 Eigen3::Eigen https://gitlab.com/libeigen/eigen.git 3.4.0)

if(FORESIGHT_WITH_DATA)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(FORESIGHT_PICTURES IMPORTED_TARGET GLOBAL libjpeg zlib)
  if(NOT FORESIGHT_PICTURES_FOUND)
    message(FATAL_ERROR "foresight: FORESIGHT_WITH_DATA needs libjpeg and zlib. Debian/Ubuntu: apt-get install "
      "libjpeg-dev zlib1g-dev. Without them, configure with -DFORESIGHT_WITH_DATA=OFF: planning and control need "
      "neither.")
  endif()
  set(FORESIGHT_DATA_LIBRARIES PkgConfig::FORESIGHT_PICTURES)
  # Libraries of single formats. Without one, opening such data says what is missing and how to get it.
  if(FORESIGHT_WITH_FFMPEG)
    pkg_check_modules(FORESIGHT_FFMPEG IMPORTED_TARGET GLOBAL
                      libavformat>=58 libavcodec>=58 libavutil>=56 libswscale>=5)
    set(_importance WARNING)  # most of what is recorded is film
  else()
    set(FORESIGHT_FFMPEG_FOUND OFF)
    set(_importance STATUS)
  endif()
  if(FORESIGHT_FFMPEG_FOUND)
    list(APPEND FORESIGHT_DATA_LIBRARIES PkgConfig::FORESIGHT_FFMPEG)
  else()
    message(${_importance} "foresight: no FFmpeg (libavformat-dev libavcodec-dev libavutil-dev libswscale-dev): films "
      "and PNG pictures will not open, films will not be written, pictures keep the size that they are stored at")
  endif()
  if(FORESIGHT_WITH_HDF5)
    pkg_check_modules(FORESIGHT_HDF5 IMPORTED_TARGET GLOBAL hdf5>=1.10)
  else()
    set(FORESIGHT_HDF5_FOUND OFF)
  endif()
  if(FORESIGHT_HDF5_FOUND)
    list(APPEND FORESIGHT_DATA_LIBRARIES PkgConfig::FORESIGHT_HDF5)
  else()
    message(STATUS "foresight: no HDF5 (libhdf5-dev): stable-worldmodel, robomimic and DROID files will not open")
  endif()
  if(FORESIGHT_WITH_PARQUET)
    find_package(arrow_parquet GLOBAL QUIET)
  endif()
  if(arrow_parquet_FOUND)
    message(STATUS "foresight: Parquet of Arrow ${arrow_parquet_VERSION} ${arrow_parquet_ROOT}")
    list(APPEND FORESIGHT_DATA_LIBRARIES arrow_parquet::arrow_parquet)
  else()
    message(STATUS "foresight: no Apache Parquet (pip install pyarrow, see docs/building.md): LeRobot data will not open")
  endif()
endif()
