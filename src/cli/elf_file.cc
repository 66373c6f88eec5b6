// SPDX-License-Identifier: Apache-2.0
#include "cli/elf_file.h"

#include <elf.h>

#include <cstring>
#include <optional>
#include <string_view>

namespace uzswap::cli {
namespace {

using Bytes = std::span<const unsigned char>;

constexpr const char* kSanitizerSymbols[] = {"__asan_init", "__hwasan_init",
                                             "__lsan_init", "__msan_init",
                                             "__tsan_init"};

template <typename T>
std::optional<T> At(Bytes file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return {};
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}

Bytes Part(Bytes file, uint64_t offset, uint64_t size) {
  if (offset > file.size() || file.size() - offset < size) return {};
  return file.subspan(offset, size);
}

// A terminated string; empty when it runs out of the table.
std::string_view Name(Bytes table, uint64_t offset) {
  if (offset >= table.size()) return {};
  const auto* begin = reinterpret_cast<const char*>(table.data()) + offset;
  const size_t room = table.size() - offset;
  const size_t length = strnlen(begin, room);
  return length == room ? std::string_view() : std::string_view(begin, length);
}

std::vector<Elf64_Phdr> Segments(Bytes file, const Elf64_Ehdr& header) {
  std::vector<Elf64_Phdr> all;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto one =
        At<Elf64_Phdr>(file, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (!one) break;
    all.push_back(*one);
  }
  return all;
}

// File offset of a virtual address; the file's size when it has none.
uint64_t Offset(Bytes file, const std::vector<Elf64_Phdr>& segments,
                uint64_t address) {
  for (const Elf64_Phdr& s : segments) {
    if (s.p_type == PT_LOAD && address >= s.p_vaddr &&
        address - s.p_vaddr < s.p_filesz) {
      return s.p_offset + (address - s.p_vaddr);
    }
  }
  return file.size();
}

void ReadDynamic(Bytes file, const std::vector<Elf64_Phdr>& segments,
                 const Elf64_Phdr& dynamic, ElfFacts* facts) {
  const Bytes part = Part(file, dynamic.p_offset, dynamic.p_filesz);
  uint64_t strings = 0, bytes = 0, soname = UINT64_MAX;
  std::vector<uint64_t> needed;
  for (uint64_t at = 0; const auto one = At<Elf64_Dyn>(part, at);
       at += sizeof(Elf64_Dyn)) {
    if (one->d_tag == DT_NULL) break;
    if (one->d_tag == DT_STRTAB) strings = one->d_un.d_ptr;
    if (one->d_tag == DT_STRSZ) bytes = one->d_un.d_val;
    if (one->d_tag == DT_SONAME) soname = one->d_un.d_val;
    if (one->d_tag == DT_NEEDED) needed.push_back(one->d_un.d_val);
  }
  const Bytes table = Part(file, Offset(file, segments, strings), bytes);
  facts->soname = Name(table, soname);
  for (const uint64_t offset : needed) {
    facts->needed.emplace_back(Name(table, offset));
  }
}

void ReadSymbols(Bytes file, const Elf64_Ehdr& header, ElfFacts* facts) {
  const auto section = [&](uint64_t i) {
    return i >= header.e_shnum
               ? std::nullopt
               : At<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr));
  };
  for (uint64_t i = 0; const auto one = section(i); ++i) {
    if (one->sh_type != SHT_DYNSYM) continue;
    const auto strings = section(one->sh_link);
    if (!strings) continue;
    const Bytes symbols = Part(file, one->sh_offset, one->sh_size);
    const Bytes names = Part(file, strings->sh_offset, strings->sh_size);
    for (uint64_t at = 0; const auto symbol = At<Elf64_Sym>(symbols, at);
         at += sizeof(Elf64_Sym)) {
      const std::string_view name = Name(names, symbol->st_name);
      for (const char* bad : kSanitizerSymbols) {
        if (name == bad) facts->sanitizer_symbol = bad;
      }
    }
  }
}

}  // namespace

ElfFacts ReadElf(Bytes file) {
  ElfFacts facts;
  if (file.size() < SELFMAG || std::memcmp(file.data(), ELFMAG, SELFMAG) != 0) {
    return facts;
  }
  facts.is_elf = true;
  facts.is_64_bit = file.size() > EI_CLASS && file[EI_CLASS] == ELFCLASS64;
  const auto header = At<Elf64_Ehdr>(file, 0);
  if (!header) return facts;
  facts.has_header = true;
  facts.machine = header->e_machine;
  if (!facts.is_64_bit || header->e_ident[EI_DATA] != ELFDATA2LSB) return facts;
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) return facts;
  const std::vector<Elf64_Phdr> segments = Segments(file, *header);
  facts.is_valid = !segments.empty() && segments.size() == header->e_phnum;
  for (const Elf64_Phdr& s : segments) {
    if (s.p_type == PT_INTERP) {
      facts.interpreter = Name(Part(file, s.p_offset, s.p_filesz), 0);
    }
    if (s.p_type == PT_DYNAMIC) ReadDynamic(file, segments, s, &facts);
  }
  ReadSymbols(file, *header, &facts);
  return facts;
}

}  // namespace uzswap::cli
