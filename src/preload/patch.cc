// SPDX-License-Identifier: Apache-2.0
// The order matters: everything that can fail (finding libc, memory near it,
// the right to make written memory executable) is tried before libc is touched.
// While libc is being written it is not executable, so nothing between the two
// mprotect calls may call into it, and the compiler must not do so either
// (memcpy, memset): that part uses volatile bytes only.
#include "preload/patch.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "base/os.h"
#include "base/page.h"
#include "preload/stub.h"

extern "C" __attribute__((visibility("hidden"))) void uzswap_entry_patched();

namespace uzswap::preload {
namespace {

#include "libc_sites.inc"

struct Libc {
  std::span<const SiteTable> tables;  // those to look for
  const SiteTable* table = nullptr;   // the one that was found
  uint64_t load = 0;
  uint64_t text_begin = 0;  // the executable segment, whole pages
  uint64_t text_end = 0;
  const char* path = nullptr;
};

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

bool SameBytes(const uint8_t* a, const uint8_t* b, size_t count) {
  const volatile uint8_t* left = a;
  for (size_t i = 0; i < count; ++i) {
    if (left[i] != b[i]) return false;
  }
  return true;
}

uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

const SiteTable* FindTable(std::span<const SiteTable> tables,
                           std::span<const uint8_t> build_id) {
  for (const SiteTable& table : tables) {
    if (table.build_id.size() == build_id.size() &&
        SameBytes(table.build_id.data(), build_id.data(), build_id.size())) {
      return &table;
    }
  }
  return nullptr;
}

// The table for the object that has these notes, or nullptr.
const SiteTable* TableOfNotes(std::span<const SiteTable> tables,
                              std::span<const uint8_t> notes, size_t align) {
  const size_t unit = align == 8 ? 8 : 4;
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(notes.data());
    const size_t content =
        RoundUp(sizeof(*note) + uint64_t{note->n_namesz}, unit);
    const size_t size = content + uint64_t{note->n_descsz};
    if (size > notes.size()) return nullptr;
    static constexpr uint8_t kGnu[] = {'G', 'N', 'U', '\0'};
    if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof(kGnu) &&
        SameBytes(notes.data() + sizeof(*note), kGnu, sizeof(kGnu))) {
      return FindTable(tables, notes.subspan(content, note->n_descsz));
    }
    const size_t step = RoundUp(size, unit);
    if (step >= notes.size()) return nullptr;
    notes = notes.subspan(step);
  }
  return nullptr;
}

int VisitObject(dl_phdr_info* info, size_t /*size*/, void* argument) {
  auto* libc = static_cast<Libc*>(argument);
  const std::span<const ElfW(Phdr)> headers(info->dlpi_phdr, info->dlpi_phnum);
  for (const ElfW(Phdr) & h : headers) {
    if (h.p_type != PT_NOTE || libc->table != nullptr) continue;
    const auto* notes =
        reinterpret_cast<const uint8_t*>(info->dlpi_addr + h.p_vaddr);
    libc->table = TableOfNotes(libc->tables, {notes, h.p_memsz}, h.p_align);
  }
  if (libc->table == nullptr) return 0;
  libc->load = info->dlpi_addr;
  libc->path = info->dlpi_name;
  for (const ElfW(Phdr) & h : headers) {
    if (h.p_type != PT_LOAD || h.p_flags != (PF_R | PF_X)) continue;
    libc->text_begin = (libc->load + h.p_vaddr) / kPageSize * kPageSize;
    libc->text_end = RoundUp(libc->load + h.p_vaddr + h.p_memsz, kPageSize);
    break;
  }
  return 1;
}

// Whether policy (SELinux execmod, PR_SET_MDWE) lets a written page of this
// file become executable again. If not, libc must not be touched.
bool MayPatchFile(const char* path) {
  const Result<int> fd = os::Open(path, O_RDONLY, 0);
  if (!fd.ok()) return false;
  const int64_t page =
      os::Syscall(SYS_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE,
                  fd.value(), 0);
  os::Close(fd.value());
  if (page < 0) return false;
  auto* byte = reinterpret_cast<volatile uint8_t*>(page);
  *byte = *byte;
  const bool may =
      os::Syscall(SYS_mprotect, page, kPageSize, PROT_READ | PROT_EXEC) == 0;
  (void)os::Syscall(SYS_munmap, page, kPageSize);
  return may;
}

// Writable memory at `hint`, or anywhere if that is 0, provided that a jump
// reaches all of libc's text from all of it; 0 if not.
uint64_t TryMap(uint64_t hint, size_t bytes, const Libc& libc) {
  constexpr uint64_t kReach = (uint64_t{1} << 31) - kPageSize;
  const int fixed = hint != 0 ? MAP_FIXED_NOREPLACE : 0;
  const int64_t r =
      os::Syscall(SYS_mmap, Signed(hint), Signed(bytes), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (r < 0) return 0;
  const auto begin = static_cast<uint64_t>(r);
  const uint64_t low = begin < libc.text_begin ? begin : libc.text_begin;
  const uint64_t high =
      begin + bytes > libc.text_end ? begin + bytes : libc.text_end;
  if (high - low <= kReach) return begin;
  (void)os::Syscall(SYS_munmap, r, Signed(bytes));
  return 0;
}

uint64_t MapNear(const Libc& libc, size_t bytes) {
  // Usually the kernel's own choice is just below the shared objects.
  if (const uint64_t r = TryMap(0, bytes, libc); r != 0) return r;
  constexpr uint64_t kStep = uint64_t{1} << 20;
  constexpr uint64_t kSteps = 2048;
  for (uint64_t i = 1; i < kSteps; ++i) {
    const uint64_t below = libc.text_begin - i * kStep;
    if (below < libc.text_begin) {
      if (const uint64_t r = TryMap(below, bytes, libc); r != 0) return r;
    }
    const uint64_t above = libc.text_end + i * kStep;
    if (const uint64_t r = TryMap(above, bytes, libc); r != 0) return r;
  }
  return 0;
}

bool IsAsKnown(const StubArea& area, const Libc& libc, size_t i) {
  const PatchSite& site = area.sites[i];
  const uint64_t window = area.window(i);
  return window >= libc.text_begin && window + site.length <= libc.text_end &&
         SameBytes(reinterpret_cast<const uint8_t*>(window), site.bytes,
                   site.length);
}

// Calls nothing: libc is not executable.
void WriteJump(const StubArea& area, size_t i) {
  constexpr uint8_t kJump = 0xe9;
  constexpr uint8_t kTrap = 0xcc;
  const uint64_t window = area.window(i);
  const uint64_t distance = area.stub(i) - (window + kJumpBytes);
  auto* byte = reinterpret_cast<volatile uint8_t*>(window);
  byte[0] = kJump;
  for (unsigned k = 0; k < 4; ++k) {
    byte[1 + k] = static_cast<uint8_t>(distance >> (8 * k));
  }
  for (size_t k = kJumpBytes; k < area.sites[i].length; ++k) byte[k] = kTrap;
}

int64_t ProtectText(const Libc& libc, int protection) {
  return os::Syscall(SYS_mprotect, Signed(libc.text_begin),
                     Signed(libc.text_end - libc.text_begin), protection);
}

// pre: stubs are written for the sites that are as known, and executable.
uint32_t WriteJumps(const StubArea& area, const Libc& libc) {
  // A handler could call libc.
  const uint64_t mask = os::BlockSignals();
  uint32_t patched = 0;
  if (ProtectText(libc, PROT_READ | PROT_WRITE) == 0) {
    for (size_t i = 0; i < area.sites.size(); ++i) {
      if (!IsAsKnown(area, libc, i)) continue;
      WriteJump(area, i);
      ++patched;
    }
    // No instruction of libc ran since, and the call below enters the kernel:
    // this processor fetches the new bytes. There is no other thread.
    if (ProtectText(libc, PROT_READ | PROT_EXEC) != 0) {
      Line line;
      line << "libc cannot be made executable again after patching it";
      Die(line);
    }
  }
  os::RestoreSignals(mask);
  return patched;
}

uint32_t Patch(const Libc& libc) {
  if (libc.text_begin == 0 || !MayPatchFile(libc.path)) return 0;
  const size_t bytes =
      RoundUp(StubArea::Bytes(libc.table->sites.size()), kPageSize);
  const StubArea area{.begin = MapNear(libc, bytes),
                      .load = libc.load,
                      .sites = libc.table->sites};
  if (area.begin == 0) return 0;
  WriteEntrySlot(area, &uzswap_entry_patched);
  for (size_t i = 0; i < area.sites.size(); ++i) {
    if (IsAsKnown(area, libc, i)) WriteStub(area, i);
  }
  uint32_t patched = 0;
  if (os::Syscall(SYS_mprotect, Signed(area.begin), Signed(bytes),
                  PROT_READ | PROT_EXEC) == 0) {
    patched = WriteJumps(area, libc);
  }
  if (patched > 0) {
    PublishStubs(area);
  } else {
    (void)os::Syscall(SYS_munmap, Signed(area.begin), Signed(bytes));
  }
  return patched;
}

}  // namespace

PatchResult PatchLibcUsing(std::span<const SiteTable> tables) {
  Libc libc{.tables = tables};
  (void)dl_iterate_phdr(VisitObject, &libc);
  if (libc.table == nullptr) return {.known = 0, .patched = 0};
  return {.known = static_cast<uint32_t>(libc.table->sites.size()),
          .patched = Patch(libc)};
}

PatchResult PatchLibc() { return PatchLibcUsing(kLibcTables); }

}  // namespace uzswap::preload
