// SPDX-License-Identifier: Apache-2.0
// The first file to read here: the nouns and the rules about entries.
//
//   slot        names one page of the program (base/page.h)
//   entry       what zswap knows about the page stored under a slot
//   pool        a compressor and a zpool; holds the content of most entries
//   same-filled a page that is one 8-byte word repeated: kept in the entry
//   raw         a page that does not compress: 4096 bytes in the pool
//               (the kernel's "incompressible")
//   LRU         entries whose content is in the pool, coldest first
//   dense tier  a second pool with a compressor that packs more, for what stays
//               cold (recompress.cc)
//   writeback   moves content from the pool to the device, coldest first, as
//               it lies in the pool
//   claim       the right to read the content of an entry that stays
//
// Life of an entry: made by Store, filled while nobody else knows it, then
// published: first in the table, then on the LRU. From then on a thread owns it
// only by taking it out of the table (Load, Store of a newer version,
// Invalidate) or by claiming it (writeback).
#ifndef UZSWAP_ZSWAP_ENTRY_H_
#define UZSWAP_ZSWAP_ENTRY_H_

#include <atomic>
#include <cstdint>

#include "base/page.h"
#include "device/device.h"
#include "zpool/zpool.h"
#include "zswap/age.h"

namespace uzswap {

// An entry's place in the slab (entry_slab.h): half the size of a pointer, and
// safe to look at when stale, since the slab never gives memory back.
enum class EntryIndex : uint32_t {};
inline constexpr EntryIndex kNoEntry{0};

enum class EntryKind : uint8_t {
  kFree = 0,        // not in use; `next` links the free ones
  kSameFilled = 1,  // payload: the word
  kCompressed = 2,  // payload: handle, `length` bytes of compressor output
  kRaw = 3,         // payload: handle, the page itself
  kOnDevice = 4,    // payload: object, `length` bytes of what was in the pool
};

constexpr bool InPool(EntryKind kind) {
  return kind == EntryKind::kCompressed || kind == EntryKind::kRaw;
}

// Which list of the LRU: what was stored or used since, and what recompression
// has looked at: it is in the dense tier or would not get smaller there.
enum class LruList : uint8_t { kNone = 0, kYoung = 1, kOld = 2 };

// Invariants of a published entry, when no call is in flight:
//   table[slot] is this entry, and it is the only cell that is
//   on the LRU  ⇔  InPool(kind)
//   length: 1 … 4095 when compressed, 4096 when raw, also on the device; 0 when
//   same-filled
//   refs = 1
// References: one belongs to the table or to whoever took the entry out of it,
// one more to a writeback, or a Load that keeps the entry, that has claimed it
// (at most one at a time: a claim is only given when refs is 1, under the shard
// lock). Who drops the last one
// frees handle or object, and the entry. So a Load may use the compressed copy
// while a writeback of it is under way, and neither waits for the other.
// Guards: slot, payload, length, kind, pool belong to the owner before
// publication and after the entry was taken out of the table, and to the shard
// lock of the slot in between; next, prev and lru to the LRU's lock.
struct Entry {
  std::atomic<uint64_t> slot;  // written under the shard lock, read anywhere
  uint64_t payload;
  EntryIndex next;
  EntryIndex prev;
  uint16_t length;
  EntryKind kind;
  // A pool (pool_list.h), or on the device, unless raw, a decoder
  // (decoders.h). It has a reference to it.
  uint8_t pool;
  std::atomic<uint8_t> refs;
  LruList list;               // where it is on the LRU
  std::atomic<AgeStamp> age;  // of the last store, or load that kept it
  bool referenced;  // not seen by the LRU's hand yet: gets a second chance

  Slot slot_now() const { return Slot{slot.load(std::memory_order_relaxed)}; }
  Handle handle() const { return Handle{payload}; }
  ObjectId object() const { return ObjectId{payload}; }
  bool NeedsDecoder() const {
    return kind == EntryKind::kOnDevice && length < kPageSize;
  }
};
static_assert(sizeof(Entry) == 32);
static_assert(kPageSize <= UINT16_MAX);

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ENTRY_H_
