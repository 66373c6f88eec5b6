// SPDX-License-Identifier: Apache-2.0
#include "compress/registry.h"

#include <dlfcn.h>
#include <fcntl.h>

#include <atomic>
#include <cstring>

#include "base/mutex.h"
#include "base/os.h"

namespace uzswap::registry {
namespace {

constexpr unsigned kMaxCompressors = 32;
constexpr size_t kMaxNameBytes = 32;
constexpr size_t kMaxPathBytes = 4096;

// Invariants: tables[0, count) are valid, of distinct names, and never change;
// count only grows, and not at all once sealed.
constinit LockClass lock_class{"registry"};
constinit Mutex mutex{lock_class};
constinit const uzswap_compressor* tables[kMaxCompressors] = {};
constinit std::atomic<unsigned> count{0};
constinit std::atomic<bool> sealed{false};

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

// Newer plug-ins have larger structs that begin as ours does. struct_size comes
// first: nothing behind it may be read before it is known to be there.
bool IsValid(const uzswap_compressor* plugin) {
  return plugin != nullptr && plugin->struct_size >= sizeof(*plugin) &&
         plugin->api_version == UZSWAP_COMPRESSOR_API_VERSION &&
         IsName(plugin->name) && plugin->workspace_size != nullptr &&
         plugin->init != nullptr && plugin->compress != nullptr &&
         plugin->decompress != nullptr;
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

class Path {
 public:
  // False: does not fit.
  bool Append(const char* text) {
    const size_t bytes = strlen(text);
    if (bytes >= kMaxPathBytes - size_) return false;
    memcpy(text_ + size_, text, bytes + 1);
    size_ += bytes;
    return true;
  }
  const char* c_str() const { return text_; }

 private:
  size_t size_ = 0;
  char text_[kMaxPathBytes] = {};
};

Status BadFile(const Path& path, const char* why) {
  Line line;
  line << path.c_str()
       << " is not a compressor: " << (why == nullptr ? "unknown reason" : why);
  Log(line);
  return Status::Error(ELIBBAD);
}

// What the file at path exports. The library stays loaded only on success.
Result<const uzswap_compressor*> Load(const Path& path, const char* name) {
  // RTLD_NOW: a lazily bound function would call the dynamic linker in a fault.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return BadFile(path, dlerror());
  Status status;
  const auto entry = reinterpret_cast<const uzswap_compressor* (*)()>(
      dlsym(library, "uzswap_compressor_plugin"));
  if (entry == nullptr) {
    status = BadFile(path, dlerror());
  } else if (const uzswap_compressor* plugin = entry(); !IsValid(plugin)) {
    status = Status::Error(EINVAL);
  } else if (!SameName(plugin->name, name)) {
    status = BadFile(path, "it calls itself otherwise");
  } else {
    status = Register(plugin);
    if (status.ok()) return plugin;
  }
  dlclose(library);
  return status;
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
  if (!IsName(name)) return Status::Error(ENOENT);
  if (const uzswap_compressor* known = FindRegistered(name)) return known;
  if (directory == nullptr || directory[0] == '\0' ||
      sealed.load(std::memory_order_acquire)) {
    return Status::Error(ENOENT);
  }
  Path path;
  if (!path.Append(directory) || !path.Append("/uzswap-compressor-") ||
      !path.Append(name) || !path.Append(".so")) {
    return Status::Error(ENAMETOOLONG);
  }
  // dlopen does not say "no such file" in a form that a program can read.
  const Result<int> fd = os::Open(path.c_str(), O_RDONLY, 0);
  if (!fd.ok()) return fd.status();
  os::Close(fd.value());
  lockdep::MightFault();
  const Result<const uzswap_compressor*> loaded = Load(path, name);
  // Another thread may have loaded the same file meanwhile.
  if (loaded.error() == EEXIST) return FindRegistered(name);
  return loaded;
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
