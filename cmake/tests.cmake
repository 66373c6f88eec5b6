# SPDX-License-Identifier: Apache-2.0
# Nothing is listed by hand, so nothing can be forgotten
# (tools/check_tests.py compares the tree with what ctest knows):
#   src/**/x_test.cc, compressors/x_test.cc, tests/x_test.cc   GoogleTest x_test
#   src/**/x_fuzz.cc, compressors/x_fuzz.cc, tests/x_fuzz.cc   x_fuzz SEED SECONDS
#   tests/x.sh, tests/x.py       whole processes, label `process`; 77 means skip
#   tools/check_*.py             rules of the source tree, label `check`
#
# Tests link the engine and its codecs. A folder that is not part of the engine
# (cli, preload) names what its own tests may link: an OBJECT library
# uzswap_FOLDER_testable, made in cmake/FOLDER.cmake.
file(GLOB TEST_SUPPORT CONFIGURE_DEPENDS tests/support/*.cc)
list(FILTER TEST_SUPPORT EXCLUDE REGEX "_(test|fuzz)\\.cc$")
add_library(uzswap_test_support OBJECT ${TEST_SUPPORT}
            ${CMAKE_SOURCE_DIR}/cmake/empty.cc)
target_include_directories(uzswap_test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)

# The clang build is there for the thread-safety analysis of the product. Tests
# break locking rules on purpose, so it has none.
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  option(UZSWAP_TESTS "build the tests" OFF)
else()
  option(UZSWAP_TESTS "build the tests" ON)
endif()
if(NOT UZSWAP_TESTS)
  return()
endif()

enable_testing()
find_package(GTest REQUIRED)

function(uzswap_test_program name source)
  add_executable(${name} ${source})
  target_compile_definitions(${name} PRIVATE
    UZSWAP_PLUGIN_DIR="${CMAKE_BINARY_DIR}/plugins")
  get_filename_component(folder ${source} DIRECTORY)
  get_filename_component(folder ${folder} NAME)
  target_link_libraries(${name} PRIVATE uzswap_engine uzswap_builtin_compressors
    uzswap_test_support $<TARGET_NAME_IF_EXISTS:uzswap_${folder}_testable>
    ${LZ4_STATIC} ${ZSTD_STATIC} ${CMAKE_DL_LIBS} ${ARGN})
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
foreach(source ${TEST_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  uzswap_test_program(${name} ${source} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS unit)
endforeach()
foreach(source ${FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  uzswap_test_program(${name} ${source})
  add_test(NAME ${name} COMMAND ${name} 123 5)
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endforeach()
if(UZSWAP_SANITIZE)
  return()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)
file(GLOB PROCESS_TESTS CONFIGURE_DEPENDS tests/*.sh tests/*.py)
list(FILTER PROCESS_TESTS EXCLUDE REGEX "/functions\\.(sh|py)$")
foreach(script ${PROCESS_TESTS})
  get_filename_component(name ${script} NAME)
  if(name MATCHES "\\.sh$")
    add_test(NAME ${name} COMMAND bash ${script})
  else()
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${script})
  endif()
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "UZSWAP_BUILD=${CMAKE_BINARY_DIR}"
    SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS process)
endforeach()

# The rules of the source tree hold for every build; one of them checks.
if(UZSWAP_DEBUG)
  return()
endif()
foreach(check layers symbols tests)
  add_test(NAME check_${check} COMMAND ${Python3_EXECUTABLE}
           ${CMAKE_SOURCE_DIR}/tools/check_${check}.py
           --build ${CMAKE_BINARY_DIR})
  add_test(NAME check_${check}_self_test COMMAND ${Python3_EXECUTABLE}
           ${CMAKE_SOURCE_DIR}/tools/check_${check}.py --self-test)
  set_tests_properties(check_${check} check_${check}_self_test PROPERTIES
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} TIMEOUT 300 LABELS check)
endforeach()
