# SPDX-License-Identifier: Apache-2.0
# bench/*.cc: programs that bench/run starts. src/**/*_bench.cc: micro
# benchmarks (Google Benchmark), run by hand.
find_package(Threads REQUIRED)
if(NOT UZSWAP_DEBUG)
  foreach(name patterns shift)
    add_executable(${name} bench/${name}.cc)
    target_link_libraries(${name} PRIVATE Threads::Threads)
  endforeach()
  file(GLOB ZPOOLS CONFIGURE_DEPENDS bench/zpools*.cc)
  add_executable(zpools ${ZPOOLS} src/cli/class_table.cc)
  target_link_libraries(zpools PRIVATE uzswap_engine uzswap_builtin_compressors
    ${LZ4_STATIC} ${ZSTD_STATIC} ${DEFLATE_STATIC} ${CMAKE_DL_LIBS})
  add_executable(chunks bench/chunks.cc)
  target_link_libraries(chunks PRIVATE ${LZ4_STATIC} ${ZSTD_STATIC})
  find_package(benchmark)
  file(GLOB_RECURSE BENCH_SOURCES CONFIGURE_DEPENDS src/*_bench.cc)
  if(benchmark_FOUND)
    foreach(source ${BENCH_SOURCES})
      get_filename_component(name ${source} NAME_WE)
      add_executable(${name} ${source})
      target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
      target_link_libraries(${name} PRIVATE uzswap_engine
        uzswap_builtin_compressors uzswap_test_support
        ${LZ4_STATIC} ${ZSTD_STATIC} benchmark::benchmark_main)
    endforeach()
  endif()
endif()
