# SPDX-License-Identifier: Apache-2.0
"""The guards of docs/bugs.md, each with how it is taken away and the test that
must notice. `old` occurs exactly once in `file`. Used by tools/mutants.py."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    bug: str
    without: str  # what is missing, as docs/bugs.md says it
    file: str
    old: str
    new: str
    target: str
    test: str  # of gtest_filter


ZSWAP = "src/zswap/zswap.cc"
STORE = "src/zswap/store.cc"
WRITEBACK = "src/zswap/writeback.cc"
POOLS = "src/zswap/pool_list.cc"
COMPRESSOR = "src/compress/compressor.cc"
ACOMP = "src/compress/acomp.cc"
ZSMALLOC = "src/zpool/zsmalloc.cc"

MUTANTS = [
    # ---- entries
    Mutant("B1", "the table is not asked again",
           WRITEBACK, "cell.entry() != victim.entry) return ClaimResult::kGone;",
           "cell.entry() == kNoEntry) return ClaimResult::kGone;",
           "writeback_test", "*B1_AVictimReplaced*"),
    Mutant("B1", "an entry is used anew while it is written back",
           ZSWAP, "  if (before == 2) return;\n", "",
           "bugs_entry_test", "*B1_ASwingingLimit*"),
    Mutant("B1", "a finished writeback does not look",
           WRITEBACK, "if (cell.entry() == index) {\n      lru",
           "if (cell.entry() == index || true) {\n      lru",
           "writeback_test", "*B2_*"),
    Mutant("B1", "what comes back beside another page does not look",
           "src/zswap/swapin.cc",
           "    if (cell.entry() != from.entry) return false;\n", "",
           "swapin_test", "*WhileItComesBack*"),
    Mutant("B2", "the object of a late writeback is kept",
           WRITEBACK, "    device->Free(object);\n    return false;",
           "    return false;",
           "bugs_entry_test", "*B2_AWritebackThatComesTooLate*"),
    Mutant("B2", "the claim of a late writeback is kept",
           WRITEBACK, "    DropReference(leaving.victim.entry);\n",
           "    if (leaving.status.ok()) DropReference(leaving.victim.entry);\n",
           "bugs_entry_test", "*B2_AWritebackThatComesTooLate*"),
    Mutant("B3", "the older version goes only when the newer is stored",
           STORE, "    RemoveOld(unit.slot);  // before anything can fail\n",
           "", "zswap_test", "Zswap.B3_*"),
    Mutant("B3", "nothing is removed while disabled",
           STORE, "    RemoveOld(unit.slot);",
           "    if (parameters.enabled.load()) RemoveOld(unit.slot);",
           "bugs_entry_test", "*B3_AStoreWhileDisabled*"),
    Mutant("B4", "table pages are unmapped, not dropped",
           "src/zswap/entry_table.cc",
           "os::Drop(page, count * kPageSize).ok()",
           "os::Unmap(page, count * kPageSize).ok()",
           "bugs_entry_test", "*B4_TablePages*"),
    Mutant("B4", "the worker is not stopped first",
           "src/zswap/zswap_calls.cc", "  worker.StopAll();\n", "",
           "bugs_entry_test", "*B4_Destroy*"),
    Mutant("B5", "looking and taking out are two steps",
           ZSWAP,
           "    EntryTable::Cell cell(table, slot);\n"
           "    index = cell.Take();\n  }\n  if (index != kNoEntry) lru",
           "    EntryTable::Cell cell(table, slot);\n"
           "    index = cell.entry();\n  }\n"
           "  if (index != kNoEntry) {\n"
           "    EntryTable::Cell cell(table, slot);\n"
           "    (void)cell.Take();\n  }\n  if (index != kNoEntry) lru",
           "bugs_entry_test", "*B5_*"),
    Mutant("B5", "references are not counted",
           ZSWAP, "  if (before == 2) return;\n", "",
           "writeback_test", "*B2_*"),
    # ---- contexts and CPUs
    Mutant("B6", "a CPU that goes takes its context along",
           COMPRESSOR, "&Compressor::OnCpuUp};",
           "&Compressor::OnCpuUp,\n"
           "    [](unsigned cpu, cpuhp::Instance& instance) {\n"
           "      auto& c = static_cast<Compressor&>(instance);\n"
           "      c.contexts_[cpu].ready.store(false);\n"
           "      os::Drop(c.Frames(c.contexts_[cpu]), c.stride_).Ignore();\n"
           "    }};",
           "compressor_hotplug_test", "*.B6_Offline*"),
    Mutant("B7", "every Lock asks which CPUs there are",
           COMPRESSOR, "  if (cpu >= count_ - 1) [[unlikely]]",
           "  (void)cpuhp::System().Online();\n"
           "  if (cpu >= count_ - 1) [[unlikely]]",
           "bugs_pool_test", "*B7_*"),
    Mutant("B7", "the same, seen by lockdep",
           COMPRESSOR, "  if (cpu >= count_ - 1) [[unlikely]]",
           "  (void)cpuhp::System().Online();\n"
           "  if (cpu >= count_ - 1) [[unlikely]]",
           "compressor_hotplug_test", "*.B7_*"),
    Mutant("B8", "contexts are set up with their lock held",
           COMPRESSOR, "  UZSWAP_RETURN_IF_ERROR(c.SetUp(context));\n",
           "  context.mutex.Lock();\n  const Status s = c.SetUp(context);\n"
           "  context.mutex.Unlock();\n  UZSWAP_RETURN_IF_ERROR(s);\n",
           "compressor_bugs_test", "*B8_*"),
    Mutant("B9", "a compressor is freed with a context locked",
           COMPRESSOR, "  cpuhp::System().RemoveInstance(state_, *this);\n",
           "  contexts_[0].mutex.Lock();\n"
           "  cpuhp::System().RemoveInstance(state_, *this);\n"
           "  contexts_[0].mutex.Unlock();\n",
           "compressor_hotplug_test", "*.EveryOnlineCpu*"),
    Mutant("B9", "lockdep looks for cycles of two only",
           "src/base/lockdep_graph.cc", "if (Search(to, from)) {",
           "if (after[to].Has(from) && Search(to, from)) {",
           "lockdep_context_test", "*B9_Finds*"),
    Mutant("B9", "the order of contexts is not told to lockdep",
           COMPRESSOR,
           "  lockdep::Acquire(lock_class_, &context.mutex);\n"
           "  lockdep::Release(lock_class_, &context.mutex);\n", "",
           "compressor_hotplug_test", "*.B8_B9_*"),
    Mutant("B10", "a workspace that failed stays as it is",
           COMPRESSOR, "    CHECK(os::Drop(Frames(context), stride_).ok());\n",
           "", "compressor_hotplug_test", "*.B10_ACpuWhose*"),
    Mutant("B11", "whoever made the compressor does not free it",
           COMPRESSOR, "    c->Free();\n    return status;",
           "    return status;",
           "compressor_hotplug_test", "*.B10_B11_*"),
    Mutant("B11", "the instance is on the list before it works",
           "src/base/cpuhp.cc",
           "  if (status.ok()) {\n    state.instances.PushBack(&instance);\n"
           "  } else if",
           "  state.instances.PushBack(&instance);\n"
           "  if (status.ok()) {\n  } else if",
           "bugs_pool_test", "*B11_*"),
    Mutant("B12", "a CPU that comes back gets a new context",
           COMPRESSOR,
           "  if (context.ready.load(std::memory_order_relaxed)) return kOk;\n",
           "", "compressor_hotplug_test", "*.B6_Offline*"),
    # ---- pools
    Mutant("B13", "who drops the last reference destroys",
           POOLS,
           "== 0) {\n    (void)worker_.Queue(reaper_);\n  }\n}",
           "== 0) {\n    DestroyEmpty();\n  }\n}",
           "bugs_pool_test", "*B13_TheLastLoad*"),
    Mutant("B13", "who switches does not help the worker",
           POOLS, "    DestroyEmpty();\n    s = change();",
           "    s = change();",
           "bugs_pool_test", "*B13_ALoop*"),
    Mutant("B14", "a refused store keeps its reference",
           STORE, "      pools.Drop(pool);\n    } else {", "    } else {",
           "bugs_pool_test", "*B14_*"),
    Mutant("B15", "a dying pool is found",
           POOLS, "    if (IsAlive(state) && slots_[i].pool.kind() == kind)",
           "    if (state != State::kFree && state != State::kSetUp &&\n"
           "        slots_[i].pool.kind() == kind)",
           "bugs_pool_test", "*B15_APoolThatIsBeing*"),
    Mutant("B15", "draining pools are not found",
           POOLS, "    if (IsAlive(state) && slots_[i].pool.kind() == kind)",
           "    if (state == State::kCurrent && slots_[i].pool.kind() == kind)",
           "bugs_pool_test", "*B15_GoingBack*"),
    Mutant("B15", "no grace period before references are summed",
           POOLS,
           "  grace_.Synchronize();\n  HookAfterGrace();",
           "  HookAfterGrace();", "bugs_pool_test", "*B15_AStoreThat*"),
    Mutant("B15", "a pool that was current again meanwhile is not spared",
           POOLS, "      slot.demotions != since || slot.held ||\n",
           "      since > slot.demotions || slot.held ||\n",
           "pool_list_test", "*AStoreIntoARevived*"),
    Mutant("B15", "no grace period before destruction",
           POOLS, "  grace_.Synchronize();\n  for (unsigned i",
           "  for (unsigned i", "bugs_pool_test", "*B15_WhoWalks*"),
    Mutant("B16", "the slot of a pool that failed stays taken",
           POOLS,
           "  slots_[index].state.store(State::kFree, "
           "std::memory_order_release);\n  return s;",
           "  return s;", "bugs_pool_test", "*B16_*"),
    Mutant("B16", "the name is stored before the switch",
           "src/zswap/parameters.cc",
           "    UZSWAP_RETURN_IF_ERROR(host->SwitchPool(wanted, zpool_.text));",
           "    compressor_ = wanted;\n"
           "    UZSWAP_RETURN_IF_ERROR(host->SwitchPool(wanted, zpool_.text));",
           "parameters_test", "*B16_AFailedSwitch*"),
    Mutant("B16", "names are taken after a failed set-up",
           "src/zswap/parameters.cc",
           "      if (state.load() == InitState::kFailed) "
           "return Status::Error(ENODEV);\n",
           "", "parameters_test", "*B16_AfterAFailedSetup*"),
    Mutant("B17", "the recorded name counts as there",
           "src/zswap/parameters.cc", "if (has_pool.load() && wanted == compressor_)",
           "if (wanted == compressor_)", "parameters_test", "*B17_*"),
    # ---- accounts, limits, shrinking
    Mutant("B18", "a failed store takes back what it never gave",
           STORE, "      slab.Free(entries[i]);\n",
           "      gauges.Subtract(Gauge::kCompressed);\n"
           "      slab.Free(entries[i]);\n",
           "bugs_limit_test", "*B18_*"),
    Mutant("B18", "a writeback does not move the entry's count",
           WRITEBACK, "      UncountEntry(entry);\n", "",
           "bugs_limit_test", "*B18_*"),
    Mutant("B19", "pages are counted before they are stored",
           STORE, "    if (entries[i] == kNoEntry) continue;\n"
           "    if (units[i].status.ok()) {\n      events.Add(Event::zswpout);\n",
           "    events.Add(Event::zswpout);\n"
           "    if (entries[i] == kNoEntry) continue;\n"
           "    if (units[i].status.ok()) {\n",
           "bugs_limit_test", "*B18_B19_*"),
    Mutant("B21", "a victim that went ends the search",
           WRITEBACK, "    if (r != ClaimResult::kClaimed) continue;\n",
           "    if (r != ClaimResult::kClaimed) break;\n",
           "bugs_limit_test", "*B21_*"),
    Mutant("B21", "victims that went count as failures",
           WRITEBACK,
           "      if (leaving.status.ok() || leaving.status.error() == ENOENT) "
           "continue;\n",
           "      if (leaving.status.ok()) continue;\n",
           "bugs_limit_test", "*B21_*"),
    Mutant("B24", "shrinking does not stop",
           WRITEBACK,
           "    if (until == Until::kAccepted && PoolPages() <= "
           "limit.accept()) break;\n",
           "", "bugs_limit_test", "*B24_*"),
    Mutant("B24", "shrinking stops too early",
           WRITEBACK, "PoolPages() <= limit.accept()",
           "PoolPages() < limit.max()", "bugs_limit_test", "*B24_*"),
    Mutant("B25", "the flag is not set",
           "src/zswap/limit.h",
           "      reached_full_.store(true, std::memory_order_relaxed);\n", "",
           "writeback_test", "*B25_FullStays*"),
    Mutant("B25", "stores do not look at the limit",
           STORE, "  MakeRoom();\n  Pool::Stored", "  Pool::Stored",
           "writeback_test", "*B25_Parallel*"),
    Mutant("B26", "fresh pages are not marked",
           "src/zswap/lru.cc",
           "  slab_[index].referenced = true;\n"
           "  LinkWarm(LruList::kYoung, index);\n}\n\nvoid Lru::Remove",
           "  slab_[index].referenced = false;\n"
           "  LinkWarm(LruList::kYoung, index);\n}\n\nvoid Lru::Remove",
           "bugs_limit_test", "*B26_*"),
    Mutant("B27", "the pool is shrunk for pages that go past it",
           STORE, "  if (count > 0) PutGroup({pending, count});\n",
           "  if (count > 0) MakeRoom();\n"
           "  if (count > 0) PutGroup({pending, count});\n",
           "bugs_limit_test", "*B27_*"),
    Mutant("B27", "pages are compressed while disabled",
           STORE, "  if (!parameters.enabled.load(std::memory_order_relaxed)) {",
           "  if (slab.end() == 0) {", "bugs_limit_test", "*B27_*"),
    Mutant("B29", "attempts do not get rarer",
           WRITEBACK, "    backoff.Failed();\n", "    (void)backoff;\n",
           "bugs_limit_test", "*B29_*"),
    Mutant("B29", "room on the device does not end the wait",
           ZSWAP, "    backoff.Reset();  // there is room again\n", "",
           "writeback_test", "*B29_*"),
    # ---- compression
    Mutant("B30", "the codec is told of two pages",
           COMPRESSOR, "context.buffers[buffer], kPageSize, &produced);",
           "context.buffers[buffer], 2 * kPageSize, &produced);",
           "compressor_bugs_test", "*B30_*"),
    Mutant("B30", "red zones are not looked at",
           COMPRESSOR, "  CHECK(AllZero({c.buffers[buffers_ - 1] + kPageSize, "
           "kRedZone}));\n", "",
           "compressor_test", "*.B30_*"),
    Mutant("B30", "a batch does not tell the room",
           ACOMP, "{u.destination, u.room}, &length);",
           "{u.destination, kPageSize}, &length);",
           "acomp_test", "*.B30_*"),
    Mutant("B31", "buffers are not given back",
           "src/zswap/page_buffers.h",
           "    ~Holder() { buffers_.Free(number_); }",
           "    ~Holder() {}", "bugs_entry_test", "*B31_*"),
    Mutant("B32", "a result is taken from another request",
           ACOMP,
           "queue_->destination(batch.flights_[i].slot).data();",
           "queue_->destination(batch.flights_[0].slot).data();",
           "offload_test", "*.B32_*"),
    Mutant("B33", "the codec runs though the device has it",
           ACOMP,
           "    batch.flying_ = static_cast<uint8_t>(batch.flying_ | Bit(i));\n"
           "    return true;\n",
           "    batch.flying_ = static_cast<uint8_t>(batch.flying_ | Bit(i));\n"
           "    batch.RunCodec(i);\n    return true;\n",
           "offload_test", "*.B33_*"),
    Mutant("B33", "the codec runs twice",
           ACOMP, "  ForEachBit(waiting_, [this](unsigned i) { RunCodec(i); });",
           "  ForEachBit(waiting_, [this](unsigned i) { RunCodec(i); });\n"
           "  ForEachBit(waiting_, [this](unsigned i) { RunCodec(i); });",
           "acomp_test", "*.B33_*"),
    Mutant("B34", "the destination is the source",
           ACOMP, "                     {u.destination, u.room}, &length);",
           "                     {const_cast<std::byte*>(u.source), u.room},\n"
           "                     &length);",
           "compressor_bugs_test", "*B34_SourcesAreReadAnd*"),
    Mutant("B34", "the source is the destination, with a device",
           ACOMP, "    memcpy(u.destination, from, result.length);\n",
           "    memcpy(const_cast<std::byte*>(u.source), from, result.length);\n",
           "compressor_bugs_test", "*B34_SourcesAreReadByADevice*"),
    Mutant("B35", "only the first page of an object is written",
           "src/zpool/zsmalloc.cc",
           "  memcpy(area_.At(unit), bytes.data(), bytes.size());\n",
           "  std::byte* to = area_.At(unit);\n"
           "  const size_t left =\n"
           "      kPageSize - reinterpret_cast<uintptr_t>(to) % kPageSize;\n"
           "  memcpy(to, bytes.data(), bytes.size() < left ? bytes.size()\n"
           "                                               : left);\n",
           "zpool_test", "*EverySizeComesBack*"),
    Mutant("B36", "loading does not look at what is held",
           "src/compress/registry.cc",
           "  CHECK(lockdep::HeldCount() == 0);\n", "",
           "registry_test", "*.B36_Loading*"),
    Mutant("B36", "the plug-in is asked under the hotplug lock",
           COMPRESSOR, "  UZSWAP_RETURN_IF_ERROR(c.SetUp(context));\n",
           "  (void)WorkspaceSize(*c.plugin_, c.parameters_);\n"
           "  UZSWAP_RETURN_IF_ERROR(c.SetUp(context));\n",
           "compressor_hotplug_test", "*.B36_NoLoader*"),
    Mutant("B37", "a failed read is not ended",
           "src/zswap/pool.cc",
           "    zpool_->ReadEnd(compressed[i]->handle);\n",
           "    if (batch.error(i) == 0) zpool_->ReadEnd(compressed[i]->handle);\n",
           "bugs_entry_test", "*B37_*"),
    Mutant("B38", "pages that do not compress do not spoil a group",
           ACOMP, "raw_allowed || verdict.incompressible + verdict.failed == 0",
           "raw_allowed || verdict.failed == 0",
           "acomp_test", "*.B38_AGroup*"),
    Mutant("B38", "a folio goes on after a group that failed",
           "src/compress/acomp.h",
           "    UZSWAP_RETURN_IF_ERROR(group(first, count));\n",
           "    group(first, count).Ignore();\n",
           "acomp_test", "*.B38_AFolio*"),
    Mutant("B38", "one that fails takes the rest of its batch along",
           STORE, "    *units[i]->status = Status::Error(stored[i].allocate_error);",
           "    *units[i]->status = Status::Error(stored[i].allocate_error);\n"
           "    if (stored[i].allocate_error != 0 && i + 1 < count) {\n"
           "      stored[i + 1].allocate_error = ENOMEM;\n    }",
           "bugs_limit_test", "*B38_*"),
    Mutant("B38", "what does not compress has no reason of its own",
           STORE, "    events.Add(Event::reject_compress_fail);",
           "    events.Add(Event::reject_compress_poor);",
           "bugs_limit_test", "*B38_*"),
    Mutant("B39", "lockdep lets a thread hold more",
           "src/base/lockdep.cc", "if (!pseudo && real == kMaxHeld)",
           "if (!pseudo && real == kMaxHeld + 44)",
           "lockdep_test", "*B39_*"),
    # ---- z3fold
    Mutant("B39", "the search goes on after its page",
           "src/zpool/z3fold.cc",
           "        return page;\n"
           "      }\n"
           "      if (++looks",
           "        looks = 0; continue;\n"
           "      }\n"
           "      if (++looks",
           "z3fold_bugs_test", "*B39_*"),
    Mutant("B40", "the owner is not compared",
           "src/zpool/chunk_pool.cc",
           "CHECK(area_.Word(at.page).compare_exchange_strong(owned, PageArea::kTaken));",
           "area_.Word(at.page).store(PageArea::kTaken); (void)owned;",
           "z3fold_bugs_test", "*B40_*"),
    Mutant("B41", "Free settles a claimed page",
           "src/zpool/z3fold.cc",
           "if (header.claimed) {",
           "if (false) {",
           "z3fold_bugs_test", "*B41_*"),
    Mutant("B41", "the page goes under its lock",
           "src/zpool/z3fold.cc",
           "    header.Unlock();\n"
           "    area_.Give(page);",
           "    area_.Give(page);\n"
           "    header.Unlock();",
           "z3fold_bugs_test", "*B41_*"),
    Mutant("B41", "the page goes while it is listed",
           "src/zpool/z3fold.cc",
           "    Unlink(header);\n"
           "    header.Unlock();\n"
           "    area_.Give",
           "    header.Unlock();\n"
           "    area_.Give",
           "z3fold_bugs_test", "*B41_*"),
    Mutant("B42", "the mover does not keep readers away",
           "src/zpool/z3fold_compact.cc",
           "handle != 0 && handles_.BeginMove(handle, from.Word());",
           "handle != 0;",
           "z3fold_bugs_test", "*B42_*"),
    Mutant("B43", "the header is not made anew",
           "src/zpool/z3fold.cc",
           "(new (area_.At(page)) FoldHeader)->Lock();",
           "Header(page).Lock();",
           "z3fold_bugs_test", "*B43_*"),
    Mutant("B44", "the claim does not end",
           "src/zpool/z3fold_compact.cc",
           "  header.claimed = false;\n",
           "  header.claimed = header.Objects() != 0;\n",
           "z3fold_bugs_test", "*B44_*"),
    Mutant("B45", "the page is not put back",
           "src/zpool/z3fold_compact.cc",
           "  Settle(header, page);\n",
           "  if (empty) Settle(header, page); else header.Unlock();\n",
           "z3fold_bugs_test", "*B45_*"),
    Mutant("B46", "the handle is not given back",
           "src/zpool/chunk_pool.cc",
           "  if (!status.ok()) {\n"
           "    handles_.Return(handle);",
           "  if (!status.ok()) {",
           "z3fold_bugs_test", "*B46_*"),
    Mutant("B47", "the area is not released",
           "src/zpool/chunk_pool.cc",
           "  area_.Release();\n"
           "}",
           "}",
           "z3fold_bugs_test", "*B47_*"),
    Mutant("B48", "only the own lists are searched",
           "src/zpool/z3fold.cc",
           "i < cpus_; ++i",
           "i < 1; ++i",
           "z3fold_bugs_test", "*B48_*"),
    Mutant("B48", "only the own lists are compacted",
           "src/zpool/z3fold_compact.cc",
           "for (unsigned cpu = 0; cpu < cpus_; ++cpu) {\n"
           "      while",
           "for (unsigned cpu = ThisCpu(); cpu <= ThisCpu(); ++cpu) {\n"
           "      while",
           "z3fold_bugs_test", "*B48_*"),
    # ---- zsmalloc
    Mutant("B49", "Free does not look again under the lock",
           ZSMALLOC, "if (handles_.Find(handle) != unit ||",
           "if (false && handles_.Find(handle) != unit &&",
           "zsmalloc_bugs_test", "*B49_*"),
    Mutant("B50", "the area is not released",
           ZSMALLOC,
           "  handles_.Release();\n  area_.Release();\n  CHECK(",
           "  handles_.Release();\n  CHECK(",
           "zsmalloc_bugs_test", "*B50_*"),
    Mutant("B51", "an empty zspage stays after a refusal",
           ZSMALLOC, "    if (z.used > 0) return status;\n",
           "    if (z.used > 0 || !status.ok()) return status;\n",
           "zsmalloc_bugs_test", "*B51_*"),
    Mutant("B51", "an empty zspage goes while it grows",
           ZSMALLOC, "if (z.used == 0 && !z.growing) {",
           "if (z.used == 0) {", "zsmalloc_bugs_test", "*B51_*"),
    Mutant("B52", "an object may move before it is stored",
           ZSMALLOC, "  handles_.Expect(object.handle, object.unit);\n",
           "  handles_.Set(object.handle, object.unit);\n",
           "zsmalloc_bugs_test", "*B52_*"),
    Mutant("B53", "Free does not regroup",
           ZSMALLOC,
           "  z.free_or_handle = unit - z.first_page * kUnitsPerPage;\n"
           "  Regroup(c, id);\n",
           "  z.free_or_handle = unit - z.first_page * kUnitsPerPage;\n",
           "zsmalloc_bugs_test", "*B53_*"),
    Mutant("B54", "what is read moves",
           "src/zpool/handle_table.h",
           "    uint64_t seen = location;\n"
           "    return entries_[handle].compare_exchange_strong(",
           "    uint64_t seen = entries_[handle].load();\n"
           "    return static_cast<uint32_t>(seen) == location &&\n"
           "           entries_[handle].compare_exchange_strong(",
           "zsmalloc_bugs_test", "*B54_*"),
    Mutant("B54", "frames that are kept are counted as gone",
           "src/zpool/zsmalloc_compact.cc",
           "  balance->gone += area_.Give(walk.source);\n",
           "  balance->gone += area_[walk.source].frames;\n"
           "  (void)area_.Give(walk.source);\n",
           "zsmalloc_bugs_test", "*B54_*"),
    Mutant("B55", "a class loses count of its free objects",
           ZSMALLOC, "    c.AddHoles(-1);\n", "",
           "zsmalloc_bugs_test", "*B55_*"),
]
