# SPDX-License-Identifier: Apache-2.0
# Each compressors/NAME.cc is one plug-in. All are linked in as
# uzswap_builtin_compressors (a program under uzswap cannot load one later), but
# for lzo: it depends on a GPL library and is only ever a shared object loaded
# on demand, built when liblzo2 is there and UZSWAP_LZO is on.
option(UZSWAP_LZO "build the lzo plug-in (links the GPL liblzo2)" ON)

find_library(LZ4_STATIC liblz4.a REQUIRED)
find_library(ZSTD_STATIC libzstd.a REQUIRED)
find_library(DEFLATE_STATIC libdeflate.a REQUIRED)
find_library(LZO_LIBRARY lzo2)
find_path(LZO_INCLUDE lzo/lzo1x.h)

set(PLUGIN_FLAGS -fno-exceptions -fno-rtti -fno-threadsafe-statics
    -ftls-model=initial-exec)
file(GLOB BUILTIN_SOURCES CONFIGURE_DEPENDS compressors/*.cc)
list(FILTER BUILTIN_SOURCES EXCLUDE REGEX "/lzo\\.cc$|_(test|fuzz|bench)\\.cc$")
add_library(uzswap_builtin_compressors OBJECT ${BUILTIN_SOURCES})
target_compile_definitions(uzswap_builtin_compressors PRIVATE UZSWAP_BUILTIN)
target_compile_options(uzswap_builtin_compressors PRIVATE ${PLUGIN_FLAGS})
target_link_libraries(uzswap_builtin_compressors INTERFACE ${LZ4_STATIC}
  ${ZSTD_STATIC} ${DEFLATE_STATIC})

if(UZSWAP_LZO AND LZO_LIBRARY AND LZO_INCLUDE)
  add_library(uzswap-compressor-lzo MODULE compressors/lzo.cc)
  set_target_properties(uzswap-compressor-lzo PROPERTIES PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  target_compile_options(uzswap-compressor-lzo PRIVATE ${PLUGIN_FLAGS})
  target_link_libraries(uzswap-compressor-lzo PRIVATE ${LZO_LIBRARY})
endif()

# A plug-in built the way a stranger would build one, for the registry's tests.
add_library(uzswap-compressor-example MODULE compressors/copy.cc)
set_target_properties(uzswap-compressor-example PROPERTIES PREFIX ""
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
target_compile_definitions(uzswap-compressor-example PRIVATE
  UZSWAP_COPY_NAME="example")
target_compile_options(uzswap-compressor-example PRIVATE ${PLUGIN_FLAGS})

# compressors/codecs_bench.cc: the table in docs/compressors.md.
if(NOT UZSWAP_SANITIZE)
  add_executable(codecs_bench compressors/codecs_bench.cc)
  target_compile_definitions(codecs_bench PRIVATE
    UZSWAP_PLUGIN_DIR="${CMAKE_BINARY_DIR}/plugins")
  target_link_libraries(codecs_bench PRIVATE uzswap_engine
    uzswap_builtin_compressors ${CMAKE_DL_LIBS})
endif()

include(GNUInstallDirs)
install(FILES docs/man/uzswap-compressor.3
        DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
