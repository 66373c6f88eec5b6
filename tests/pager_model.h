// SPDX-License-Identifier: Apache-2.0
// Two areas of equal size: every VM call and every write goes to the same place
// in both; one is managed, the other is the kernel's own and thereby the model.
// After each step both must answer alike, page for page.
#ifndef UZSWAP_TESTS_PAGER_MODEL_H_
#define UZSWAP_TESTS_PAGER_MODEL_H_

#include <errno.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pager_fixture.h"

namespace pager_test {

class TwinAreas {
 public:
  explicit TwinAreas(size_t pages) : pages_(pages) {
    for (char*& base : base_) {
      // Holes around the area: neither may grow into something else.
      void* r = mmap(nullptr, (pages + 2) * kPage, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (r == MAP_FAILED) abort();
      base = static_cast<char*>(r) + kPage;
      if (munmap(base, pages * kPage) != 0) abort();
    }
  }
  ~TwinAreas() {
    uzswap_munmap(base_[0] - kPage, (pages_ + 2) * kPage);
    munmap(base_[1] - kPage, (pages_ + 2) * kPage);
  }
  TwinAreas(const TwinAreas&) = delete;
  TwinAreas& operator=(const TwinAreas&) = delete;

  size_t pages() const { return pages_; }
  char* managed(size_t page) const { return base_[0] + page * kPage; }
  char* model(size_t page) const { return base_[1] + page * kPage; }

  // Each returns false if the two sides answered differently.
  bool Map(size_t page, size_t count, int prot, bool manage) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    Note("mmap %zu +%zu prot %d %s", page, count, prot, manage ? "ours" : "");
    const long a =
        uzswap_mmap(managed(page), count * kPage, prot, flags, -1, 0, manage);
    const long b = Result(reinterpret_cast<long>(
        mmap(model(page), count * kPage, prot, flags, -1, 0)));
    return Same("mmap", Offset(a, 0), Offset(b, 1));
  }
  bool Unmap(size_t page, size_t count) {
    Note("munmap %zu +%zu", page, count);
    return Same("munmap", uzswap_munmap(managed(page), count * kPage),
                Result(munmap(model(page), count * kPage)));
  }
  bool Protect(size_t page, size_t count, int prot) {
    Note("mprotect %zu +%zu prot %d", page, count, prot);
    return Same("mprotect", uzswap_mprotect(managed(page), count * kPage, prot),
                Result(mprotect(model(page), count * kPage, prot)));
  }
  bool Advise(size_t page, size_t count, int advice) {
    // MADV_FREE leaves it to the kernel when pages go; DONTNEED is its end.
    Note("madvise %zu +%zu advice %d", page, count, advice);
    const int same = advice == MADV_FREE ? MADV_DONTNEED : advice;
    return Same("madvise", uzswap_madvise(managed(page), count * kPage, advice),
                Result(madvise(model(page), count * kPage, same)));
  }
  bool Remap(size_t page, size_t count, size_t new_count, int flags,
             size_t to) {
    Note("mremap %zu +%zu to %zu +%zu flags %d", page, count, to, new_count,
         flags);
    const long a =
        uzswap_mremap(managed(page), count * kPage, new_count * kPage, flags,
                      (flags & MREMAP_FIXED) != 0 ? managed(to) : nullptr);
    const long b = Result(reinterpret_cast<long>(
        mremap(model(page), count * kPage, new_count * kPage, flags,
               (flags & MREMAP_FIXED) != 0 ? model(to) : nullptr)));
    return Same("mremap", Offset(a, 0), Offset(b, 1));
  }
  // The kernel wants one mapping for mremap, and merges mappings by rules of
  // its own: only where both sides are alike the answers can be compared.
  bool OneMapping(size_t page, size_t count) const {
    return InOneMapping(managed(page), count) &&
           InOneMapping(model(page), count);
  }

  bool Writable(size_t page) const {
    char byte = 0;
    if (!Read(model(page), &byte, 1)) return false;
    const iovec local = {.iov_base = &byte, .iov_len = 1};
    const iovec remote = {.iov_base = model(page), .iov_len = 1};
    return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == 1;
  }
  // Writes by the program (faults) or by the kernel (pins).
  void Write(size_t page, uint64_t version, bool by_kernel) {
    Note("write %zu version %zu%s", page, static_cast<size_t>(version),
         by_kernel ? " by the kernel" : "");
    char content[kPage];
    FillPage(content, page, version);
    memcpy(model(page), content, kPage);
    if (!by_kernel) {
      memcpy(managed(page), content, kPage);
      return;
    }
    uzswap_pin(managed(page), kPage);
    const iovec local = {.iov_base = content, .iov_len = kPage};
    const iovec remote = {.iov_base = managed(page), .iov_len = kPage};
    if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) !=
        static_cast<ssize_t>(kPage)) {
      fprintf(stderr, "a pinned page could not be written: %d\n", errno);
      abort();
    }
    uzswap_unpin(managed(page), kPage);
  }
  bool PageAgrees(size_t page) const {
    char a[kPage];
    char b[kPage];
    uzswap_pin(managed(page), kPage);
    const bool a_read = Read(managed(page), a, kPage);
    uzswap_unpin(managed(page), kPage);
    const bool b_read = Read(model(page), b, kPage);
    if (a_read == b_read && (!a_read || memcmp(a, b, kPage) == 0)) return true;
    fprintf(stderr, "page %zu: %s, model: %s\n", page,
            a_read ? "readable" : "not readable",
            b_read ? "readable" : "not readable");
    return false;
  }
  // For whoever has to find out why.
  void PrintHistory(size_t calls) const {
    const size_t skip = history_.size() - std::min(history_.size(), calls);
    for (size_t i = skip; i < history_.size(); ++i) {
      fprintf(stderr, "%s\n", history_[i].c_str());
    }
  }
  bool Agrees() const {
    for (size_t page = 0; page < pages_; ++page) {
      if (!PageAgrees(page)) return false;
    }
    return true;
  }

 private:
  static long Result(long r) { return r == -1 ? -errno : r; }
  long Offset(long r, int side) const {
    return r < 0 && r > -4096
               ? r
               : r - reinterpret_cast<long>(base_[side]) + (1l << 50);
  }
  bool Same(const char* call, long a, long b) {
    if (a != b) fprintf(stderr, "%s: %ld, model: %ld\n", call, a, b);
    char line[40];
    snprintf(line, sizeof(line), "  = %ld", b < 0 && b > -4096 ? b : 0);
    history_.push_back(line);
    return a == b;
  }
  template <typename... Args>
  void Note(const char* format, Args... args) {
    char line[160];
    snprintf(line, sizeof(line), format, args...);
    history_.push_back(line);
    if (history_.size() > 400) {
      history_.erase(history_.begin(), history_.begin() + 200);
    }
  }
  static bool Read(const char* from, char* to, size_t bytes) {
    const iovec local = {.iov_base = to, .iov_len = bytes};
    const iovec remote = {.iov_base = const_cast<char*>(from),
                          .iov_len = bytes};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
           static_cast<ssize_t>(bytes);
  }
  static bool InOneMapping(const char* at, size_t count) {
    FILE* f = fopen("/proc/self/maps", "r");
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f) != nullptr) {
      unsigned long start = 0;
      unsigned long end = 0;
      sscanf(line, "%lx-%lx", &start, &end);
      const auto first = reinterpret_cast<unsigned long>(at);
      found = start <= first && first + count * kPage <= end;
    }
    fclose(f);
    return found;
  }

  size_t pages_;
  char* base_[2];
  std::vector<std::string> history_;
};

// fork(2) as uzswap wants it. The child runs f and exits with its result.
template <typename F>
pid_t Fork(F f) {
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);
  pthread_sigmask(SIG_BLOCK, &all, &old);
  uzswap_prepare_fork();
  const pid_t child = fork();
  if (child == 0) {
    if (uzswap_child_after_fork() != 0) _exit(99);
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    _exit(f());
  }
  uzswap_parent_after_fork();
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return child;
}
inline int ExitCodeOf(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace pager_test

#endif  // UZSWAP_TESTS_PAGER_MODEL_H_
