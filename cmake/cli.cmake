# SPDX-License-Identifier: Apache-2.0
# The command, its unit tests' library, and the process tests (tests/*.sh), each
# of which is one ctest. Sanitizer builds have no preload library, hence no
# process tests.
find_path(CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_path(NLOHMANN_INCLUDE nlohmann/json.hpp REQUIRED)
find_path(NBD_INCLUDE libnbd.h REQUIRED)

file(GLOB CLI_SOURCES CONFIGURE_DEPENDS src/cli/*.cc)
set(CLI_TEST_SOURCES ${CLI_SOURCES})
list(FILTER CLI_SOURCES EXCLUDE REGEX "_test\\.cc$|/main\\.cc$")
list(FILTER CLI_TEST_SOURCES INCLUDE REGEX "_test\\.cc$")
add_library(uzswap_cli_lib OBJECT ${CLI_SOURCES})
target_compile_definitions(uzswap_cli_lib PUBLIC
  UZSWAP_VERSION="${PROJECT_VERSION}")
target_include_directories(uzswap_cli_lib SYSTEM PUBLIC
  ${CLI11_INCLUDE} ${NLOHMANN_INCLUDE} ${NBD_INCLUDE})
target_link_libraries(uzswap_cli_lib PUBLIC ${CMAKE_DL_LIBS})
if(UZSWAP_DEBUG AND NOT UZSWAP_SANITIZE STREQUAL "thread")
  # As for the tests; most of it are two large headers.
  target_compile_options(uzswap_cli_lib PRIVATE -O0)
endif()

add_executable(uzswap src/cli/main.cc)
target_link_libraries(uzswap PRIVATE uzswap_cli_lib)
set_target_properties(uzswap PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
foreach(source ${CLI_TEST_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  if(TARGET ${name})  # else this build does not run it
    target_link_libraries(${name} PRIVATE uzswap_cli_lib)
  endif()
endforeach()

include(GNUInstallDirs)
install(TARGETS uzswap DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES docs/man/uzswap.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES include/uzswap/compressor.h include/uzswap/tree.h
              include/uzswap/uzswap.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/uzswap)
if(NOT UZSWAP_SANITIZE)
  # The command looks for both in ../lib/uzswap, whatever LIBDIR is.
  install(FILES ${CMAKE_BINARY_DIR}/libuzswap-preload.so DESTINATION lib/uzswap)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/plugins DESTINATION lib/uzswap
          FILES_MATCHING PATTERN "*.so"
          PATTERN "uzswap-compressor-example.so" EXCLUDE)

  # What is installed: `./dev run` builds no tests.
  add_custom_target(product DEPENDS uzswap uzswap-preload)
  foreach(plugin lzo example)
    if(TARGET uzswap-compressor-${plugin})
      add_dependencies(product uzswap-compressor-${plugin})
    endif()
  endforeach()

  # Small programs that the process tests run; each in a file of its own.
  find_package(Threads REQUIRED)
  file(GLOB PROGRAM_SOURCES CONFIGURE_DEPENDS
       tests/programs/*.c tests/programs/*.cc tests/support/rss_sampler.c)
  foreach(source ${PROGRAM_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_executable(program-${name} ${source})
    target_compile_definitions(program-${name} PRIVATE _GNU_SOURCE)
    target_include_directories(program-${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(program-${name} PRIVATE Threads::Threads)
    set_target_properties(program-${name} PROPERTIES OUTPUT_NAME ${name}
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/programs)
  endforeach()

  file(GLOB PROCESS_TESTS CONFIGURE_DEPENDS tests/*.sh)
  list(FILTER PROCESS_TESTS EXCLUDE REGEX "/(functions|jobs|switching)\\.sh$")
  foreach(script ${PROCESS_TESTS})
    get_filename_component(name ${script} NAME_WE)
    # What the others show does not depend on the build, and the time is short.
    if(UZSWAP_DEBUG AND NOT name MATCHES "^(edge|memory-eater|program-.*-chaos|\
run-kill9.*|run-set-many.*|run-zpools|stress-ng|tree-(kill|make)|\
worker-thread-locals)$")
      set_property(GLOBAL APPEND PROPERTY UZSWAP_LEFT_OUT ${name})
      continue()
    endif()
    add_test(NAME ${name} COMMAND bash ${script})
    set_tests_properties(${name} PROPERTIES LABELS process
      SKIP_RETURN_CODE 77 TIMEOUT 900
      ENVIRONMENT UZSWAP_BUILD=${CMAKE_BINARY_DIR})
    # The others measure time, use the whole machine, or look at all processes,
    # and do not share.
    if(NOT name MATCHES "^(program-|out-of-tree)|^run-(bad|compressors|exit|\
json|over|plugin|refuses|set-(attacks|real)|summary|zpools)")
      set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
    endif()
  endforeach()
  # Ten minutes for each pair in its full form; it watches itself.
  set_tests_properties(memory-eater PROPERTIES TIMEOUT 12000)
endif()
