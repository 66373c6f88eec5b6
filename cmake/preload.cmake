# SPDX-License-Identifier: Apache-2.0
# libuzswap-preload.so: engine, codecs and preload in one object that needs only
# libc. A sanitizer runtime cannot live inside somebody else's program, so
# sanitizer builds have no preload.
if(NOT UZSWAP_SANITIZE)
  include(cmake/libc_sites.cmake)
  file(GLOB PRELOAD_SOURCES CONFIGURE_DEPENDS src/preload/*.cc src/preload/*.S)
  list(FILTER PRELOAD_SOURCES EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  add_library(uzswap-preload SHARED ${PRELOAD_SOURCES}
    $<TARGET_OBJECTS:uzswap_engine>
    $<TARGET_OBJECTS:uzswap_builtin_compressors>)
  add_dependencies(uzswap-preload uzswap_libc_sites)
  target_include_directories(uzswap-preload PRIVATE
    ${CMAKE_BINARY_DIR}/generated)
  # -fno-tree-loop-distribute-patterns: memcpy must not become a call of itself.
  target_compile_options(uzswap-preload PRIVATE $<$<COMPILE_LANGUAGE:CXX>:
    -fno-exceptions;-fno-rtti;-fno-threadsafe-statics;-fno-stack-protector;
    -ftls-model=initial-exec;-fasynchronous-unwind-tables;-fno-builtin-strlen>
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:
    -mgeneral-regs-only;-fno-tree-loop-distribute-patterns>)
  target_link_libraries(uzswap-preload PRIVATE ${LZ4_STATIC} ${ZSTD_STATIC}
    ${DEFLATE_STATIC})
  set_target_properties(uzswap-preload PROPERTIES LINKER_LANGUAGE C
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_link_options(uzswap-preload PRIVATE -nostartfiles -Wl,-z,initfirst
    -Wl,-z,defs -Wl,-z,now -Wl,--exclude-libs,ALL -Wl,-Bsymbolic
    -Wl,--version-script=${CMAKE_SOURCE_DIR}/src/preload/preload.map)
endif()
