/* SPDX-License-Identifier: Apache-2.0
 *
 * What `uzswap run` and the processes under it share: a small file mapping made
 * by `uzswap run`. One record for each process, so that a summary can be given
 * however the processes end: written by the process only, read at any time. And
 * the parameters that were set from outside: written by `uzswap run` only, and
 * taken by each process when it notices that the sequence number has grown. At
 * the same moment the process that was asked for its size classes writes them.
 */
#ifndef UZSWAP_REPORT_H_
#define UZSWAP_REPORT_H_

#include <stdint.h>

#include "uzswap/tree.h"
#include "uzswap/uzswap.h"

#define UZSWAP_REPORT_MAGIC 0x35505253575a55ull /* "UZWSRP5" */
/* What is never touched takes no memory. */
#define UZSWAP_REPORT_RECORDS 8192

enum uzswap_record_state {
  UZSWAP_RECORD_FREE = 0,
  UZSWAP_RECORD_LIVE = 1,   /* being written from time to time */
  UZSWAP_RECORD_ENDED = 2,  /* the process left by exit; final */
  UZSWAP_RECORD_EXECED = 3, /* the process became another program; final */
  UZSWAP_RECORD_FAILED = 4, /* uzswap could not start; `why` says it */
};

/* One parameter, as a process has it. */
struct uzswap_parameter_state {
  uint32_t sequence; /* of the last request it took; written last, atomically */
  int32_t error;     /* errno value of that request; 0: taken */
  char value[UZSWAP_PARAMETER_BYTES]; /* now; may differ from the request */
};

struct uzswap_record {
  uint32_t state; /* enum uzswap_record_state; written last, atomically */
  int32_t pid;
  int32_t parent;
  uint32_t forked;           /* 1: began by fork, 0: by exec */
  char program[32];          /* base name, terminated */
  char why[160];             /* RECORD_FAILED: the sentence */
  uint64_t calls_patched;    /* system calls that came through patched sites */
  uint64_t calls_dispatched; /* that came through Syscall User Dispatch */
  uint64_t calls_unlisted;   /* with no row in the argument table */
  uint32_t sites_patched;    /* 0: libc build unknown, dispatch alone */
  uint32_t sites_known;
  struct uzswap_stats stats;
  char compressors[256]; /* that it knows, blanks between, terminated */
  char used[160]; /* compressors that were current, in the order of their first
                     use, as values of the parameter, blanks between */
  uint32_t seen;  /* uzswap_control.sequence up to which all was taken */
  uint32_t most_locks; /* most that a thread held at a time; 0: not counted */
  struct uzswap_parameter_state parameter[UZSWAP_PARAMETERS];
};

/* What one parameter is to be. Index: position in UZSWAP_PARAMETER_LIST. */
struct uzswap_parameter_request {
  uint32_t sequence; /* 0: never set */
  char value[UZSWAP_PARAMETER_BYTES];
};

/* Only the newest value of a parameter counts: a process that slept takes that
 * one. `version` is odd while the requests are written; a reader that sees it
 * odd or changed comes back later. */
struct uzswap_control {
  uint32_t sequence;         /* atomic; the newest request, written last */
  uint32_t version;          /* atomic */
  uint32_t classes_sequence; /* of the newest question for classes; 0: none */
  int32_t classes_pid;       /* who is to answer it */
  struct uzswap_parameter_request request[UZSWAP_PARAMETERS];
};

/* The answer of control.classes_pid. One at a time: the next question is asked
 * when this one was answered or given up. */
struct uzswap_class_table {
  uint32_t sequence; /* the question; written last, atomically */
  uint32_t count;    /* 0: the zpool has no classes */
  struct uzswap_class row[UZSWAP_CLASSES];
};

struct uzswap_report {
  uint64_t magic;
  uint32_t record_bytes; /* sizeof (struct uzswap_record) */
  uint32_t records;      /* capacity */
  uint32_t next;         /* atomic: records taken; may exceed capacity */
  uint32_t reserved;
  struct uzswap_control control;
  struct uzswap_class_table classes;
  struct uzswap_tree tree;
  struct uzswap_record record[UZSWAP_REPORT_RECORDS];
};

#endif /* UZSWAP_REPORT_H_ */
