// SPDX-License-Identifier: Apache-2.0
// uzswap_open: configuration into parts, errors into sentences.
#include <uzswap/tree.h>
#include <uzswap/uzswap.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "api/instance.h"
#include "api/parameters.h"
#include "compress/builtin.h"
#include "compress/registry.h"

namespace uzswap {
namespace {

// The pool's share of the limit. Without a backing store there is nowhere else
// to go, so all but a working minimum is allowed.
constexpr unsigned kPoolPercent = 50;
constexpr unsigned kPoolPercentAlone = 80;
constexpr unsigned kAcceptPercent = 90;
constexpr const char* kDefaultCompressor = "lz4";
constexpr uint64_t kBackingFactor = 16;
constexpr unsigned kBackingTimeout = 30;
// What pages need to come and go in, above everything that is fixed.
constexpr uint64_t kRoomBytes = uint64_t{4} << 20;

constinit std::atomic<bool> opening{false};

struct Why {
  char* text;
  size_t bytes;

  void Note(Line& line) const {
    if (text == nullptr || bytes == 0) return;
    const size_t n = std::min(bytes - 1, line.size());
    memcpy(text, line.c_str(), n);
    text[n] = '\0';
  }
  Status Say(int error, Line& line) const {
    Note(line);
    return Status::Error(error);
  }
};

Status CheckConfig(const uzswap_config& config, const Why& why) {
  Line line;
  if (config.struct_size < sizeof(uzswap_config)) {
    line << "struct_size is " << uint64_t{config.struct_size} << ", not "
         << uint64_t{sizeof(uzswap_config)}
         << ": set it to sizeof (struct uzswap_config)";
    return why.Say(EINVAL, line);
  }
  if (config.max_pool_percent > 100 &&
      config.max_pool_percent != UZSWAP_POOL_PERCENT_AUTO) {
    line << "max_pool_percent is " << config.max_pool_percent
         << ": give 1 to 100, or 0 for the default";
    return why.Say(EINVAL, line);
  }
  if (config.accept_threshold_percent > 100) {
    line << "accept_threshold_percent is " << config.accept_threshold_percent
         << ": give 1 to 100, or 0 for 90";
    return why.Say(EINVAL, line);
  }
  if (config.promotion_rate > 10000) {
    line << "promotion_rate is " << config.promotion_rate
         << ": give 1 to 10000 hundredths of a percent, or 0 for 20";
    return why.Say(EINVAL, line);
  }
  const auto method = static_cast<unsigned>(config.evict);
  if (method > UZSWAP_EVICT_MOVE) {
    line << "evict is " << method << ": give 0 (auto), 1 (wp) or 2 (move)";
    return why.Say(EINVAL, line);
  }
  const auto direct = static_cast<unsigned>(config.direct);
  if (direct > UZSWAP_DIRECT_OFF) {
    line << "direct is " << direct << ": give 0 (auto), 1 (on) or 2 (off)";
    return why.Say(EINVAL, line);
  }
  return kOk;
}

Result<const uzswap_compressor*> FindCompressor(const uzswap_config& config,
                                                const Why& why) {
  registry::RegisterBuiltins();
  const char* name =
      config.compressor == nullptr ? kDefaultCompressor : config.compressor;
  const Result<const uzswap_compressor*> found =
      registry::Find(name, config.plugin_dir);
  if (found.ok()) return found;
  Line line;
  line << "compressor \"" << name << "\": ";
  if (found.error() == ENOENT) {
    line << "there is none of that name";
    if (config.plugin_dir != nullptr) line << " in " << config.plugin_dir;
    line << "; known are";
    for (unsigned i = 0; registry::At(i) != nullptr; ++i) {
      line << " " << registry::At(i)->name;
    }
  } else {
    line << "cannot be loaded (error " << found.error() << "); try another one";
  }
  return why.Say(found.error(), line);
}

Status OpenDevice(const uzswap_config& config, const Why& why,
                  Instance* opened) {
  if (config.backing == nullptr) return kOk;
  const uint64_t bytes = config.backing_size != 0
                             ? config.backing_size
                             : config.memory_limit * kBackingFactor;
  uint64_t timeout = config.backing_timeout;
  if (timeout == 0) timeout = kBackingTimeout;
  if (timeout == UZSWAP_FOR_EVER) timeout = 0;
  const Result<Device*> device =
      NewDevice({.path = config.backing,
                 .size = bytes / kPageSize,
                 .protection = config.no_encrypt != 0 ? Protection::kChecksummed
                                                      : Protection::kEncrypted,
                 .direct = config.direct == UZSWAP_DIRECT_ON,
                 .leases = config.backing_leases,
                 .timeout_seconds = timeout});
  if (device.ok()) {
    opened->device = device.value();
    return kOk;
  }
  Line line;
  line << "backing store " << config.backing << " of " << bytes
       << " bytes: error " << device.error()
       << "; give a directory that you can write to, an empty file, a block "
          "device or an NBD export";
  return why.Say(device.error(), line);
}

Status OpenPager(const uzswap_config& config, const Why& why,
                 Instance* opened) {
  const char* what = "";
  const Status s = opened->pager.Open(config.evict, &what);
  if (s.ok()) return kOk;
  Line line;
  line << what << " cannot be had: error " << s.error();
  if (s.error() == EPERM) {
    line << " (forbidden, perhaps by a container's seccomp profile); allow "
            "userfaultfd, or set vm.unprivileged_userfaultfd to 1";
  } else if (s.error() == ENOSYS || s.error() == EOPNOTSUPP) {
    line << "; this kernel is too old or was built without it (Linux 5.11 "
            "with CONFIG_USERFAULTFD is needed)";
  }
  return why.Say(s.error(), line);
}

// A level that it does not have is the user's mistake, and said; what goes
// wrong otherwise when a compressor is set up is not
// (zswap_pool_create_fallback).
bool MayFallBack(const ZswapConfig& failed, int error) {
  const uzswap_compressor* plain =
      registry::Find(kDefaultCompressor, nullptr).value();
  const bool level_given = failed.level != UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  return failed.compressor != plain && error != ENOENT &&
         !(error == EINVAL && level_given);
}

Result<Zswap*> CreateOrFallBack(const ZswapConfig& wanted, const Why& why) {
  const Result<Zswap*> first = Zswap::Create(wanted);
  if (first.ok() || !MayFallBack(wanted, first.error())) return first;
  ZswapConfig plain = wanted;
  plain.compressor = registry::Find(kDefaultCompressor, nullptr).value();
  plain.level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  const Result<Zswap*> second = Zswap::Create(plain);
  if (!second.ok()) return first;
  Line line;
  line << "compressor \"" << wanted.compressor->name
       << "\" could not be set up (error " << first.error() << "); "
       << kDefaultCompressor << " is used instead";
  why.Note(line);
  return second;
}

Status OpenZswap(const uzswap_config& config, const uzswap_compressor* plugin,
                 const Why& why, Instance* opened) {
  const bool balanced = config.max_pool_percent == UZSWAP_POOL_PERCENT_AUTO;
  const unsigned percent =
      opened->device != nullptr ? kPoolPercent : kPoolPercentAlone;
  const ZswapConfig zswap{
      .compressor = plugin,
      .level = config.compressor_level == 0 ? UZSWAP_COMPRESSOR_DEFAULT_LEVEL
                                            : config.compressor_level,
      .zpool = config.zpool == nullptr ? "zsmalloc" : config.zpool,
      .device = opened->device,
      .total_pages = config.memory_limit / kPageSize,
      .max_pool_percent = config.max_pool_percent == 0 || balanced
                              ? percent
                              : config.max_pool_percent,
      .accept_threshold_percent = config.accept_threshold_percent == 0
                                      ? kAcceptPercent
                                      : config.accept_threshold_percent,
      .balance_tiers = balanced};
  const Result<Zswap*> created = CreateOrFallBack(zswap, why);
  if (created.ok()) {
    opened->zswap = created.value();
    return kOk;
  }
  Line line;
  if (!FindZpool(zswap.zpool).ok()) {
    line << "zpool \"" << zswap.zpool << "\": there is none of that name; try "
         << "zsmalloc (zsmalloc:4 to zsmalloc:64), zbud or z3fold";
    return why.Say(ENODEV, line);
  }
  line << "the engine with compressor \"" << plugin->name << "\" level "
       << config.compressor_level << " cannot be made: error "
       << created.error()
       << (created.error() == EINVAL ? "; try level 0, the default" : "");
  return why.Say(created.error(), line);
}

Status OpenRecompressor(const uzswap_config& config, const Why& why,
                        Instance* opened) {
  const Status s = SetConfiguredRecompressor(config, opened);
  if (s.ok()) return kOk;
  Line line;
  line << "recompressor \"" << config.recompressor << "\": ";
  if (s.error() == ENOENT) {
    line << "there is none of that name; known are";
    for (unsigned i = 0; registry::At(i) != nullptr; ++i) {
      line << " " << registry::At(i)->name;
    }
    line << ", and none";
  } else if (s.error() == EINVAL || s.error() == ERANGE) {
    line << "it does not have that level; leave it out, or give another";
  } else {
    line << "cannot be set up: error " << s.error() << "; try another one";
  }
  return why.Say(s.error(), line);
}

Status CheckLimit(const uzswap_config& config, const Why& why,
                  Instance* opened) {
  const uint64_t held = opened->pager.MeasureRss() * kPageSize;
  // What others of the tree use is not looked at: they give way.
  const uint64_t limit = config.tree != nullptr ? config.tree->limit * kPageSize
                                                : config.memory_limit;
  if (limit >= held + kRoomBytes) return kOk;
  Line line;
  line << "memory_limit of " << limit
       << " bytes is too low: this process holds " << held
       << " bytes that cannot be moved, and " << kRoomBytes
       << " more are needed to work with; give at least " << held + kRoomBytes;
  return why.Say(ENOMEM, line);
}

void Dispose(Instance* opened) {
  opened->pager.Close();
  if (opened->zswap != nullptr) opened->zswap->Destroy();
  if (opened->device != nullptr) opened->device->Destroy();
  CHECK(os::Unmap(opened, PageCeil(sizeof(Instance))).ok());
}

Status Assemble(const uzswap_config& config, const Why& why, Instance* opened) {
  const Result<const uzswap_compressor*> plugin = FindCompressor(config, why);
  if (!plugin.ok()) return plugin.status();
  UZSWAP_RETURN_IF_ERROR(OpenDevice(config, why, opened));
  UZSWAP_RETURN_IF_ERROR(OpenPager(config, why, opened));
  UZSWAP_RETURN_IF_ERROR(OpenZswap(config, plugin.value(), why, opened));
  UZSWAP_RETURN_IF_ERROR(CheckLimit(config, why, opened));
  if (config.plugin_dir != nullptr) registry::LoadAll(config.plugin_dir);
  registry::Seal();
  UZSWAP_RETURN_IF_ERROR(OpenRecompressor(config, why, opened));
  TakeRecordedParameters(config, opened);
  opened->pager.SetIdle(config.idle_seconds, config.promotion_rate);
  opened->pager.Start(config.memory_limit / kPageSize, config.tree,
                      opened->zswap);
  return kOk;
}

Status OpenInstance(const uzswap_config* config, const Why& why) {
  Line line;
  if (config == nullptr) {
    line << "no configuration was given";
    return why.Say(EINVAL, line);
  }
  UZSWAP_RETURN_IF_ERROR(CheckConfig(*config, why));
  if (GetInstance() != nullptr) {
    line << "uzswap is open already: one instance for a process";
    return why.Say(EBUSY, line);
  }
  const Result<void*> memory = os::Map(PageCeil(sizeof(Instance)));
  if (!memory.ok()) {
    line << "no memory for uzswap itself: error " << memory.error();
    return why.Say(memory.error(), line);
  }
  Instance* opened = new (memory.value()) Instance;
  const Status s = Assemble(*config, why, opened);
  if (s.ok()) {
    instance.store(opened, std::memory_order_release);
  } else {
    Dispose(opened);
    NoteOpenFailed();
  }
  return s;
}

}  // namespace

constinit std::atomic<Instance*> instance{nullptr};

}  // namespace uzswap

using uzswap::Return;

int uzswap_open(const uzswap_config* config, char* why, size_t why_bytes) {
  if (why != nullptr && why_bytes > 0) why[0] = '\0';
  const uzswap::Why sentence{why, why_bytes};
  if (uzswap::opening.exchange(true, std::memory_order_acquire)) {
    uzswap::Line line;
    line << "another thread is opening uzswap at the same time";
    return Return(sentence.Say(EBUSY, line));
  }
  // Signals stay open: loading a plug-in may take its time and holds no lock.
  const int r = Return(uzswap::OpenInstance(config, sentence));
  uzswap::opening.store(false, std::memory_order_release);
  return r;
}

void uzswap_close(void) {
  uzswap::SignalsBlocked blocked;
  uzswap::Instance* closed = uzswap::instance.exchange(nullptr);
  if (closed != nullptr) uzswap::Dispose(closed);
}
