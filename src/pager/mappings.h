// SPDX-License-Identifier: Apache-2.0
// Reads the maps of /proc without allocating: what the kernel has mapped in a
// range. Slow; used only where memory that exists already is taken over.
#ifndef UZSWAP_PAGER_MAPPINGS_H_
#define UZSWAP_PAGER_MAPPINGS_H_

#include <cstdint>

#include "base/status.h"

namespace uzswap {

// False if the range has a hole (msync(2) looks, and does nothing on top).
bool IsAllMapped(uint64_t start, uint64_t bytes);

struct Mapping {
  uint64_t start;
  uint64_t end;
  uint32_t prot;  // as in mmap(2)
  bool shared;
  bool anonymous;  // no file, and not a special one such as [stack], [vdso]
};

class MappingReader {
 public:
  MappingReader() = default;
  ~MappingReader();
  MappingReader(const MappingReader&) = delete;
  MappingReader& operator=(const MappingReader&) = delete;

  // `proc` is a descriptor of /proc.
  Status Open(int proc);
  // False after the last.
  bool Next(Mapping* mapping);

 private:
  int Get();  // next character, -1 at the end
  uint64_t Number(unsigned base);

  int fd_ = -1;
  int last_ = ' ';  // the character after the number just read
  uint64_t at_ = 0;
  uint64_t size_ = 0;
  char text_[1024];
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_MAPPINGS_H_
