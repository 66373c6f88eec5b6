# SPDX-License-Identifier: Apache-2.0
# Every src/**/x_test.cc, compressors/*_test.cc and tests/*_test.cc becomes the
# test executable x_test; every *_fuzz.cc becomes x_fuzz, run with a fixed seed
# for a short time. Nothing is listed by hand, so nothing can be forgotten.
enable_testing()
find_package(GTest REQUIRED)
file(GLOB_RECURSE TEST_SOURCES CONFIGURE_DEPENDS
     src/*_test.cc compressors/*_test.cc tests/*_test.cc)
file(GLOB TEST_SUPPORT CONFIGURE_DEPENDS tests/support/*.cc)
add_library(uzswap_test_support OBJECT ${TEST_SUPPORT}
            ${CMAKE_SOURCE_DIR}/cmake/empty.cc)
target_include_directories(uzswap_test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)

foreach(source ${TEST_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE
    UZSWAP_PLUGIN_DIR="${CMAKE_BINARY_DIR}/plugins")
  target_link_libraries(${name} PRIVATE uzswap_engine uzswap_builtin_compressors
    uzswap_test_support ${LZ4_STATIC} ${ZSTD_STATIC} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endforeach()

file(GLOB_RECURSE FUZZ_SOURCES CONFIGURE_DEPENDS src/*_fuzz.cc)
foreach(source ${FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE uzswap_engine uzswap_builtin_compressors
    uzswap_test_support ${LZ4_STATIC} ${ZSTD_STATIC})
  # usage: x_fuzz SEED SECONDS; prints the seed, so a failure can be replayed.
  add_test(NAME ${name} COMMAND ${name} 123 5)
  set_tests_properties(${name} PROPERTIES TIMEOUT 120)
endforeach()
