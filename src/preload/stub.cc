// SPDX-License-Identifier: Apache-2.0
#include "preload/stub.h"

#include <cstring>

#include "base/check.h"
#include "preload/patch.h"

namespace uzswap::preload {
namespace {

constexpr uint8_t kLowerStack[] = {0x48, 0x8d, 0x64, 0x24, 0x80};
constexpr uint8_t kSkipAddress[] = {0xeb, 0x08};
constexpr uint8_t kCall[] = {0xff, 0x15};
constexpr uint8_t kRaiseStack[] = {0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0};
constexpr uint8_t kJump[] = {0xe9};
constexpr uint8_t kTrap = 0xcc;
constexpr size_t kRedZone = 128;

// Offsets in a stub, without its `before` bytes.
constexpr size_t kLowered = sizeof(kLowerStack);
constexpr size_t kReturned =
    kLowered + sizeof(kSkipAddress) + sizeof(uint64_t) + sizeof(kCall) + 4;
constexpr size_t kRaised = kReturned + sizeof(kRaiseStack);
static_assert(kReturned - kLowered - sizeof(kSkipAddress) == 14,
              "the entry finds the program's rip at R - 14");
static_assert(kRaised + kWindowBytesMax - kSyscallBytes + kJumpBytes <=
              kStubBytes);

// Written once while the process has one thread, then only read.
constinit StubArea published{};

class Assembler {
 public:
  explicit Assembler(uint64_t at) : at_(at) {}

  void Bytes(const void* bytes, size_t count) {
    std::memcpy(reinterpret_cast<void*>(at_), bytes, count);
    at_ += count;
  }
  template <size_t N>
  void Code(const uint8_t (&code)[N]) {
    Bytes(code, N);
  }
  // The distance that ends an instruction, counted from its end.
  void Relative(uint64_t target) {
    const int64_t distance = static_cast<int64_t>(target - (at_ + 4));
    CHECK(distance == static_cast<int32_t>(distance));
    const auto word = static_cast<int32_t>(distance);
    Bytes(&word, sizeof(word));
  }
  uint64_t at() const { return at_; }

 private:
  uint64_t at_;
};

struct Place {
  const PatchSite* site;
  uint64_t window;
  uint64_t offset;  // in the stub
};

// pre: IsStub(address)
Place Locate(uint64_t address) {
  const uint64_t index = (address - published.stub(0)) / kStubBytes;
  return {.site = &published.sites[index],
          .window = published.window(index),
          .offset = address - published.stub(index)};
}

}  // namespace

void WriteEntrySlot(const StubArea& area, void (*entry)()) {
  auto* slot = reinterpret_cast<uint8_t*>(area.begin);
  std::memset(slot, kTrap, area.end() - area.begin);
  std::memcpy(slot, &entry, sizeof(entry));
}

void WriteStub(const StubArea& area, size_t index) {
  const PatchSite& site = area.sites[index];
  CHECK(site.length == site.before + kSyscallBytes + site.after);
  CHECK(site.length >= kJumpBytes && site.length <= kWindowBytesMax);
  const uint64_t window = area.window(index);
  const uint64_t program = window + site.before + kSyscallBytes;
  Assembler out(area.stub(index));
  out.Bytes(site.bytes, site.before);
  out.Code(kLowerStack);
  out.Code(kSkipAddress);
  out.Bytes(&program, sizeof(program));
  out.Code(kCall);
  out.Relative(area.begin);
  out.Code(kRaiseStack);
  out.Bytes(site.bytes + site.before + kSyscallBytes, site.after);
  out.Code(kJump);
  out.Relative(window + site.length);
  CHECK(out.at() <= area.stub(index) + kStubBytes);
}

void PublishStubs(const StubArea& area) { published = area; }

bool IsStub(uint64_t address) {
  return published.begin != 0 && address >= published.stub(0) &&
         address < published.end();
}

uint64_t ProgramAddress(uint64_t stub_address) {
  if (!IsStub(stub_address)) return stub_address;
  const Place place = Locate(stub_address);
  const PatchSite& site = *place.site;
  if (place.offset < site.before) return place.window + place.offset;
  const uint64_t offset = place.offset - site.before;
  const uint64_t call = place.window + site.before;
  if (offset < kReturned) return call;
  if (offset < kRaised) return call + kSyscallBytes;
  if (offset < kRaised + site.after) {
    return call + kSyscallBytes + (offset - kRaised);
  }
  return place.window + site.length;
}

uint64_t ProgramStack(uint64_t stub_address, uint64_t rsp) {
  if (!IsStub(stub_address)) return rsp;
  const Place place = Locate(stub_address);
  const uint64_t offset = place.offset - place.site->before;
  const bool lowered = place.offset >= place.site->before &&
                       offset >= kLowered && offset < kRaised;
  return lowered ? rsp + kRedZone : rsp;
}

}  // namespace uzswap::preload
