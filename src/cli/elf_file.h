// SPDX-License-Identifier: Apache-2.0
// The few facts of an ELF file that elf_check.h decides on. Reads untrusted
// bytes: every offset is checked against the size of the file.
#ifndef UZSWAP_CLI_ELF_FILE_H_
#define UZSWAP_CLI_ELF_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace uzswap::cli {

struct ElfFacts {
  bool is_elf = false;
  bool has_header = false;  // long enough for `machine` to mean something
  bool is_valid = false;    // a 64-bit little-endian program, headers in bounds
  bool is_64_bit = false;
  uint16_t machine = 0;
  std::string interpreter;          // empty: static
  std::string soname;               // the loader itself has one
  std::vector<std::string> needed;  // DT_NEEDED
  std::string sanitizer_symbol;     // empty: no sanitizer runtime linked in
};

ElfFacts ReadElf(std::span<const unsigned char> file);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_ELF_FILE_H_
