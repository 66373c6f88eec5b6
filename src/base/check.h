// SPDX-License-Identifier: Apache-2.0
// Dying and logging without allocation: a stack buffer and write(2).
// CHECK states what only a programmer can break and is always on; DCHECK is
// for debug builds. Operating errors are never CHECKed: they are a Status.
// Both are safe in signal handlers and on any thread.
#ifndef UZSWAP_BASE_CHECK_H_
#define UZSWAP_BASE_CHECK_H_

#include <cstddef>
#include <cstdint>

namespace uzswap {

// Builds one line in a fixed buffer; what does not fit is cut, never lost
// silently: the line then ends in "...".
class Line {
 public:
  Line& operator<<(const char* s);
  Line& operator<<(char) = delete;  // would be written as a number
  Line& operator<<(uint64_t v);
  Line& operator<<(int64_t v);
  Line& operator<<(int v) { return *this << static_cast<int64_t>(v); }
  Line& operator<<(unsigned v) { return *this << static_cast<uint64_t>(v); }
  Line& Hex(uint64_t v);
  const char* c_str();
  size_t size() const { return size_; }

 private:
  void Put(char c);
  static constexpr size_t kCapacity = 512;
  size_t size_ = 0;
  char text_[kCapacity + 4];
};

// Writes "uzswap: <line>\n" to descriptor 2 in one write. Errors are ignored:
// there is nobody left to tell.
void Log(Line& line);
void Log(const char* text);

// Replaces abort for tests that provoke a death; returns the previous hook.
using DeathHook = void (*)(const char* message);
DeathHook SetDeathHook(DeathHook hook);

// Prints the line and dies by SIGABRT (default action restored first).
[[noreturn]] void Die(Line& line);
[[noreturn]] void DieAtCheck(const char* file, int line, const char* condition);

}  // namespace uzswap

#define CHECK(condition)                                    \
  do {                                                      \
    if (!(condition)) [[unlikely]] {                        \
      ::uzswap::DieAtCheck(__FILE__, __LINE__, #condition); \
    }                                                       \
  } while (0)

#ifdef UZSWAP_DEBUG
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition) \
  do {                    \
    if (false) {          \
      (void)(condition);  \
    }                     \
  } while (0)
#endif

#endif  // UZSWAP_BASE_CHECK_H_
