# SPDX-License-Identifier: Apache-2.0
# The table of libc's system call instructions (tools/libc_sites.py), for
# src/preload/patch.cc. Whoever compiles that file includes
# ${UZSWAP_LIBC_SITES_DIR} and depends on the target uzswap_libc_sites.
# Included after tests.cmake: it completes patch_test.
set(UZSWAP_LIBC "" CACHE STRING
    "libc.so.6 files whose system calls can be patched (default: the system's)")
set(UZSWAP_LIBC_SITES_DIR ${CMAKE_BINARY_DIR}/generated)
set(LIBC_SITES_TOOL ${CMAKE_SOURCE_DIR}/tools/libc_sites.py)
set(LIBC_SITES_FILE ${UZSWAP_LIBC_SITES_DIR}/libc_sites.inc)
file(MAKE_DIRECTORY ${UZSWAP_LIBC_SITES_DIR})

find_package(Python3 COMPONENTS Interpreter)
set(LIBC_FILES ${UZSWAP_LIBC})
if(Python3_FOUND AND NOT LIBC_FILES)
  execute_process(COMMAND ${Python3_EXECUTABLE} -B ${LIBC_SITES_TOOL}
                          --print-libc
                  OUTPUT_VARIABLE LIBC_FILES OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(LIBC_FILES AND CMAKE_OBJDUMP)
  set(LIBC_SITES_OPTIONS --objdump ${CMAKE_OBJDUMP})
  foreach(file ${LIBC_FILES})
    list(APPEND LIBC_SITES_OPTIONS --libc ${file})
  endforeach()
  add_custom_command(
    OUTPUT ${LIBC_SITES_FILE}
    COMMAND ${Python3_EXECUTABLE} -B ${LIBC_SITES_TOOL} ${LIBC_SITES_OPTIONS}
            --output ${LIBC_SITES_FILE}
    DEPENDS ${LIBC_SITES_TOOL} ${CMAKE_SOURCE_DIR}/tools/libc_elf.py
            ${LIBC_FILES}
    COMMENT "Listing the system calls of ${LIBC_FILES}" VERBATIM)
else()
  message(WARNING "no table of libc's system calls (python3, objdump and libc "
          "are needed): each call will be dispatched, which is slower")
  file(CONFIGURE OUTPUT ${LIBC_SITES_FILE} CONTENT
    "constexpr std::span<const SiteTable> kLibcTables;\n")
endif()
add_custom_target(uzswap_libc_sites DEPENDS ${LIBC_SITES_FILE})

if(TARGET patch_test)
  add_library(uzswap_patch OBJECT src/preload/patch.cc src/preload/stub.cc)
  # A sanitizer's checks may call libc while it is not executable.
  target_compile_options(uzswap_patch PRIVATE ${ENGINE_FLAGS}
                         -fno-sanitize=all)
  target_include_directories(uzswap_patch PUBLIC ${UZSWAP_LIBC_SITES_DIR})
  add_dependencies(uzswap_patch uzswap_libc_sites)
  target_link_libraries(patch_test PRIVATE uzswap_patch)
  add_dependencies(patch_test uzswap_libc_sites)
endif()
if(Python3_FOUND)
  add_test(NAME libc_sites_test COMMAND ${Python3_EXECUTABLE} -B
           ${CMAKE_SOURCE_DIR}/tests/libc_sites_test.py)
  set_tests_properties(libc_sites_test PROPERTIES TIMEOUT 300 LABELS unit)
endif()
