# SPDX-License-Identifier: Apache-2.0
# Nothing is listed by hand, so nothing can be forgotten
# (tools/check_tests.py compares the tree with what ctest knows):
#   src/**/x_test.cc, compressors/x_test.cc, tests/x_test.cc   GoogleTest x_test
#   src/**/x_fuzz.cc, compressors/x_fuzz.cc, tests/x_fuzz.cc   model test x_fuzz
#   tests/fuzzers/x.cc           libFuzzer program x, with clang only; ./dev fuzz
#   tests/x.sh, tests/x.py       whole processes, label `process`; 77 means skip
#   tools/check_*.py             rules of the source tree, label `check`
#
# Tests link the engine and its codecs. A folder that is not part of the engine
# (cli, preload) adds in its own cmake file what its tests link besides.
file(GLOB TEST_SUPPORT CONFIGURE_DEPENDS tests/support/*.cc)
list(FILTER TEST_SUPPORT EXCLUDE REGEX "_(test|fuzz)\\.cc$")
add_library(uzswap_test_support OBJECT ${TEST_SUPPORT}
            ${CMAKE_SOURCE_DIR}/cmake/empty.cc)
target_include_directories(uzswap_test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)

# Parts of the torture program.
file(GLOB TORTURE CONFIGURE_DEPENDS tests/torture_*.cc)
list(FILTER TORTURE EXCLUDE REGEX "_(test|fuzz)\\.cc$")

enable_testing()
find_package(GTest REQUIRED)

# What all test programs are compiled with.
add_library(uzswap_test_flags INTERFACE)
target_compile_definitions(uzswap_test_flags INTERFACE
  UZSWAP_PLUGIN_DIR="${CMAKE_BINARY_DIR}/plugins")
# Tests break locking rules on purpose.
target_compile_options(uzswap_test_flags INTERFACE
  $<$<CXX_COMPILER_ID:Clang>:-Wno-thread-safety>)
if(NOT UZSWAP_SANITIZE STREQUAL "thread")
  # Optimising them takes longer than running them. The engine is optimised.
  target_compile_options(uzswap_test_flags INTERFACE -O0)
endif()
# GoogleTest's headers are most of what a test is compiled from.
add_library(uzswap_test_headers OBJECT ${CMAKE_SOURCE_DIR}/cmake/empty.cc)
target_link_libraries(uzswap_test_headers PRIVATE uzswap_test_flags
                      GTest::gtest)
target_precompile_headers(uzswap_test_headers PRIVATE <gtest/gtest.h> <string>
                          <thread> <vector>)
# Else an object would be -fPIC, and a program -fPIE.
set_target_properties(uzswap_test_headers PROPERTIES
                      POSITION_INDEPENDENT_CODE OFF)

function(uzswap_test_program name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE uzswap_test_flags)
  target_link_libraries(${name} PRIVATE uzswap_engine uzswap_builtin_compressors
    uzswap_test_support ${LZ4_STATIC} ${ZSTD_STATIC} ${CMAKE_DL_LIBS} ${ARGN})
endfunction()

file(GLOB_RECURSE TEST_SOURCES CONFIGURE_DEPENDS
     src/*_test.cc compressors/*_test.cc tests/*_test.cc)
# The fixed seed makes a run repeatable; other seeds are for long runs by hand.
file(GLOB_RECURSE FUZZ_SOURCES CONFIGURE_DEPENDS
     src/*_fuzz.cc compressors/*_fuzz.cc tests/*_fuzz.cc)
if(UZSWAP_SANITIZE)
  # A preload cannot share a process with a sanitizer's run-time library.
  list(FILTER TEST_SOURCES EXCLUDE REGEX "/src/preload/")
  list(FILTER FUZZ_SOURCES EXCLUDE REGEX "/src/preload/")
endif()
if(UZSWAP_TESTS STREQUAL "process")
  list(FILTER TEST_SOURCES INCLUDE REGEX "/src/preload/")
  list(FILTER FUZZ_SOURCES INCLUDE REGEX "/src/preload/|/torture_fuzz")
endif()
if(UZSWAP_SANITIZE STREQUAL "thread")
  # Where nothing makes a thread, or a fork, or an engine with its worker, it
  # would look for minutes and cannot find anything.
  foreach(list TEST_SOURCES FUZZ_SOURCES)
    foreach(source ${${list}})
      file(STRINGS ${source} threads REGEX
           "thread>|Spawn\\(|RawThread|[wW]orker|Engine|fork\\(|torture")
      if(NOT threads OR source MATCHES "/compressors/")
        list(REMOVE_ITEM ${list} ${source})
      endif()
    endforeach()
  endforeach()
endif()
foreach(source ${TEST_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  uzswap_test_program(${name} ${source} GTest::gtest_main)
  if(name STREQUAL zpool_test)
    # It looks at megabytes again and again.
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -O1)
  else()
    target_precompile_headers(${name} REUSE_FROM uzswap_test_headers)
  endif()
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS unit)
  if(UZSWAP_SANITIZE STREQUAL "thread")
    # Long, and of one thread, among others that are not.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "GTEST_FILTER=-\
*AnyFailedAllocation*:*NeighboursStayIntact*:*MemoryGoesBackWhenAll*:\
*CompactionGivesFramesBack*:*EverySizeComesBack*:*UsedToSevenEighths*:\
*HalfOfTheStorageAtMost*:*RandomUseNeverMixes*:*FourTimesTheLimit*:\
*PagesBeyondThePool*:*PinnedPagesOfTheOldest*:*WhatWasJustBroughtIn*:\
*WhenEverythingIsPinned*:*AScanLeaves*:*PageByPageWhere*")
  endif()
endforeach()
foreach(source ${FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  uzswap_test_program(${name} ${source})
  set(seconds 5)
  if(name STREQUAL torture_fuzz)
    target_sources(${name} PRIVATE ${TORTURE})
    set(seconds 20)
  elseif(name STREQUAL zpool_fuzz)
    set(seconds 50)  # in two builds; and 20 by libFuzzer
  endif()
  add_test(NAME ${name} COMMAND ${name} 123 ${seconds})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endforeach()

# Needs clang and its run-time libraries. The engine below compress is compiled
# again, so that libFuzzer sees which way it went.
if(CMAKE_CXX_COMPILER_ID MATCHES Clang AND NOT UZSWAP_SANITIZE)
  include(CheckCXXSourceCompiles)
  set(LIBFUZZER -fsanitize=fuzzer,address,undefined)
  set(CMAKE_REQUIRED_FLAGS ${LIBFUZZER})
  check_cxx_source_compiles("#include <stddef.h>
    extern \"C\" int LLVMFuzzerTestOneInput(const unsigned char*, size_t) {
      return 0;
    }" UZSWAP_LIBFUZZER_LINKS)
  unset(CMAKE_REQUIRED_FLAGS)
  if(UZSWAP_LIBFUZZER_LINKS)
    file(GLOB FUZZED CONFIGURE_DEPENDS src/base/*.cc src/base/*.S
         src/zpool/*.cc)
    list(FILTER FUZZED EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
    add_library(uzswap_fuzzed OBJECT ${FUZZED})
    # The engine has no RTTI, which the vptr check would need.
    target_compile_options(uzswap_fuzzed PUBLIC -fno-sanitize-recover=all
      $<$<COMPILE_LANGUAGE:CXX>:${LIBFUZZER};-fno-sanitize=vptr>
      PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${ENGINE_FLAGS}>)
    file(GLOB LIBFUZZER_SOURCES CONFIGURE_DEPENDS tests/fuzzers/*.cc)
    foreach(source ${LIBFUZZER_SOURCES})
      get_filename_component(name ${source} NAME_WE)
      add_executable(${name} ${source})
      target_link_libraries(${name} PRIVATE uzswap_fuzzed)
      target_link_options(${name} PRIVATE ${LIBFUZZER})
    endforeach()
  else()
    message(STATUS "no libFuzzer programs: -fsanitize=fuzzer does not link "
            "(Debian: libclang-rt-dev)")
  endif()
endif()
if(UZSWAP_SANITIZE)
  return()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)
# At the end of configuring, so that a part's own cmake file may register its
# scripts with properties of its own; what it left out is added here. They
# measure memory and time, so they do not share the machine.
function(uzswap_register_scripts)
  file(GLOB scripts CONFIGURE_DEPENDS tests/*.sh tests/*.py)
  list(FILTER scripts EXCLUDE REGEX "/(functions|jobs|switching)\\.(sh|py)$")
  get_property(left_out GLOBAL PROPERTY UZSWAP_LEFT_OUT)
  foreach(script ${scripts})
    get_filename_component(name ${script} NAME_WE)
    if(NOT TEST ${name} AND NOT name IN_LIST left_out)
      set(interpreter bash)
      if(script MATCHES "\\.py$")
        set(interpreter ${Python3_EXECUTABLE} -B)
      endif()
      add_test(NAME ${name} COMMAND ${interpreter} ${script})
      set_tests_properties(${name} PROPERTIES
        ENVIRONMENT "UZSWAP_BUILD=${CMAKE_BINARY_DIR}" RUN_SERIAL TRUE
        SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS process)
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL uzswap_register_scripts)

# The rules of the source tree hold for every build; one of them checks.
if(UZSWAP_DEBUG)
  return()
endif()
file(GLOB CHECKS CONFIGURE_DEPENDS tools/check_*.py)
foreach(script ${CHECKS})
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} -B ${script}
           --build ${CMAKE_BINARY_DIR})
  add_test(NAME ${name}_self_test COMMAND ${Python3_EXECUTABLE} -B ${script}
           --self-test)
  set_tests_properties(${name} ${name}_self_test PROPERTIES
    TIMEOUT 300 LABELS check)
endforeach()
