/* SPDX-License-Identifier: Apache-2.0
 *
 * uzswap: keeps the anonymous memory of this process under a limit.
 *
 * A process opens one instance, tells it which anonymous private mappings to
 * manage, and forwards SIGBUS. From then on cold pages of those mappings are
 * compressed in place of the frame they had and, past the pool's limit,
 * written back to a file. Touching such a page faults; uzswap_handle_fault
 * brings it back on the faulting thread.
 *
 * General rules, valid for every call unless it says otherwise:
 *  - Results are 0 or a negative errno value; errno itself is never touched.
 *  - Addresses and lengths are bytes; ranges must be page aligned.
 *  - Calls are safe on any thread and in signal handlers; they block signals
 *    while they hold locks. They allocate only from memory of uzswap's own.
 *  - The memory uzswap itself uses (frames of the pool, tables) counts against
 *    the limit.
 *  - uzswap_is_managed, uzswap_pin_resident and uzswap_unpin change no vector
 *    register; every other call may, as any C function.
 *
 * Comes from: mm/zswap.c (engine), mm/userfaultfd.c (how pages are caught).
 */
#ifndef UZSWAP_H_
#define UZSWAP_H_

#include <stddef.h>
#include <stdint.h>

struct uzswap_tree; /* uzswap/tree.h */

#ifdef __cplusplus
extern "C" {
#endif

#define UZSWAP_API __attribute__((visibility("default")))

/* How pages leave memory (see docs/design.md, "A page leaves"). */
enum uzswap_evict_method {
  UZSWAP_EVICT_AUTO = 0, /* move while one thread runs, else wp */
  UZSWAP_EVICT_WP = 1,   /* write-protect a block, compress in place, drop */
  UZSWAP_EVICT_MOVE = 2, /* UFFDIO_MOVE to staging (Linux 6.8), then compress */
};

enum uzswap_direct {
  UZSWAP_DIRECT_AUTO = 0, /* as the engine thinks best */
  UZSWAP_DIRECT_ON = 1,   /* O_DIRECT where the file system takes it */
  UZSWAP_DIRECT_OFF = 2,
};

#define UZSWAP_FOR_EVER (~0u)

/* As max_pool_percent: begin with the default and follow what refaults cost,
 * between 20 and 80, until the parameter is set. As 0 without `backing`. */
#define UZSWAP_POOL_PERCENT_AUTO 256

struct uzswap_config {
  size_t struct_size;        /* sizeof (struct uzswap_config) */
  uint64_t memory_limit;     /* bytes of RssAnon + RssShmem, all included */
  const char* compressor;    /* "lz4", "zstd", "lzo"; NULL: "lz4" */
  int compressor_level;      /* 0: the compressor's default */
  const char* zpool;         /* "zsmalloc" (NULL) or "zsmalloc:16"
                                (chain, 4 to 64), "zbud", "z3fold" */
  unsigned max_pool_percent; /* of memory_limit; 0: default; or _AUTO */
  unsigned accept_threshold_percent; /* of the pool's maximum; 0: 90 */
  const char* backing;    /* directory, file or block device; an NBD export:
                             nbd+unix:///EXPORT?socket=/PATH or
                             nbd://1.2.3.4[:PORT]/EXPORT; NULL: none */
  uint64_t backing_size;  /* bytes; 0: 16 times memory_limit */
  const char* plugin_dir; /* where compressor plug-ins are; NULL: none */
  enum uzswap_evict_method evict;
  unsigned no_encrypt; /* not 0: what is written to `backing` can be read by
                          whoever can read the disk; it is only checked */
  struct uzswap_tree* tree;  /* the limit is shared with who else uses this
                                table, and what it says counts; NULL: a table
                                of this process's own with memory_limit */
  unsigned idle_seconds;     /* pages not seen in use for so long leave although
                                nobody needs the memory; 0: no */
  unsigned promotion_rate;   /* of these the most that may come back within a
                                minute, in a minute, in 1/100 percent of the
                                resident pages; 0: 20 (0.2 %) */
  enum uzswap_direct direct; /* files: past the page cache or through it */
  /* NBD exports: processes that are given the same file here share the export,
   * without disturbing each other: they lock bytes of it, each through an open
   * file of its own (/proc/PID/fd/N serves). NULL: the export is this process's
   * and its children's; nobody else may use it. */
  const char* backing_leases;
  unsigned backing_timeout; /* seconds that a lost NBD server is waited for; 0:
                               30; UZSWAP_FOR_EVER */
  const char* recompressor; /* "zstd", "zstd:9"...: compresses again what stays
                               cold; NULL or "none": nothing does */
};

/* Names and meaning: src/zswap/counters.def and src/pager/counters.def. */
struct uzswap_stats {
  uint64_t memory_limit;   /* of all processes that share it */
  uint64_t memory_granted; /* now, to this one */
  /* now, in bytes */
  uint64_t resident_bytes;   /* managed pages in memory */
  uint64_t staged_bytes;     /* on their way out, still in memory */
  uint64_t stored_bytes;     /* original size of what is compressed or away,
                                clean pages, which are resident too, as well */
  uint64_t pool_bytes;       /* frames of the zpool (pool_total_size) */
  uint64_t compressed_bytes; /* what the objects in it sum up to */
  uint64_t device_bytes;     /* original size of what is on the device */
  uint64_t metadata_bytes;
  uint64_t unmanaged_bytes; /* anonymous memory that uzswap cannot move */
  /* highest so far, in bytes */
  uint64_t peak_bytes;         /* RssAnon + RssShmem */
  uint64_t peak_without_bytes; /* what it would have been without uzswap */
  /* totals */
  uint64_t faults;        /* served, all kinds */
  uint64_t faults_zero;   /* first touch */
  uint64_t faults_soft;   /* page was staged: no decompression */
  uint64_t faults_clean;  /* first write to a page kept in zswap as well */
  uint64_t faults_shared; /* first write to a page shared since a fork */
  uint64_t pages_in;      /* brought back (prefetched ones included) */
  uint64_t pages_prefetched;
  uint64_t pages_out;       /* evicted */
  uint64_t pages_out_clean; /* part of it: unchanged, only dropped */
  uint64_t pages_cancelled; /* written to while on their way out */
  uint64_t protect_calls;   /* that protected such pages, or released them */
  uint64_t fault_ns;        /* time in fault service, eviction included */
  uint64_t evict_ns;        /* part of it: making room */
  uint64_t limit_exceeded;  /* times the limit had to be exceeded */
  uint64_t pinned_calls;    /* system calls that had a page made resident */
  /* the engine's, with the kernel's names */
  uint64_t stored_pages, same_filled_pages, stored_incompressible_pages;
  uint64_t pool_limit_hit, reject_reclaim_fail, reject_alloc_fail;
  uint64_t reject_kmemcache_fail, reject_compress_fail, reject_compress_poor;
  uint64_t decompress_fail, written_back_pages, duplicate_entry;
  uint64_t pages_compacted; /* frames the zpool gave back by moving objects */
  uint64_t zswpout, zswpin, zswpwb, device_in;
  uint64_t device_write_fail, device_read_fail, pool_limit_exceeded;
  uint64_t evict_method; /* in use: enum uzswap_evict_method */
  uint64_t compressed_bytes_in, compressed_bytes_out; /* ratio, all stores */
  uint64_t pools;          /* now: the current one and those that drain */
  uint64_t pool_switches;  /* times another pool became current */
  uint64_t migrated_pages; /* moved to the current pool in the background */
  uint64_t device_written_bytes; /* to the backing store, compressed */
  uint64_t device_cleaned_bytes; /* moved there to close holes */
  /* Time in which at least one thread was held up in a fault (the kernel's PSI
   * `some`): in all, and averages of the last 10 and 60 seconds, in 1/100 %. */
  uint64_t stall_ns, stall_avg10, stall_avg60;
  /* Resident pages by the time since they were last seen in use: less than a
   * second, less than ten, ..., an hour or more. Reads of resident pages are
   * not seen, so they may have been in use later. */
  uint64_t resident_pages_1s, resident_pages_10s, resident_pages_1min;
  uint64_t resident_pages_10min, resident_pages_1h, resident_pages_older;
  uint64_t pages_idle;     /* evicted because they were idle, in pages_out */
  uint64_t pages_promoted; /* of them, back within a minute */
  uint64_t device_reads;   /* of it, the cleaner's included; less than device_in
                              where pages were read together */
  uint64_t device_read_bytes;
  uint64_t device_alignment; /* of what is read and written; above 1: past the
                                page cache */
  /* The dense tier, part of what is above: now, and totals. */
  uint64_t dense_pages;        /* compressed by the recompressor */
  uint64_t dense_bytes;        /* what they sum up to, in compressed_bytes */
  uint64_t dense_pool_bytes;   /* frames they are in, in pool_bytes */
  uint64_t recompressed_pages; /* moved there */
  uint64_t recompress_poor;    /* tried, and would not get smaller */
  uint64_t pool_percent;   /* the pool's share now: max_pool_percent, or what
                              the costs of refaults have made of it */
  uint64_t pool_load_ns;   /* time in loads from the pool */
  uint64_t device_load_ns; /* and from the backing store */
  /* Stored pages now, by the time since they were stored or last used. */
  uint64_t age_1s_pages;       /* less than a second */
  uint64_t age_10s_pages;      /* 1 to 10 seconds */
  uint64_t age_1m_pages;       /* 10 to 60 seconds */
  uint64_t age_10m_pages;      /* 1 to 10 minutes */
  uint64_t age_1h_pages;       /* 10 to 60 minutes */
  uint64_t age_older_pages;    /* an hour or more */
  uint64_t swapin_ahead_pages; /* brought back to the pool beside a page that
                                  was asked for */
};

/* Opens the one instance of this process. It installs no signal handler and
 * starts no thread. Not to be called in a signal handler.
 * -EBUSY: open already. -EINVAL: a value out of range. -ENOENT: no such
 * compressor. -ENODEV: no such zpool. -ENOSYS, -EPERM: userfaultfd is missing
 * or forbidden. -EOPNOTSUPP: the kernel's userfaultfd cannot do what is needed
 * (SIGBUS and write-protect, Linux 5.7). -ENOMEM: no memory, or memory_limit is
 * below what can work. Others: what opening `backing` said.
 * A compressor that is known but cannot be set up is replaced by the default
 * one. `why` (may be NULL) receives a sentence for the user, always terminated;
 * after success it is empty, or names such a replacement. */
UZSWAP_API int uzswap_open(const struct uzswap_config* config, char* why,
                           size_t why_bytes);
/* Brings nothing back: only for a process without managed memory. */
UZSWAP_API void uzswap_close(void);

/* Manages an anonymous private mapping (present pages keep their content and
 * become evictable). It may be PROT_NONE. -EINVAL: not aligned or not of that
 * kind. -ENOMEM. On error the range is as before. */
UZSWAP_API int uzswap_manage(void* address, size_t length);
/* Brings every page of the range back and stops managing it (mlock). -ENOMEM:
 * the limit does not allow it; nothing has changed. */
UZSWAP_API int uzswap_unmanage(void* address, size_t length);
/* 1 if any byte of the range is managed. Cheap; takes no lock. */
UZSWAP_API int uzswap_is_managed(const void* address, size_t length);

/* The VM calls. Each does the raw system call AND keeps the books, atomically
 * with regard to faults and eviction; each returns what the kernel returns.
 * Ranges may mix managed and foreign memory. */
/* manage != 0: manage the new mapping if it is anonymous and private. */
UZSWAP_API long uzswap_mmap(void* address, size_t length, int prot, int flags,
                            int fd, long offset, int manage);
UZSWAP_API long uzswap_munmap(void* address, size_t length);
UZSWAP_API long uzswap_mprotect(void* address, size_t length, int prot);
UZSWAP_API long uzswap_mremap(void* old_address, size_t old_length,
                              size_t new_length, int flags, void* new_address);
UZSWAP_API long uzswap_madvise(void* address, size_t length, int advice);
/* The kernel's brk: returns the resulting break; growth is managed. */
UZSWAP_API long uzswap_brk(void* new_break);

/* Makes [address, address + length) resident and keeps it so until the same
 * range is unpinned, so that the kernel may read and write it. Not managed
 * parts are skipped. Pins count. Returns 1 if any page had to be brought in,
 * else 0. A page that cannot be brought in (-EIO) is left for the system call
 * to meet. Address and length need not be aligned here and in the next two. */
UZSWAP_API int uzswap_pin(const void* address, size_t length);
/* The part of uzswap_pin that brings nothing in: takes no lock, makes no system
 * call, uses no vector registers. 0: everything is resident or not managed, and
 * pinned. -EAGAIN: nothing is pinned; call uzswap_pin, vector state saved. */
UZSWAP_API int uzswap_pin_resident(const void* address, size_t length);
/* Takes no lock and uses no vector registers. What is not pinned is skipped. */
UZSWAP_API void uzswap_unpin(const void* address, size_t length);

/* To be called from the SIGBUS handler with si_addr (all signals that the
 * program can handle blocked, alternate stack not managed). 0: served, return
 * from the handler. -ENOENT: not uzswap's: a genuine bus error. -EIO: the
 * page's content is lost (device error); the reason has been logged. `write`:
 * not zero if the access was a write, or may have been (x86-64: bit 1 of
 * REG_ERR); only what is read is kept in zswap as well. */
UZSWAP_API int uzswap_handle_fault(void* address, int write);

/* Around a fork that copies memory, signals blocked. After PrepareFork no other
 * thread is in uzswap; the child's copy is cut loose from the parent (own
 * userfaultfd, own backing file) by ChildAfterFork, which must run before
 * anything else does. It returns what uzswap_open could return. In between no
 * managed memory may be touched, by the thread that forks: a fault would wait
 * for ever. */
UZSWAP_API void uzswap_prepare_fork(void);
UZSWAP_API void uzswap_parent_after_fork(void);
UZSWAP_API int uzswap_child_after_fork(void);

/* Evicts every unpinned page that it can; returns how many went. For tests
 * (chaos) and for MADV_PAGEOUT. */
UZSWAP_API size_t uzswap_evict_all(void);

/* The table of the limit in use, whose limits may be changed at any time; NULL:
 * uzswap is not open. */
UZSWAP_API struct uzswap_tree* uzswap_get_tree(void);
/* What this process may have of the limit now, in bytes; 0: uzswap is not open.
 * Cheap; takes no lock. */
UZSWAP_API uint64_t uzswap_memory_granted(void);
/* Gives up this process's part of a shared limit, before it becomes another
 * program, and takes it again, when that has failed. */
UZSWAP_API void uzswap_leave_tree(void);
UZSWAP_API void uzswap_join_tree(void);
/* The process is about to end: others get what it has when it is dead. */
UZSWAP_API void uzswap_end_in_tree(void);
/* To be called by each thread that ends before its process does: a thread of
 * uzswap's own must not keep a process alive. */
UZSWAP_API void uzswap_thread_ends(void);

UZSWAP_API void uzswap_get_stats(struct uzswap_stats* stats);

/* The parameters that can be changed while the instance is open, with the
 * kernel's names, forms and errors (docs/design.md, "Parameters"). A compressor
 * or recompressor may carry a level ("zstd:9"), zsmalloc a chain
 * ("zsmalloc:16"). recompressor, which compresses again what stays cold, may be
 * "none" (zram's recomp_algorithm; zswap has none). */
#define UZSWAP_PARAMETER_LIST(X) \
  X(compressor)                  \
  X(zpool)                       \
  X(max_pool_percent)            \
  X(accept_threshold_percent)    \
  X(enabled)                     \
  X(shrinker_enabled)            \
  X(recompressor)
#define UZSWAP_PARAMETERS 7
#define UZSWAP_PARAMETER_BYTES 64 /* of a value, terminated */

/* Before uzswap_open the value is only recorded, and used by uzswap_open where
 * its configuration says "default". Afterwards it takes effect at once; what is
 * stored already follows in the background (uzswap_run_work). May sleep: not to
 * be called in a handler, nor with a lock held that a fault could need. Blanks
 * around the value do not count. -ENOENT: no such parameter, or no compressor
 * or zpool of that name in this process. -EINVAL: not a value of it. -ERANGE:
 * not a number that fits. -ENODEV: uzswap_open has failed, or there is no pool
 * to enable. -ENOMEM. -ENOSPC: too long to record. On error nothing changed.
 * Comes from: /sys/module/zswap/parameters. */
UZSWAP_API int uzswap_set_parameter(const char* name, const char* value);
/* Copies the value as text, terminated, to value. -ENOENT: no such parameter.
 * -ENOSPC: bytes is too small (UZSWAP_PARAMETER_BYTES always does). */
UZSWAP_API int uzswap_get_parameter(const char* name, char* value,
                                    size_t bytes);
/* A switch of the compressor leaves work that is done in the background, on a
 * thread that lives as long as the work. These may sleep: not to be called in a
 * handler that interrupted uzswap, nor with a lock held that a fault needs.
 *
 * Does what is left and found no thread (a limit, a fork): by a thread, else
 * here. Cheap if there is nothing: to be called now and then. */
UZSWAP_API void uzswap_run_work(void);
/* Returns when there is neither work nor a thread. For what the kernel refuses
 * to processes with threads. */
UZSWAP_API void uzswap_finish_work(void);
/* Ends what each uzswap_finish_work began: until then no thread is made that
 * waits for others (that of work that is queued is made all the same). */
UZSWAP_API void uzswap_allow_threads(void);
/* The same, and no thread is ever started again, also not in forked children:
 * for a process whose seccomp filter may forbid clone. */
UZSWAP_API void uzswap_forbid_threads(void);

/* The names that the parameter `compressor` can have, with blanks between,
 * terminated; what does not fit is left out. Complete once uzswap_open has
 * succeeded. */
UZSWAP_API void uzswap_list_compressors(char* names, size_t bytes);
/* 1: a compressor of this name (NULL: the default; with a level: "zstd:9")
 * needs no plug-in. */
UZSWAP_API int uzswap_is_built_in(const char* name);

/* A size class of the zpool, with the columns of the kernel's debugfs table
 * zsmalloc/NAME/classes. */
struct uzswap_class {
  uint16_t index;
  uint16_t size; /* bytes of an object */
  uint16_t pages_per_zspage;
  uint16_t reserved;
  uint32_t zspages[11];   /* up to 10 %, 20 % ... 90 %, 99 % full, and 100 % */
  uint32_t pages_used;    /* frames; the kernel's are always whole zspages */
  uint64_t obj_allocated; /* objects that fit in the zspages */
  uint64_t obj_used;
  uint64_t freeable; /* pages that compaction could give back */
};
#define UZSWAP_CLASSES 255 /* most that a zpool has */
/* The classes of the zpool that takes stores, smallest first. Returns how many
 * there are, of which at most `capacity` are written; 0: it has none. -ENODEV:
 * not open. Not to be called in a handler. */
UZSWAP_API int uzswap_get_classes(struct uzswap_class* classes,
                                  unsigned capacity);

#define UZSWAP_DESCRIPTORS 72 /* most that are held at a time */
/* The descriptors uzswap holds, for hiding them from the program. Returns how
 * many were put into fds (at most capacity). All are at or above 900 unless
 * RLIMIT_NOFILE is lower. They change at a fork, and when a file of the backing
 * store is not needed any more. Not to be called in a handler. */
UZSWAP_API size_t uzswap_descriptors(int* fds, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* UZSWAP_H_ */
