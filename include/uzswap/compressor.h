/* SPDX-License-Identifier: Apache-2.0
 *
 * uzswap compressor plug-in ABI, version 1.
 *
 * A compressor is one constant table of functions. It owns no memory: the
 * host gives it a workspace (one per CPU, 64-byte aligned) and calls `init`
 * on it once; after that, compress and decompress run inside page faults of
 * arbitrary programs, so they must not allocate, lock, log, make system calls
 * or touch any memory but workspace, source and destination. One workspace is
 * never used by two threads at the same time.
 *
 * A plug-in is a shared object `uzswap-compressor-NAME.so` that exports
 *     const struct uzswap_compressor *uzswap_compressor_plugin(void);
 * most easily by writing its table as
 *     UZSWAP_COMPRESSOR(NAME) = { sizeof(struct uzswap_compressor), ... };
 * It includes nothing of uzswap but this file. New members are only ever added
 * at the end of the structs; both sides read struct_size before they read them.
 * uzswap-compressor(3) describes all of it, docs/compressors.md has an example.
 *
 * Comes from: the kernel's acomp/scomp algorithms (crypto/acompress.c) and
 * nbdkit's plug-in ABI.
 */
#ifndef UZSWAP_COMPRESSOR_H_
#define UZSWAP_COMPRESSOR_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UZSWAP_COMPRESSOR_API_VERSION 1

/* Use the level that the compressor itself calls its default. */
#define UZSWAP_COMPRESSOR_DEFAULT_LEVEL (-2147483647 - 1)

/* The host compresses single pages: source_bytes of compress is 1 ... this.
 * A plug-in may answer EINVAL to more. */
#define UZSWAP_COMPRESSOR_MAX_BYTES 4096

/* Members that a table need not name; absent means 0. (C++ would warn.) */
#if defined(__cplusplus) && __cplusplus >= 201402L
#define UZSWAP_OPTIONAL_ = 0
#else
#define UZSWAP_OPTIONAL_
#endif

/* How a compressor is set up. Belongs to the host, and is only valid during
 * the call; the dictionary's bytes stay where they are, unchanged, as long as
 * any workspace that was made ready with them, and serve all workspaces. */
struct uzswap_compressor_parameters {
  size_t struct_size;      /* sizeof (struct uzswap_compressor_parameters) */
  int level;               /* or UZSWAP_COMPRESSOR_DEFAULT_LEVEL */
  const void* dictionary;  /* NULL: none. What pages of this kind share */
  size_t dictionary_bytes; /* 0 if there is none */
};

struct uzswap_compressor {
  size_t struct_size;   /* sizeof (struct uzswap_compressor) */
  unsigned api_version; /* UZSWAP_COMPRESSOR_API_VERSION */
  const char* name;     /* what users write: "lz4", "zstd" ... */

  /* Bytes of workspace for this level; 0 is allowed, also as the answer for a
   * level that init refuses. Constant per level. */
  size_t (*workspace_size)(int level);

  /* Makes a zero-filled workspace ready. 0, or EINVAL: level not supported.
   * Called inside faults too, when a CPU compresses for the first time: the
   * rules above hold, and a level that was accepted once is always accepted. */
  int (*init)(void* workspace, size_t workspace_bytes, int level);

  /* Compresses source_bytes bytes. Never writes past destination_bytes.
   * 0: *produced holds the length. ENOSPC: the result does not fit (the
   * content is incompressible for the room given). EINVAL: anything else. */
  int (*compress)(void* workspace, const void* source, size_t source_bytes,
                  void* destination, size_t destination_bytes,
                  size_t* produced);

  /* Decompresses exactly destination_bytes bytes from source_bytes bytes.
   * 0, or EIO: the source is not valid (corrupt, cut, or of another length).
   * Hostile input must not make it read or write outside the two buffers. */
  int (*decompress)(void* workspace, const void* source, size_t source_bytes,
                    void* destination, size_t destination_bytes);

  /* ---- Optional from here on: read them with UZSWAP_COMPRESSOR_HAS. ---- */

  /* The levels that init accepts, for help texts and checks, and the one that
   * UZSWAP_COMPRESSOR_DEFAULT_LEVEL stands for. All 0: it does not say. */
  int min_level UZSWAP_OPTIONAL_;
  int max_level UZSWAP_OPTIONAL_;
  int default_level UZSWAP_OPTIONAL_;

  /* As workspace_size and init, for everything that can be set; without a
   * dictionary they do exactly what those do. Both or none. A compressor
   * without them has a level and no dictionary. EINVAL: one of the parameters
   * is not supported. */
  size_t (*workspace_size_with)(
      const struct uzswap_compressor_parameters* parameters) UZSWAP_OPTIONAL_;
  int (*init_with)(void* workspace, size_t workspace_bytes,
                   const struct uzswap_compressor_parameters* parameters)
      UZSWAP_OPTIONAL_;
};

/* sizeof(struct uzswap_compressor) before there were optional members. */
#define UZSWAP_COMPRESSOR_MIN_SIZE offsetof(struct uzswap_compressor, min_level)

/* For the host: the table is long enough for this member, and it is set. */
#define UZSWAP_COMPRESSOR_HAS(table, member)                                   \
  ((table)->struct_size >=                                                     \
       offsetof(struct uzswap_compressor, member) + sizeof((table)->member) && \
   (table)->member != 0)

/* What a plug-in exports; never absent, never different from call to call. */
__attribute__((visibility("default"))) const struct uzswap_compressor*
uzswap_compressor_plugin(void);

#define UZSWAP_COMPRESSOR_PLUGIN(table)                            \
  const struct uzswap_compressor* uzswap_compressor_plugin(void) { \
    return &(table);                                               \
  }

/* Begins the definition of the table uzswap_compressor_NAME (without quotes)
 * and exports it: as the plug-in of this shared object, or, in the files that
 * uzswap links in (UZSWAP_BUILTIN), as a hidden symbol. */
#ifdef UZSWAP_BUILTIN
#define UZSWAP_COMPRESSOR_EXPORT_(table)
#else
#define UZSWAP_COMPRESSOR_EXPORT_(table) UZSWAP_COMPRESSOR_PLUGIN(table)
#endif
#ifdef __cplusplus
#define UZSWAP_EXTERN_C_ extern "C"
#else
#define UZSWAP_EXTERN_C_ extern
#endif
#define UZSWAP_COMPRESSOR(NAME)                            \
  UZSWAP_EXTERN_C_ __attribute__((visibility("hidden")))   \
  const struct uzswap_compressor uzswap_compressor_##NAME; \
  UZSWAP_COMPRESSOR_EXPORT_(uzswap_compressor_##NAME)      \
  const struct uzswap_compressor uzswap_compressor_##NAME

#ifdef __cplusplus
}
#endif

#endif /* UZSWAP_COMPRESSOR_H_ */
