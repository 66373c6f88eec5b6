// SPDX-License-Identifier: Apache-2.0
// Where zsmalloc's zspages come from. One sparse mapping is carved, once, into
// runs of pages; a run and its descriptor stay together for ever and are
// reused for zspages of that length. A run has frames only for the prefix that
// somebody asked for. Of the free runs, a few keep their frames ("warm"), so
// that a pool which breathes does not ask the system at each breath.
//
// Threads: Take, Give and the counters from any thread (one leaf lock, never
// held over a system call). A taken descriptor belongs to whoever took it.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_AREA_H_
#define UZSWAP_ZPOOL_ZSMALLOC_AREA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/arena.h"
#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"
#include "zpool/zsmalloc_class.h"

namespace uzswap {

// A place in the area, in units of 16 bytes: all object sizes are multiples of
// that, and 32 bits of it are 64 GiB.
inline constexpr unsigned kUnitShift = 4;
inline constexpr uint32_t kUnitsPerPage = kPageSize >> kUnitShift;
static_assert(ZsmallocGeometry::kStep == 1u << kUnitShift);

// Names a zspage; 0 is none.
using ZspageId = uint32_t;

// Descriptor of a run, and of the zspage in it while it is in use.
// first_page and pages are fixed when the run is carved, class_number when it
// is taken (Free reads it before it has the lock of the class); everything else
// is guarded by the lock of the class, or by the area's lock while the run is
// free. All zeros is a valid value.
struct alignas(32) Zspage {
  ZspageId next;  // in the list of its fullness group, or of free runs
  ZspageId prev;  // in the list of its fullness group
  uint32_t first_page;
  std::atomic<uint8_t> class_number;
  uint8_t pages;
  uint8_t frames;  // the first `frames` pages have frames
  uint8_t group;
  uint16_t used;   // live objects
  uint16_t fresh;  // units below were objects at least once
  // First free object below fresh, in units from the start, or kListEnd; the
  // handle of the only object if the class is huge.
  uint32_t free_or_handle;
  // Somebody gets frames for it, and then an object in it; until then it stays
  // in its class even if it is empty, and only that thread changes `frames`.
  bool growing;
};
inline constexpr uint32_t kListEnd = UINT32_MAX >> 1;
static_assert(ZsmallocGeometry::kMaxChain * kUnitsPerPage <= UINT16_MAX);
static_assert(ZsmallocGeometry::kSteps <= UINT8_MAX + 1);

// Invariants: every carved page belongs to exactly one run; a free run is on
// exactly one list; runs on cold lists have no frames, those on warm lists
// have; frames() is the sum over all descriptors.
class ZsmallocArea {
 public:
  static constexpr PageCount kMaxPages = (uint64_t{1} << 32) / kUnitsPerPage;

  constexpr ZsmallocArea() = default;
  ZsmallocArea(const ZsmallocArea&) = delete;
  ZsmallocArea& operator=(const ZsmallocArea&) = delete;

  // Address space for `limit` pages, 1 … kMaxPages. ENOMEM.
  Status Init(PageCount limit);
  void Release();

  // A run of `pages` pages with no or, if it may be `warm`, some frames.
  // ENOMEM.
  Result<ZspageId> Take(unsigned pages, bool warm = true);
  // Returns how many frames went back to the system.
  PageCount Give(ZspageId id);
  // Gives back all frames of free runs if they are more than `kept`, and
  // returns how many went.
  PageCount Trim(PageCount kept);
  // Gives the first `frames` pages of a taken run frames; the caller sets
  // z.frames. ENOMEM: nothing has changed. REQUIRES: z.frames < frames <=
  // z.pages, and nobody else changes z.frames.
  Status Populate(const Zspage& z, unsigned frames);

  Zspage& operator[](ZspageId id) { return zspages_[id]; }
  std::byte* At(uint32_t unit) { return base_ + (size_t{unit} << kUnitShift); }
  // The zspage around a place; 0 where nothing was ever carved.
  ZspageId ZspageAt(uint32_t unit) const {
    return zspage_of_page_[unit / kUnitsPerPage];
  }

  // Frames held, the warm ones included.
  PageCount frames() const { return frames_.load(std::memory_order_relaxed); }
  PageCount KeptFrames() {
    ScopedLock lock(lock_);
    return warm_frames_;
  }
  ByteCount metadata_bytes() const;
  // Dies unless exactly the runs in use hold `used_frames`. REQUIRES: no other
  // call runs.
  void CheckInvariants(uint64_t used_runs, PageCount used_frames);
  void ResetLocksInChild() { lock_.ResetInChild(); }

 private:
  struct Victims;
  ZspageId Pop(ZspageId (&heads)[ZsmallocGeometry::kMaxChain + 1],
               unsigned pages) UZSWAP_REQUIRES(lock_);
  ZspageId Carve(unsigned pages) UZSWAP_REQUIRES(lock_);
  ZspageId Split(unsigned pages) UZSWAP_REQUIRES(lock_);
  ZspageId Describe(uint32_t first_page, unsigned pages) UZSWAP_REQUIRES(lock_);
  PageCount WarmLimit() const;
  void ChooseVictims(Victims& victims, PageCount keep) UZSWAP_REQUIRES(lock_);
  PageCount DropFramesOf(Victims& victims);
  uint64_t CheckList(ZspageId head, unsigned pages, bool warm);

  static LockClass lock_class_;

  // Constant after Init.
  std::byte* base_ = nullptr;
  PageCount limit_ = 0;

  SparseTable<uint32_t> zspage_of_page_;  // written when a run is carved
  SparseTable<Zspage> zspages_;
  std::atomic<PageCount> frames_{0};
  std::atomic<PageCount> carved_pages_{0};  // written under lock_
  std::atomic<ZspageId> carved_runs_{0};    // written under lock_

  Mutex lock_{lock_class_};
  ZspageId warm_[ZsmallocGeometry::kMaxChain + 1] UZSWAP_GUARDED_BY(lock_) = {};
  ZspageId cold_[ZsmallocGeometry::kMaxChain + 1] UZSWAP_GUARDED_BY(lock_) = {};
  PageCount warm_frames_ UZSWAP_GUARDED_BY(lock_) = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZSMALLOC_AREA_H_
