# SPDX-License-Identifier: Apache-2.0
# Installs the libraries, headers and command, and the package files that find_package(foresight) reads. One export
# set a component, so that asking for `core` never needs what only `data` needs.
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/foresight")

get_property(components GLOBAL PROPERTY FORESIGHT_COMPONENTS)
foreach(component IN LISTS components)
  get_property(folders GLOBAL PROPERTY FORESIGHT_COMPONENT_${component}_FOLDERS)
  set(targets foresight_component_${component})
  foreach(folder IN LISTS folders)
    if(TARGET foresight_${folder})
      list(APPEND targets foresight_${folder})
      # Libraries find each other beside themselves, and LibTorch where they were linked with it.
      set_target_properties(foresight_${folder} PROPERTIES INSTALL_RPATH "$ORIGIN"
                                                           INSTALL_RPATH_USE_LINK_PATH ON)
    endif()
    if(IS_DIRECTORY "${PROJECT_SOURCE_DIR}/include/foresight/${folder}")
      install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/foresight/${folder}"
              DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/foresight" COMPONENT ${component}
              FILES_MATCHING PATTERN "*.hpp")
    endif()
  endforeach()
  install(TARGETS ${targets} EXPORT foresight-${component}
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component}
          LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component}
          RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT ${component}
          INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT foresight-${component} NAMESPACE foresight:: FILE foresight-${component}.cmake
          DESTINATION "${package_dir}" COMPONENT ${component})
endforeach()

# Suites for tests of users' own models and planners: headers alone, beside a Catch2 that the user brings.
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/foresight/testing"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/foresight" COMPONENT core FILES_MATCHING PATTERN "*.hpp")

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/foresightConfig.cmake.in" "${PROJECT_BINARY_DIR}/foresightConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor release may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/foresightConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/foresightConfig.cmake" "${PROJECT_BINARY_DIR}/foresightConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/Findtorch.cmake" "${PROJECT_SOURCE_DIR}/cmake/Findarrow_parquet.cmake"
        DESTINATION "${package_dir}" COMPONENT core)

if(TARGET foresight_command)
  set_target_properties(foresight_command PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}"
                                                     INSTALL_RPATH_USE_LINK_PATH ON)
endif()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT core)
