// SPDX-License-Identifier: Apache-2.0
// Registers, flags and the red zone survive a page fault, and a system call
// changes what the ABI lets it change and nothing else. The calls here are the
// program's own instructions, not libc's.
#include <immintrin.h>
#include <sys/syscall.h>

#include "edge.h"

__attribute__((target("avx"))) static int VectorsSurvive(volatile char* page,
                                                         int fd) {
  __attribute__((aligned(32))) uint64_t before[16 * 4], after[16 * 4];
  Fill(before, sizeof(before), 42);
  uint64_t result;
  __asm__ volatile(
      "vmovdqu (%[from]), %%ymm0\n vmovdqu 32(%[from]), %%ymm1\n"
      "vmovdqu 64(%[from]), %%ymm2\n vmovdqu 96(%[from]), %%ymm3\n"
      "vmovdqu 128(%[from]), %%ymm4\n vmovdqu 160(%[from]), %%ymm5\n"
      "vmovdqu 192(%[from]), %%ymm6\n vmovdqu 224(%[from]), %%ymm7\n"
      "vmovdqu 256(%[from]), %%ymm8\n vmovdqu 288(%[from]), %%ymm9\n"
      "vmovdqu 320(%[from]), %%ymm10\n vmovdqu 352(%[from]), %%ymm11\n"
      "vmovdqu 384(%[from]), %%ymm12\n vmovdqu 416(%[from]), %%ymm13\n"
      "vmovdqu 448(%[from]), %%ymm14\n vmovdqu 480(%[from]), %%ymm15\n"
      "incb (%[page])\n"      // a fault
      "syscall\n"             // a call with an evicted buffer
      "incb 8192(%[page])\n"  // another fault
      "vmovdqu %%ymm0, (%[to])\n vmovdqu %%ymm1, 32(%[to])\n"
      "vmovdqu %%ymm2, 64(%[to])\n vmovdqu %%ymm3, 96(%[to])\n"
      "vmovdqu %%ymm4, 128(%[to])\n vmovdqu %%ymm5, 160(%[to])\n"
      "vmovdqu %%ymm6, 192(%[to])\n vmovdqu %%ymm7, 224(%[to])\n"
      "vmovdqu %%ymm8, 256(%[to])\n vmovdqu %%ymm9, 288(%[to])\n"
      "vmovdqu %%ymm10, 320(%[to])\n vmovdqu %%ymm11, 352(%[to])\n"
      "vmovdqu %%ymm12, 384(%[to])\n vmovdqu %%ymm13, 416(%[to])\n"
      "vmovdqu %%ymm14, 448(%[to])\n vmovdqu %%ymm15, 480(%[to])\n"
      : "=a"(result)
      : "a"(SYS_write), "D"(fd), "S"(page + 4096),
        "d"(4096L), [from] "r"(before), [to] "r"(after), [page] "r"(page)
      : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
        "xmm14", "xmm15");
  return result == 4096 && memcmp(before, after, sizeof(before)) == 0;
}

// Every general register but rax, rcx, r11 keeps its value over a call.
// (Compilers take the flags for lost over any assembly.)
static int GeneralSurvive(void* buffer, int fd) {
  uint64_t wrong;
  __asm__ volatile(
      "push %%rbp\n push %%rbx\n"
      "mov $0x1111, %%rbx\n mov $0x2222, %%rbp\n mov $0x8888, %%r8\n"
      "mov $0x9999, %%r9\n mov $0xaaaa, %%r10\n mov $0xcccc, %%r12\n"
      "mov $0xdddd, %%r13\n mov $0xeeee, %%r14\n mov $0xffff, %%r15\n"
      "syscall\n"
      "xor %%ecx, %%ecx\n"
      "xor $0x1111, %%rbx\n or %%rbx, %%rcx\n"
      "xor $0x2222, %%rbp\n or %%rbp, %%rcx\n"
      "xor $0x8888, %%r8\n or %%r8, %%rcx\n"
      "xor $0x9999, %%r9\n or %%r9, %%rcx\n"
      "xor $0xaaaa, %%r10\n or %%r10, %%rcx\n"
      "xor $0xcccc, %%r12\n or %%r12, %%rcx\n"
      "xor $0xdddd, %%r13\n or %%r13, %%rcx\n"
      "xor $0xeeee, %%r14\n or %%r14, %%rcx\n"
      "xor $0xffff, %%r15\n or %%r15, %%rcx\n"
      "sub $64, %%rax\n or %%rax, %%rcx\n"
      "sub $64, %%rdx\n or %%rdx, %%rcx\n"
      "pop %%rbx\n pop %%rbp\n"
      : "=c"(wrong)
      : "a"(SYS_write), "D"(fd), "S"(buffer), "d"(64L)
      : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  return wrong == 0;
}

// 128 bytes below the stack pointer belong to the function; faults, calls and
// signals must not write there.
static int RedZoneSurvives(volatile char* page) {
  uint64_t wrong;
  __asm__ volatile(
      "movq $0x7777, -8(%%rsp)\n movq $0x5555, -128(%%rsp)\n"
      "incb (%[page])\n"
      "mov %[number], %%eax\n syscall\n"
      "incb 4096(%[page])\n"
      "movq -8(%%rsp), %[wrong]\n xorq $0x7777, %[wrong]\n"
      "movq -128(%%rsp), %%rcx\n xorq $0x5555, %%rcx\n"
      "orq %%rcx, %[wrong]\n"
      : [wrong] "=&r"(wrong)
      : [page] "r"(page), [number] "i"(SYS_getppid)
      : "rax", "rcx", "r11", "memory", "cc");
  return wrong == 0;
}

// Faults in the middle of a string instruction.
static int StringsSurvive(char* to, char* from, size_t bytes) {
  Fill(from, bytes, 4);
  PushOut();
  char* d = to;
  const char* s = from;
  size_t n = bytes;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
  return n == 0 && d == to + bytes && Wrong(to, bytes, 4) == 0;
}

int main(void) {
  const int fd = open("/dev/null", O_WRONLY);
  char* pages = Map(64 * kPage);
  int vectors = 0, general = 0, red_zone = 0, strings = 0;
  for (int i = 0; i < 20; ++i) {
    PushOut();
    vectors += __builtin_cpu_supports("avx") ? VectorsSurvive(pages, fd) : 1;
    PushOut();
    general += GeneralSurvive(pages + 3 * kPage, fd);
    PushOut();
    red_zone += RedZoneSurvives(pages);
    strings += StringsSurvive(pages + 5, pages + 32 * kPage, 20 * kPage);
  }
  printf("vectors %d, general %d, red zone %d, strings %d\n", vectors, general,
         red_zone, strings);
  double x = 1.0, sum = 0;
  for (int i = 1; i < 200; ++i) {
    x = x * 1.000001 + 1.0 / i;
    sum += x;
    if (i % 20 == 0) PushOut();
  }
  printf("%.17g\n", sum);
  return 0;
}
