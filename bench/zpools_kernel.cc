// SPDX-License-Identifier: Apache-2.0
// The kernel's zsmalloc through a zram device: the same pages in the same
// order, one at a time, and the same ones discarded. What it holds is read from
// mm_stat; the kernel compresses them itself, with its own lz4. Its metadata
// are in no figure of zram's: handles and descriptors of zspages lie in slabs.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "zpools.h"

namespace uzswap::bench {
namespace {

class Zram {
 public:
  explicit Zram(const char* name)
      : name_(name),
        sys_("/sys/block/" + name_ + "/"),
        fd_(open(("/dev/" + name_).c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)),
        page_(aligned_alloc(kPageSize, kPageSize)) {
    if (fd_ < 0) Die("/dev/" + name_ + ": " + strerror(errno));
    before_ = Slabs();
  }
  ~Zram() {
    close(fd_);
    free(page_);
  }
  Zram(const Zram&) = delete;
  Zram& operator=(const Zram&) = delete;

  void Put(size_t slot, std::span<const std::byte> page) {
    memcpy(page_, page.data(), kPageSize);
    const auto at = static_cast<off_t>(slot * kPageSize);
    if (pwrite(fd_, page_, kPageSize, at) != kPageSize) {
      Die(name_ + ": " + strerror(errno));
    }
  }
  void Drop(size_t slot, size_t pages) {
    uint64_t range[2] = {slot * kPageSize, pages * kPageSize};
    if (ioctl(fd_, BLKDISCARD, range) != 0) {
      Die(name_ + ": discard: " + strerror(errno));
    }
  }
  void Compact() {
    std::ofstream file(sys_ + "compact");
    file << "1" << std::flush;
    if (!file) Die(name_ + ": cannot compact");
  }
  Fill Now(const char* stage) const {
    usleep(100'000);  // emptied zspages may wait for a worker
    std::ifstream file(sys_ + "mm_stat");
    uint64_t original = 0;
    Fill fill{stage};
    file >> original >> fill.payload >> fill.frames;
    if (!file) Die(name_ + ": cannot read mm_stat");
    fill.metadata = Slabs() - before_;
    return fill;
  }

 private:
  // Bytes of handles and descriptors of zspages, in slabs that the kernel may
  // share with others: what counts is the difference. 0: it does not say.
  uint64_t Slabs() const {
    uint64_t sum = 0;
    for (const char* slab : {"zs_handle-", "zspage-"}) {
      const std::string folder = "/sys/kernel/slab/" + (slab + name_);
      uint64_t objects = 0;
      uint64_t bytes = 0;
      std::ifstream(folder + "/objects") >> objects;
      std::ifstream(folder + "/object_size") >> bytes;
      sum += objects * bytes;
    }
    return sum;
  }

  const std::string name_;
  const std::string sys_;
  const int fd_;
  void* const page_;
  uint64_t before_ = 0;
};

}  // namespace

std::vector<Fill> KernelDensity(const char* name, const Content& content) {
  const size_t count = content.count();
  const std::vector<size_t> order = RandomOrder(count);
  std::vector<bool> survives(count, true);
  std::vector<Fill> fills;
  Zram zram(name);
  for (size_t i = 0; i < count; ++i) zram.Put(i, content.page(i));
  fills.push_back(zram.Now("filled"));
  for (size_t i = 0; i < count / 2; ++i) {
    survives[order[i]] = false;
    zram.Drop(order[i], 1);
  }
  fills.push_back(zram.Now("halved"));
  zram.Compact();
  fills.push_back(zram.Now("compacted"));

  zram.Drop(0, count);
  for (size_t i = 0; i < count; ++i) {
    if (survives[i]) zram.Put(i, content.page(i));
  }
  fills.push_back(zram.Now("fresh"));

  zram.Drop(0, count);
  for (size_t i = 0; i < count; ++i) zram.Put(i, content.page(i));
  for (const Replacement& r : RandomReplacements(count)) {
    zram.Put(r.slot, content.page(r.source));
  }
  fills.push_back(zram.Now("replaced"));
  zram.Compact();
  fills.push_back(zram.Now("replaced_compacted"));
  return fills;
}

}  // namespace uzswap::bench
