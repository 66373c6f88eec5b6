// SPDX-License-Identifier: Apache-2.0
#include "cli/elf_check.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "cli/elf_file.h"

namespace uzswap::cli {
namespace {

class ElfCheck : public testing::Test {
 protected:
  ElfCheck() {
    char name[] = "/tmp/uzswap-elf-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~ElfCheck() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& content,
                    mode_t mode = 0755) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  static std::string Content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // A copy of a real program with its ELF header changed.
  template <typename Change>
  std::string Changed(Change change) {
    std::string content = Content("/bin/true");
    Elf64_Ehdr header;
    std::memcpy(&header, content.data(), sizeof(header));
    change(header);
    std::memcpy(content.data(), &header, sizeof(header));
    return Write("changed", content);
  }
  static std::string Sentence(const std::string& path) {
    bool shell = false;
    const Check check = CheckProgram(path, &shell);
    if (!check) return shell ? "shell" : "";
    EXPECT_EQ(check->exit_code, kExitCannotRun);
    EXPECT_EQ(check->sentence.find('\n'), std::string::npos);
    return check->sentence;
  }
  std::string folder_;
};

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(ElfCheck, AcceptsOrdinaryPrograms) {
  EXPECT_EQ(Sentence("/bin/true"), "");
  EXPECT_EQ(Sentence("/bin/sh"), "");
}

TEST_F(ElfCheck, RefusesOtherKindsOfElf) {
  EXPECT_HAS(Sentence(Changed(
                 [](Elf64_Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; })),
             "32-bit");
  EXPECT_HAS(Sentence(Changed([](Elf64_Ehdr& h) { h.e_machine = EM_AARCH64; })),
             "another machine");
  EXPECT_HAS(Sentence(Changed([](Elf64_Ehdr& h) { h.e_type = ET_REL; })),
             "not a valid");
  EXPECT_HAS(
      Sentence(Changed([](Elf64_Ehdr& h) { h.e_phoff = UINT64_MAX - 7; })),
      "not a valid");
  EXPECT_HAS(Sentence(Write("cut", Content("/bin/true").substr(0, 40))),
             "not a valid");
}

TEST_F(ElfCheck, RefusesStaticProgramsAndForeignLoaders) {
  std::string content = Content("/bin/true");
  const std::string loader = "/lib64/ld-linux-x86-64.so.2";
  const size_t at = content.find(loader);
  ASSERT_NE(at, std::string::npos);
  std::string musl = content;
  musl.replace(at, loader.size(), "/lib/ld-musl-x86_64.so.1\0\0\0", 27);
  EXPECT_HAS(Sentence(Write("musl", musl)), "ld-musl");
  // The same without its PT_INTERP is what a static program looks like.
  Elf64_Ehdr header;
  std::memcpy(&header, content.data(), sizeof(header));
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const size_t where = header.e_phoff + i * sizeof(Elf64_Phdr);
    Elf64_Phdr segment;
    std::memcpy(&segment, content.data() + where, sizeof(segment));
    if (segment.p_type == PT_INTERP) segment.p_type = PT_NULL;
    std::memcpy(content.data() + where, &segment, sizeof(segment));
  }
  EXPECT_HAS(Sentence(Write("static", content)), "statically linked");
  EXPECT_HAS(Sentence("/lib64/ld-linux-x86-64.so.2"), "it is the loader");
}

TEST_F(ElfCheck, RefusesSanitizers) {
  std::string content = Content("/bin/true");
  // The name of a needed library is all that shows in such a program.
  const size_t at = content.find("libc.so.6");
  ASSERT_NE(at, std::string::npos);
  content.replace(at, 9, "libasan.s");
  EXPECT_EQ(Sentence(Write("near", content)), "");
  content.replace(at, 10, "libasan.so");
  EXPECT_HAS(Sentence(Write("asan", content)), "built with a sanitizer");
}

TEST_F(ElfCheck, LooksBehindScripts) {
  EXPECT_EQ(Sentence(Write("s1", "#!/bin/sh\necho\n")), "");
  EXPECT_EQ(Sentence(Write("s2", "#! /usr/bin/env -S FOO=1 bash -e\n")), "");
  EXPECT_EQ(Sentence(Write("s3", "echo no line\n")), "shell");
  EXPECT_EQ(Sentence(Write("s4", "")), "shell");
  EXPECT_HAS(Sentence(Write("s5", "#!/no/such\n")),
             "'/no/such' does not exist");
  EXPECT_HAS(Sentence(Write("s6", "#!/usr/bin/env nosuchprogram\n")),
             "'nosuchprogram' was not found in PATH");
  EXPECT_HAS(Sentence(Write("s7", "#!\n")), "names no interpreter");
  const std::string bad =
      Changed([](Elf64_Ehdr& h) { h.e_machine = EM_AARCH64; });
  EXPECT_HAS(Sentence(Write("s8", "#!" + bad + " -x\n")), "another machine");
  const std::string self = folder_ + "/s9";
  EXPECT_HAS(Sentence(Write("s9", "#!" + self + "\n")), "script of a script");
  EXPECT_HAS(Sentence(Write("s10", std::string("\0\1\2", 3))),
             "neither an ELF");
}

TEST_F(ElfCheck, RefusesPrivilegeChanges) {
  if (getuid() != 0) GTEST_SKIP() << "only root can make a foreign setuid file";
  const std::string path = Write("suid", Content("/bin/true"));
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  ASSERT_EQ(chmod(path.c_str(), 04755), 0);
  EXPECT_HAS(Sentence(path), "setuid");
  ASSERT_EQ(chmod(path.c_str(), 02755), 0);
  EXPECT_HAS(Sentence(path), "setgid");
  // Setuid to oneself changes nothing.
  ASSERT_EQ(chown(path.c_str(), getuid(), getgid()), 0);
  ASSERT_EQ(chmod(path.c_str(), 06755), 0);
  EXPECT_EQ(Sentence(path), "");
}

TEST_F(ElfCheck, FindsProgramsLikeTheShell) {
  std::string path;
  EXPECT_FALSE(FindProgram("true", &path));
  EXPECT_EQ(access(path.c_str(), X_OK), 0);
  EXPECT_EQ(FindProgram("no-such-program", &path)->exit_code, kExitNotFound);
  EXPECT_EQ(FindProgram("", &path)->exit_code, kExitNotFound);
  EXPECT_EQ(FindProgram("/no/such", &path)->exit_code, kExitNotFound);
  EXPECT_EQ(FindProgram("/etc", &path)->exit_code, kExitCannotRun);
  EXPECT_EQ(FindProgram("/etc/passwd", &path)->exit_code, kExitCannotRun);
}

// Whatever is in the file, reading it ends and stays inside it.
TEST_F(ElfCheck, SurvivesDamagedFiles) {
  const std::string good = Content("/bin/true");
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::vector<unsigned char> file(good.begin(), good.end());
    const size_t head = round % 2 == 0 ? 1024 : file.size();
    for (int i = 0; i < 8; ++i) {
      file[random() % head] = static_cast<unsigned char>(random());
    }
    if (round % 3 == 0) file.resize(random() % file.size());
    const ElfFacts facts = ReadElf(file);
    EXPECT_LE(facts.interpreter.size(), file.size());
  }
}

}  // namespace
}  // namespace uzswap::cli
