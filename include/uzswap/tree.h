/* SPDX-License-Identifier: Apache-2.0
 *
 * One memory limit for several processes: a table in memory that they share.
 * Each has a place in it, which says how many pages it may use (granted) and
 * how many it uses. Whoever needs more takes what is free, then what others do
 * not use; then somebody who has more, or needs it less, is made to give way:
 * its grant is lowered below what it uses, and it evicts. Nobody waits for
 * that, and nobody is needed for it: any process can be killed at any moment.
 *
 * Who writes what: a process its own `used`, `disk`, `pressure`, `parted`,
 * `forks` and `ending`, and its `granted` when it takes its place and gives it
 * up; its children `forks_joined`; whoever holds `lock`, grants, and what
 * relatives of the dead are charged for (uzswap_pass_on); `uzswap run`, holding
 * it too, `shared` and `parted_seen`, and corrects `used` by what it has
 * measured until its owner says it again; limits without it. All are read at
 * any time, each by one atomic access. The lock holds the id of the thread that
 * has it, so that it can be taken from the dead; it is never waited for long.
 *
 * Comes from: memory control groups (memory.max, memory.high), with the
 * difference that a page is evicted only by the process that it belongs to.
 */
#ifndef UZSWAP_TREE_H_
#define UZSWAP_TREE_H_

#include <stdint.h>

#define UZSWAP_TREE_MEMBERS 1024

enum uzswap_on_full {
  UZSWAP_ON_FULL_EXCEED = 0, /* the limit is exceeded, and said so */
  UZSWAP_ON_FULL_WAIT = 1,   /* who needs memory waits until there is some */
  UZSWAP_ON_FULL_KILL = 2,   /* the process that needs it is killed */
};

/* Pages everywhere. */
struct uzswap_member {
  uint32_t pid;      /* 0: a free place */
  uint32_t wake;     /* futex: grows when its owner has something to look at */
  uint64_t granted;  /* what it may use */
  uint64_t used;     /* what it uses, as it last said */
  uint64_t disk;     /* what it has on its backing store */
  uint64_t pressure; /* pages it lacked lately, decayed << 32 | when, in ms */
  uint64_t shared;   /* part of what it uses that relatives are charged for */
  uint32_t parent;   /* pid of who forked it; 0: nobody */
  uint32_t born_ms;  /* when that was; 0: `shared` has been measured since */
  uint32_t parted;   /* pages that it no longer shares; grows, modulo 2^32 */
  uint32_t parted_seen; /* those that `shared` does not count any more */
  uint32_t ending; /* when it began to end, in ms; its place is free when it
                      is dead; 0: it does not */
  uint32_t forks;  /* that it has begun; grows, modulo 2^32 */
  uint32_t forks_joined; /* children that have a place; grows */
  uint32_t forked_ms;    /* when the last of them began */
};

struct uzswap_tree {
  uint64_t limit;         /* of all together */
  uint64_t soft_limit;    /* above it memory is given back; 0: none */
  uint64_t process_limit; /* of each; 0: none */
  uint64_t disk_limit;    /* of all together on the backing store; 0: none */
  uint64_t peak;          /* most that all together have used */
  uint64_t times_full;    /* that no room could be made, under any policy */
  uint32_t on_full;       /* enum uzswap_on_full */
  uint32_t pressure;      /* of the system's memory: 0 none … 3 severe */
  uint32_t capacity;      /* places in member[] */
  uint32_t members;       /* places that were ever taken */
  uint32_t lock;          /* 0, or the thread id of who holds it */
  uint32_t looked_ms;     /* when the dead were last looked for */
  struct uzswap_member member[UZSWAP_TREE_MEMBERS];
};

/* What relatives of a fork are charged for of what the member uses: as of the
 * last measurement, less what it has parted from since. Less than none where
 * the others have not been charged yet for what it left to them. */
static inline int64_t uzswap_shared(const struct uzswap_member* member) {
  /* In this order: what is seen has been parted before. */
  const uint32_t seen = __atomic_load_n(&member->parted_seen, __ATOMIC_ACQUIRE);
  const uint32_t parted = __atomic_load_n(&member->parted, __ATOMIC_RELAXED);
  const uint64_t shared = __atomic_load_n(&member->shared, __ATOMIC_RELAXED);
  return (int64_t)shared - (int32_t)(parted - seen);
}

static inline int uzswap_are_relatives(const struct uzswap_member* a,
                                       const struct uzswap_member* b) {
  const uint32_t a_pid = __atomic_load_n(&a->pid, __ATOMIC_RELAXED);
  const uint32_t b_pid = __atomic_load_n(&b->pid, __ATOMIC_RELAXED);
  const uint32_t a_parent = __atomic_load_n(&a->parent, __ATOMIC_RELAXED);
  const uint32_t b_parent = __atomic_load_n(&b->parent, __ATOMIC_RELAXED);
  return (a_pid != 0 && b_parent == a_pid) ||
         (a_parent != 0 && (b_parent == a_parent || b_pid == a_parent));
}

/* `gone` is dead, or becomes another program. What it was charged for and
 * relatives have as well is theirs alone, until they are measured. To be called
 * with the lock, and before its `used` is forgotten. */
static inline void uzswap_pass_on(struct uzswap_tree* tree,
                                  const struct uzswap_member* gone) {
  uint64_t left = __atomic_load_n(&gone->used, __ATOMIC_RELAXED);
  const uint32_t end = __atomic_load_n(&tree->members, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < end && i < UZSWAP_TREE_MEMBERS && left > 0; ++i) {
    struct uzswap_member* other = &tree->member[i];
    if (other == gone || __atomic_load_n(&other->pid, __ATOMIC_ACQUIRE) == 0 ||
        !uzswap_are_relatives(gone, other)) {
      continue;
    }
    const uint64_t shared = __atomic_load_n(&other->shared, __ATOMIC_RELAXED);
    const uint64_t part = shared < left ? shared : left;
    left -= part;
    uint64_t used = __atomic_load_n(&other->used, __ATOMIC_RELAXED);
    __atomic_store_n(&other->shared, shared - part, __ATOMIC_RELAXED);
    /* It need not give way for that. */
    __atomic_fetch_add(&other->granted, part, __ATOMIC_RELAXED);
    /* Its owner may have said it at this moment, and knows already. */
    (void)__atomic_compare_exchange_n(&other->used, &used, used + part, 0,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
}

#endif /* UZSWAP_TREE_H_ */
