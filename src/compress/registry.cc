// SPDX-License-Identifier: Apache-2.0
#include "compress/registry.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstring>

#include "base/cpuhp.h"
#include "base/mutex.h"
#include "base/os.h"

namespace uzswap::registry {
namespace {

constexpr unsigned kMaxCompressors = 32;
constexpr unsigned kMaxLoads = 8;  // at one time
constexpr size_t kMaxNameBytes = 32;
constexpr size_t kMaxPathBytes = 4096;
constexpr char kFilePrefix[] = "uzswap-compressor-";
constexpr char kFileSuffix[] = ".so";

// A load that is under way. One of another process (the parent of a fork) will
// never end here, so it counts as free.
struct Load {
  int process = 0;  // 0: free
  int thread = 0;
  char name[kMaxNameBytes] = {};
};

// Invariants: tables[0, count) are valid, of distinct names, and never change;
// count only grows, and not at all once sealed. No two loads of this process
// have one name.
constinit LockClass lock_class{"registry"};
constinit Mutex mutex{lock_class};
constinit const uzswap_compressor* tables[kMaxCompressors] = {};
constinit std::atomic<unsigned> count{0};
constinit std::atomic<bool> sealed{false};
constinit Load loads[kMaxLoads] UZSWAP_GUARDED_BY(mutex) = {};
constinit std::atomic<uint32_t> loads_ended{0};  // futex
// What a loader needs comes after it, and waiting for a loader is the same: so
// a loader, and whatever it waits for, must never need what its caller holds.
constinit LockClass load_class{"compressor_load"};

// A name becomes part of a file name, so it must never leave the directory.
bool IsName(const char* name) {
  if (name == nullptr || name[0] == '\0') return false;
  size_t n = 0;
  for (; name[n] != '\0'; ++n) {
    const char c = name[n];
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_';
    if (!good || n + 1 == kMaxNameBytes) return false;
  }
  return true;
}

bool OptionsAreValid(const uzswap_compressor* plugin) {
  const bool size = UZSWAP_COMPRESSOR_HAS(plugin, workspace_size_with);
  const bool init = UZSWAP_COMPRESSOR_HAS(plugin, init_with);
  return size == init;
}

// Newer plug-ins have larger structs that begin as ours does, older ones lack
// the optional members. struct_size comes first: nothing behind it may be read
// before it is known to be there.
bool IsValid(const uzswap_compressor* plugin) {
  return plugin != nullptr &&
         plugin->struct_size >= UZSWAP_COMPRESSOR_MIN_SIZE &&
         plugin->api_version == UZSWAP_COMPRESSOR_API_VERSION &&
         IsName(plugin->name) && plugin->workspace_size != nullptr &&
         plugin->init != nullptr && plugin->compress != nullptr &&
         plugin->decompress != nullptr && OptionsAreValid(plugin);
}

bool SameName(const char* a, const char* b) {
  const size_t bytes = strlen(a);
  return bytes == strlen(b) && memcmp(a, b, bytes) == 0;
}

const uzswap_compressor* FindRegistered(const char* name) {
  const unsigned n = count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < n; ++i) {
    if (SameName(tables[i]->name, name)) return tables[i];
  }
  return nullptr;
}

// A string of bounded length.
template <size_t Capacity>
class Text {
 public:
  // False: does not fit.
  bool Append(const char* text) { return Append(text, strlen(text)); }
  bool Append(const char* text, size_t bytes) {
    if (bytes >= Capacity - size_) return false;
    memcpy(text_ + size_, text, bytes);
    size_ += bytes;
    text_[size_] = '\0';
    return true;
  }
  const char* c_str() const { return text_; }

 private:
  size_t size_ = 0;
  char text_[Capacity] = {};
};
using Name = Text<kMaxNameBytes>;
using Path = Text<kMaxPathBytes>;

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// False: this is no name, whatever surrounds it.
bool Trim(const char* text, Name* name) {
  if (text == nullptr) return false;
  while (IsSpace(*text)) ++text;
  size_t bytes = strlen(text);
  while (bytes > 0 && IsSpace(text[bytes - 1])) --bytes;
  return name->Append(text, bytes) && IsName(name->c_str());
}

// What the file at path exports.
Status LoadWithLinker(const char* path, const char* name, Loaded* loaded) {
  // dlopen does not say "no such file" in a form that a program can read.
  const Result<int> fd = os::Open(path, O_RDONLY, 0);
  if (!fd.ok()) return fd.status();
  os::Close(fd.value());
  // RTLD_NOW: a lazily bound function would call the dynamic linker in a fault.
  loaded->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const auto entry =
      loaded->library == nullptr
          ? nullptr
          : reinterpret_cast<const uzswap_compressor* (*)()>(
                dlsym(loaded->library, "uzswap_compressor_plugin"));
  if (entry == nullptr) {
    loaded->why = dlerror();
    return Status::Error(ELIBBAD);
  }
  loaded->table = entry();
  if (!IsValid(loaded->table)) return Status::Error(EINVAL);
  if (SameName(loaded->table->name, name)) return kOk;
  loaded->why = "it calls itself otherwise";
  return Status::Error(ELIBBAD);
}

constinit std::atomic<Loader> loader{&LoadWithLinker};

enum class Turn { kMine, kWait, kKnown, kDeadlock };

bool IsUnderWay(const Load& load) UZSWAP_REQUIRES(mutex) {
  return load.process == os::ProcessId();
}

// Who loads `name`. kMine: this thread, in *mine. kWait: see again when
// loads_ended is no longer *ended.
Turn TakeTurn(const char* name, Load** mine, uint32_t* ended) {
  ScopedLock lock(mutex);
  if (FindRegistered(name) != nullptr) return Turn::kKnown;
  *ended = loads_ended.load(std::memory_order_relaxed);
  const int thread = os::ThreadId();
  bool wait = false;
  bool loading = false;
  Load* free = nullptr;
  for (Load& load : loads) {
    if (!IsUnderWay(load)) {
      free = &load;
      continue;
    }
    wait = wait || SameName(load.name, name);
    loading = loading || load.thread == thread;
  }
  if (loading) return Turn::kDeadlock;
  if (wait || free == nullptr) return Turn::kWait;
  free->process = os::ProcessId();
  free->thread = thread;
  memcpy(free->name, name, strlen(name) + 1);
  *mine = free;
  return Turn::kMine;
}

void EndTurn(Load* mine) {
  {
    ScopedLock lock(mutex);
    mine->process = 0;
    loads_ended.fetch_add(1, std::memory_order_release);
  }
  os::FutexWake(&loads_ended, 1 << 30);
}

Result<const uzswap_compressor*> LoadAndRegister(const char* path,
                                                 const char* name, bool log) {
  Loaded loaded = {};
  lockdep::PseudoAcquire(load_class);
  Status status = loader.load(std::memory_order_acquire)(path, name, &loaded);
  lockdep::PseudoRelease(load_class);
  if (status.ok()) status = Register(loaded.table);
  if (status.ok()) return loaded.table;
  if (log && loaded.why != nullptr) {
    Line line;
    line << path << " is not a compressor: " << loaded.why;
    Log(line);
  }
  if (loaded.library != nullptr) dlclose(loaded.library);
  // Somebody registered one of that name meanwhile.
  if (status.error() == EEXIST) return FindRegistered(name);
  return status;
}

// REQUIRES: no lock is held. The hotplug lock in particular: a loader may start
// a process that waits for a driver that waits for that lock.
Result<const uzswap_compressor*> LoadOnce(const char* path, const char* name,
                                          bool log) {
  CHECK(lockdep::HeldCount() == 0);
  for (;;) {
    Load* mine = nullptr;
    uint32_t ended = 0;
    switch (TakeTurn(name, &mine, &ended)) {
      case Turn::kKnown:
        return FindRegistered(name);
      case Turn::kDeadlock:
        return Status::Error(EDEADLK);
      case Turn::kWait:
        lockdep::CompletionWait(load_class);
        lockdep::WaitBegin(load_class, nullptr);
        os::FutexWait(&loads_ended, ended, -1).Ignore();
        lockdep::WaitEnd();
        continue;
      case Turn::kMine: {
        const Result<const uzswap_compressor*> found =
            LoadAndRegister(path, name, log);
        EndTurn(mine);
        return found;
      }
    }
  }
}

// Whether a file of this name is a plug-in's, and which.
bool IsPluginFile(const char* file, Name* name) {
  constexpr size_t kPrefix = sizeof(kFilePrefix) - 1;
  constexpr size_t kSuffix = sizeof(kFileSuffix) - 1;
  const size_t bytes = strlen(file);
  return bytes > kPrefix + kSuffix && memcmp(file, kFilePrefix, kPrefix) == 0 &&
         memcmp(file + bytes - kSuffix, kFileSuffix, kSuffix) == 0 &&
         name->Append(file + kPrefix, bytes - kPrefix - kSuffix);
}

Result<const uzswap_compressor*> FindOrLoad(const char* name,
                                            const char* directory, bool log) {
  Name trimmed;
  if (!Trim(name, &trimmed)) return Status::Error(ENOENT);
  name = trimmed.c_str();
  if (const uzswap_compressor* known = FindRegistered(name)) return known;
  if (directory == nullptr || directory[0] == '\0' ||
      sealed.load(std::memory_order_acquire)) {
    return Status::Error(ENOENT);
  }
  Path path;
  if (!path.Append(directory) || !path.Append("/") ||
      !path.Append(kFilePrefix) || !path.Append(name) ||
      !path.Append(kFileSuffix)) {
    return Status::Error(ENAMETOOLONG);
  }
  lockdep::MightFault();
  return LoadOnce(path.c_str(), name, log);
}

}  // namespace

Status Register(const uzswap_compressor* plugin) {
  if (!IsValid(plugin)) return Status::Error(EINVAL);
  ScopedLock lock(mutex);
  if (sealed.load(std::memory_order_relaxed)) return Status::Error(EPERM);
  if (FindRegistered(plugin->name) != nullptr) return Status::Error(EEXIST);
  const unsigned n = count.load(std::memory_order_relaxed);
  if (n == kMaxCompressors) return Status::Error(ENOSPC);
  tables[n] = plugin;
  count.store(n + 1, std::memory_order_release);
  return kOk;
}

Result<const uzswap_compressor*> Find(const char* name, const char* directory) {
  return FindOrLoad(name, directory, /*log=*/true);
}

unsigned LoadAll(const char* directory) {
  if (directory == nullptr || directory[0] == '\0') return 0;
  const Result<int> fd = os::Open(directory, O_RDONLY | O_DIRECTORY, 0);
  if (!fd.ok()) return 0;
  unsigned known = 0;
  alignas(8) char entries[2048];
  for (;;) {
    const int64_t bytes =
        os::Syscall(SYS_getdents64, fd.value(),
                    reinterpret_cast<int64_t>(entries), sizeof(entries));
    if (bytes <= 0) break;
    for (int64_t at = 0; at < bytes;) {
      // struct linux_dirent64: inode, offset, record length, type, name.
      uint16_t record;
      memcpy(&record, entries + at + 16, sizeof(record));
      Name name;
      if (IsPluginFile(entries + at + 19, &name) &&
          FindOrLoad(name.c_str(), directory, /*log=*/false).ok()) {
        ++known;
      }
      at += record;
    }
  }
  os::Close(fd.value());
  return known;
}

void SetLoaderForTest(Loader replacement) {
  loader.store(replacement == nullptr ? &LoadWithLinker : replacement,
               std::memory_order_release);
}

const uzswap_compressor* At(unsigned index) {
  return index < count.load(std::memory_order_acquire) ? tables[index]
                                                       : nullptr;
}

void Seal() {
  ScopedLock lock(mutex);
  sealed.store(true, std::memory_order_release);
}

}  // namespace uzswap::registry
