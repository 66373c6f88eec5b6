// SPDX-License-Identifier: Apache-2.0
// What the test of patching needs: an entry that only counts a call and
// executes it, a child process to patch, and a look at its mappings. Included
// by one source file of an executable: it defines uzswap_entry_patched.
#ifndef UZSWAP_PRELOAD_PATCH_TEST_SUPPORT_H_
#define UZSWAP_PRELOAD_PATCH_TEST_SUPPORT_H_

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

extern "C" {
__attribute__((visibility("hidden"))) std::atomic<uint64_t>
    patch_test_calls[512];
__attribute__((visibility("hidden"))) uint64_t patch_test_vfork_resume;
}

// The contract of stub.h: everything but rax, rcx and r11 is preserved. Where
// the child of a call has another stack, or shares ours, the address to return
// to is put where it will look for it. The CFI makes the program's frame the
// caller: its rip is what lies 14 bytes before R, R is 136 bytes below the CFA.
asm(R"(
        .text
        .globl uzswap_entry_patched
        .hidden uzswap_entry_patched
        .type uzswap_entry_patched, @function
uzswap_entry_patched:
        .cfi_startproc
        .cfi_def_cfa rsp, 136
        .cfi_escape 0x10, 0x10, 6, 0x08, 0x88, 0x1c, 0x06, 0x3e, 0x1c
        cmp     $511, %rax
        ja      1f
        lea     patch_test_calls(%rip), %r11
        lock incq (%r11, %rax, 8)
1:      cmp     $435, %eax              # clone3
        je      4f
        cmp     $58, %eax               # vfork
        je      3f
        cmp     $56, %eax               # clone
        jne     2f
        test    %rsi, %rsi
        jz      2f
        sub     $136, %rsi
        mov     (%rsp), %rcx
        mov     %rcx, (%rsi)
        syscall
        lea     136(%rsi), %rsi
        ret
2:      syscall
        ret
3:      mov     (%rsp), %rcx
        mov     %rcx, patch_test_vfork_resume(%rip)
        syscall
        mov     patch_test_vfork_resume(%rip), %rcx
        mov     %rcx, (%rsp)
        ret
4:      mov     $-38, %rax              # ENOSYS
        ret
        .cfi_endproc
        .size uzswap_entry_patched, . - uzswap_entry_patched
)");

namespace uzswap::preload::testing {

inline uint64_t Calls(long number) { return patch_test_calls[number].load(); }

struct Mapping {
  uint64_t begin, end;
  std::string permissions, path;
};

inline std::vector<Mapping> Mappings() {
  std::vector<Mapping> result;
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    Mapping m{};
    char permissions[5] = {};
    int path = 0;
    sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %*s %n", &m.begin, &m.end,
           permissions, &path);
    m.permissions = permissions;
    m.path = line.substr(static_cast<size_t>(path));
    result.push_back(m);
  }
  return result;
}

inline bool IsLibc(const Mapping& m) {
  return m.path.find("/libc.so.6") != std::string::npos;
}

inline std::vector<Mapping> LibcText() {
  std::vector<Mapping> text = Mappings();
  std::erase_if(text, [](const Mapping& m) {
    return !IsLibc(m) || m.permissions[2] != 'x';
  });
  return text;
}

inline std::string TextBytes() {
  std::string bytes;
  for (const Mapping& m : LibcText()) {
    bytes.append(reinterpret_cast<const char*>(m.begin), m.end - m.begin);
  }
  return bytes;
}

template <typename Body>
void InChild(Body body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(60);
    body();
    fflush(stdout);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace uzswap::preload::testing

#endif  // UZSWAP_PRELOAD_PATCH_TEST_SUPPORT_H_
