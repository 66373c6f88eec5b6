// SPDX-License-Identifier: Apache-2.0
// How the pages of one block leave memory. The two ways differ in what the
// block costs while other threads run (docs/design.md, "A page leaves").
#ifndef UZSWAP_PAGER_EVICTOR_H_
#define UZSWAP_PAGER_EVICTOR_H_

#include "pager/core.h"
#include "pager/protector.h"
#include "pager/staging.h"

namespace uzswap {

class Evictor {
 public:
  // Evicts what it can of `only` in the block; returns how many pages went.
  // REQUIRES: the caller took the block from core.blocks; the map lock is held.
  virtual PageCount Evict(BlockIndex block, PageMask only) = 0;

 protected:
  ~Evictor() = default;
};

// The pages of `only` that may leave if they are resident and not pinned: a
// range that cannot be read cannot be compressed. REQUIRES: the map lock. (The
// analysis cannot see that core is the pager's own.)
PageMask EvictablePages(Core& core, BlockIndex block,
                        PageMask only) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;

// Drops many runs of a block in as few calls as the kernel allows.
class Dropper {
 public:
  explicit constexpr Dropper(Core& core) : core_(core) {}
  // Which way of dropping several runs at once this kernel has.
  void Probe();
  // Returns the pages whose frames are gone.
  PageMask Drop(BlockIndex block, PageMask pages);
  // Pages that are clean leave without being stored. Returns how many went.
  PageCount DropClean(BlockIndex block, PageMask pages);

 private:
  Core& core_;
  bool batched_ = false;
};

// Write-protects (protector.h), compresses in place, drops. Works with any
// number of threads and after a fork; needs no page moved and few shoot-downs
// for each block.
class WpEvictor final : public Evictor {
 public:
  constexpr WpEvictor(Core& core, Dropper& dropper)
      : core_(core), dropper_(dropper), protector_(core) {}
  PageCount Evict(BlockIndex block, PageMask only) override;

 private:
  PageMask StorePages(BlockIndex block, PageMask pages, PageMask shared);
  struct Part {
    PageMask pages;   // evicting
    PageMask stored;  // of them
    PageMask shared;  // of the block, before
  };
  PageCount Finish(BlockIndex block, const Part& part);

  Core& core_;
  Dropper& dropper_;
  Protector protector_;
};

// Moves the frames to staging. The program's pages are gone after one call for
// a run; a frame that the kernel will not move (shared after a fork, or in use
// by a device) stays where it is. Blocks with mappings that cannot be moved
// from are left to the other evictor.
class MoveEvictor final : public Evictor {
 public:
  constexpr MoveEvictor(Core& core, Staging& staging, Dropper& dropper,
                        Evictor& other)
      : core_(core), staging_(staging), dropper_(dropper), other_(other) {}
  PageCount Evict(BlockIndex block, PageMask only) override;

 private:
  bool CanMove(BlockIndex block,
               PageMask pages) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;
  PageMask MoveOut(BlockIndex block, uint32_t to, PageMask pages);

  Core& core_;
  Staging& staging_;
  Dropper& dropper_;
  Evictor& other_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_EVICTOR_H_
