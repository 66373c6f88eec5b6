// SPDX-License-Identifier: Apache-2.0
// How densely a zpool keeps the objects, stage by stage.
#include <cstdio>
#include <cstring>
#include <iterator>

#include "cli/class_table.h"
#include "zpools.h"

namespace uzswap::bench {
namespace {

class Filled {
 public:
  Filled(const char* zpool, const Content& content)
      : content_(content), handles_(content.count()), holds_(content.count()) {
    const Result<Zpool*> pool = CreateZpool(zpool);
    if (!pool.ok()) Die(std::string("no zpool ") + zpool);
    pool_ = pool.value();
  }
  ~Filled() { pool_->Destroy(); }
  Filled(const Filled&) = delete;
  Filled& operator=(const Filled&) = delete;

  void Put(size_t slot, size_t source) {
    const auto object = content_.object(source);
    const Handle handle = pool_->Store(object).value();
    payload_ += object.size();
    handles_[slot] = handle;
    holds_[slot] = source;
  }
  void Drop(size_t slot) {
    DropHandle(handles_[slot], holds_[slot]);
    handles_[slot] = kNoHandle;
  }
  // The new one first, as a store does.
  void Replace(const Replacement& r) {
    const Handle handle = handles_[r.slot];
    const size_t source = holds_[r.slot];
    Put(r.slot, r.source);
    DropHandle(handle, source);
  }
  void Compact() {
    // A step that only moves objects gives nothing back.
    for (int idle = 0; idle < 10; ++idle) {
      if (pool_->Compact(1000) > 0) idle = 0;
    }
  }
  Fill Now(const char* stage, bool classes) const {
    if (classes) PrintClasses(stage);
    return {stage, payload_, pool_->total_pages() * kPageSize,
            pool_->metadata_bytes()};
  }
  void Check() {
    std::byte scratch[kPageSize];
    for (size_t i = 0; i < handles_.size(); ++i) {
      if (handles_[i] == kNoHandle) continue;
      const auto wanted = content_.object(holds_[i]);
      const auto bytes =
          pool_->ReadBegin(handles_[i], wanted.size(), MutablePage(scratch));
      if (memcmp(bytes.data(), wanted.data(), wanted.size()) != 0) {
        Die(std::string(pool_->name()) + " lost an object");
      }
      pool_->ReadEnd(handles_[i]);
    }
    pool_->CheckInvariants();
  }

 private:
  void PrintClasses(const char* stage) const {
    std::vector<uzswap_class> all;
    for (unsigned i = 0; i < pool_->class_count(); ++i) {
      const ZpoolClassStats stats = pool_->ClassStats(i);
      uzswap_class& c = all.emplace_back();
      c.index = static_cast<uint16_t>(stats.index);
      c.size = static_cast<uint16_t>(stats.size);
      c.pages_per_zspage = static_cast<uint16_t>(stats.pages_per_zspage);
      for (size_t group = 0; group < std::size(c.zspages); ++group) {
        c.zspages[group] = static_cast<uint32_t>(stats.zspages[group + 1]);
      }
      c.pages_used = static_cast<uint32_t>(stats.pages_used);
      c.obj_allocated = stats.obj_allocated;
      c.obj_used = stats.obj_used;
      c.freeable = stats.freeable;
    }
    if (all.empty()) return;
    fprintf(stderr, "\n%s, %s\n%s", pool_->name(), stage,
            cli::FormatClasses(all).c_str());
  }
  void DropHandle(Handle handle, size_t source) {
    pool_->Free(handle);
    payload_ -= content_.object(source).size();
  }

  const Content& content_;
  Zpool* pool_;
  std::vector<Handle> handles_;
  std::vector<size_t> holds_;
  uint64_t payload_ = 0;
};

}  // namespace

std::vector<Fill> Density(const char* zpool, const Content& content,
                          bool classes) {
  const size_t count = content.count();
  const std::vector<size_t> order = RandomOrder(count);
  std::vector<bool> survives(count, true);
  std::vector<Fill> fills;
  {
    Filled pool(zpool, content);
    for (size_t i = 0; i < count; ++i) pool.Put(i, i);
    fills.push_back(pool.Now("filled", classes));
    for (size_t i = 0; i < count / 2; ++i) {
      survives[order[i]] = false;
      pool.Drop(order[i]);
    }
    fills.push_back(pool.Now("halved", classes));
    pool.Compact();
    fills.push_back(pool.Now("compacted", classes));
    pool.Check();
  }
  {
    Filled pool(zpool, content);
    for (size_t i = 0; i < count; ++i) {
      if (survives[i]) pool.Put(i, i);
    }
    fills.push_back(pool.Now("fresh", classes));
  }
  Filled pool(zpool, content);
  for (size_t i = 0; i < count; ++i) pool.Put(i, i);
  for (const Replacement& r : RandomReplacements(count)) pool.Replace(r);
  fills.push_back(pool.Now("replaced", classes));
  pool.Compact();
  fills.push_back(pool.Now("replaced_compacted", classes));
  pool.Check();
  return fills;
}

}  // namespace uzswap::bench
