// SPDX-License-Identifier: Apache-2.0
#include "torture_run.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "zpool/zpool.h"

namespace uzswap::torture {

// ---- failing

namespace {

// Written by the main thread while no other runs; no allocation when read.
char failure_note[256];

void Tell(const char* text) {
  [[maybe_unused]] const ssize_t n = write(2, text, strlen(text));
}

void OnEngineDeath(const char*) { Tell(failure_note); }

void OnSignal(int signal) {
  Tell(failure_note);
  raise(signal);  // the default action, see SA_RESETHAND
}

}  // namespace

void NoteForFailures(const Options& options, uint64_t epoch) {
  static const bool installed = [] {
    SetDeathHook(OnEngineDeath);
    struct sigaction action {};
    action.sa_handler = OnSignal;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    if (kSanitized) return true;  // it has handlers of its own
    for (const int s : {SIGSEGV, SIGBUS, SIGILL}) {
      sigaction(s, &action, nullptr);
    }
    return true;
  }();
  (void)installed;
  snprintf(failure_note, sizeof(failure_note),
           "torture: in epoch %llu of seed %llu; again: ./dev torture --seed "
           "%llu --threads %u --first-epoch %llu\n",
           static_cast<unsigned long long>(epoch),
           static_cast<unsigned long long>(options.seed),
           static_cast<unsigned long long>(options.seed), options.threads,
           static_cast<unsigned long long>(epoch));
}

void Fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text) - 1, format, arguments);
  va_end(arguments);
  Tell("torture: FAILED: ");
  Tell(text);
  Tell("\n");
  Tell(failure_note);
  abort();
}

// ---- what an epoch does

Plan Plan::Of(uint64_t seed, uint64_t epoch) {
  Random random(seed * 1000003 + epoch);
  const auto mostly = [&] { return random.Below(4) != 0; };
  Plan plan{};
  plan.seed = random.Next();
  plan.milliseconds = static_cast<unsigned>(800 + random.Below(800));
  plan.switches = mostly();
  plan.hotplug = mostly();
  plan.hotplug_failures = mostly();
  plan.allocation_failures = mostly();
  plan.limits = mostly();
  plan.device_errors = mostly();
  plan.codec_errors = mostly();
  plan.forks = mostly() && !kThreadSanitizer;
  plan.pressure = mostly();
  plan.stretch = mostly();
  plan.drain = mostly();
  return plan;
}

std::string Plan::Describe() const {
  std::string text;
  const auto add = [&](bool on, const char* name) {
    if (on) text += std::string(text.empty() ? "" : " ") + name;
  };
  add(switches, "switches");
  add(hotplug, hotplug_failures ? "hotplug!" : "hotplug");
  add(limits, "limits");
  add(pressure, "pressure");
  add(forks, "forks");
  add(allocation_failures, "no-memory");
  add(device_errors, "device-errors");
  add(codec_errors, "codec-errors");
  add(stretch, "stretch");
  add(drain, "drain");
  return text;
}

// ---- the codec that fails

namespace codec {

std::atomic<unsigned> compress_every{0};
std::atomic<unsigned> decompress_every{0};

namespace {

const uzswap_compressor* lz4 = nullptr;
std::atomic<uint64_t> compressed{0};
std::atomic<uint64_t> decompressed{0};

bool Hits(const std::atomic<unsigned>& every, std::atomic<uint64_t>& seen) {
  const unsigned k = every.load(std::memory_order_relaxed);
  return k != 0 && (seen.fetch_add(1, std::memory_order_relaxed) + 1) % k == 0;
}

size_t WorkspaceSize(int) {
  return lz4->workspace_size(UZSWAP_COMPRESSOR_DEFAULT_LEVEL);
}
int Init(void* workspace, size_t bytes, int level) {
  if (level == 13) return EINVAL;
  return lz4->init(workspace, bytes, UZSWAP_COMPRESSOR_DEFAULT_LEVEL);
}
int Compress(void* workspace, const void* from, size_t from_bytes, void* to,
             size_t to_bytes, size_t* produced) {
  if (Hits(compress_every, compressed)) return EINVAL;
  return lz4->compress(workspace, from, from_bytes, to, to_bytes, produced);
}
int Decompress(void* workspace, const void* from, size_t from_bytes, void* to,
               size_t to_bytes) {
  if (Hits(decompress_every, decompressed)) {
    memset(to, 0xdd, to_bytes);
    return EIO;
  }
  return lz4->decompress(workspace, from, from_bytes, to, to_bytes);
}

}  // namespace

const uzswap_compressor* Table() {
  static constexpr uzswap_compressor kTable = {
      .struct_size = sizeof(kTable),
      .api_version = UZSWAP_COMPRESSOR_API_VERSION,
      .name = "torture",
      .workspace_size = WorkspaceSize,
      .init = Init,
      .compress = Compress,
      .decompress = Decompress};
  lz4 = registry::Find("lz4", nullptr).value();
  return &kTable;
}

void Heal() { compress_every = decompress_every = 0; }

}  // namespace codec

// ---- lives and epochs

Run::Run(const Options& options) : options_(options) {
  TORTURE_CHECK(options.threads >= 1 && options.threads <= kThreads);
  Watchdog::Enable();
  InstallHooks();
  if (kSanitized) Worker::SetStarter(StartLibraryThread);
  registry::RegisterBuiltins();
  const Status s = registry::Register(codec::Table());
  TORTURE_CHECK(s.ok() || s.error() == EEXIST);
}

void Run::BeginLife(uint64_t seed) {
  Random random(seed);
  const auto possible = static_cast<unsigned>(2 + random.Below(12));
  const auto online = static_cast<unsigned>(1 + random.Below(possible));
  cpus_ = std::make_unique<cpuhp::Simulator>(cpuhp::System(), possible, online);
  const PageCount size = 200 + random.Below(4000);
  const uint64_t kind = random.Below(4);
  if (kind != 0) {
    const char* folder = getenv("TMPDIR");
    const Result<Device*> inner =
        kind == 3 ? NewMemoryDevice(size)
                  : NewFileDevice(folder != nullptr ? folder : "/tmp", size,
                                  kind == 1 ? Protection::kEncrypted
                                            : Protection::kChecksummed);
    if (!inner.ok()) Fail("device: %s", strerror(inner.error()));
    device_ = std::make_unique<FaultyDevice>(inner.value());
  }
  const ZswapConfig config{
      .compressor = registry::At(static_cast<unsigned>(random.Below(6))),
      .level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL,
      .zpool = ZpoolName(0),
      .device = device_.get(),
      .total_pages = 100 + random.Below(1000),
      .max_pool_percent = static_cast<unsigned>(1 + random.Below(100)),
      .accept_threshold_percent = static_cast<unsigned>(1 + random.Below(100))};
  zswap_ = CreateDespiteFailures(config).value();
  accepted_compressor_ = config.compressor->name;
  model_.emplace(options_.threads);
  tally_ = std::make_unique<Tally>();
}

void Run::EndLife() {
  const WatchdogScope watched("end of a life");
  zswap_->FlushWork();
  zswap_->Destroy();
  zswap_ = nullptr;
  if (device_ != nullptr) {
    TORTURE_CHECK(device_->used() == 0);
    device_->CheckInvariants();
    device_->Destroy();
  }
  device_.reset();
  cpus_.reset();
  model_.reset();
  CheckProcess();
}

void Run::RunThreads() {
  std::vector<std::thread> threads;
  Random random(plan_.seed);
  stop_ = false;
  const auto start = [&](bool wanted, void (Run::*body)(Random)) {
    const uint64_t seed = random.Next();
    if (wanted) {
      threads.emplace_back([=, this] { (this->*body)(Random(seed)); });
    }
  };
  start(plan_.switches, &Run::Switcher);
  start(plan_.switches, &Run::DirectSwitcher);
  start(plan_.hotplug, &Run::Hotplug);
  start(plan_.limits, &Run::Limits);
  start(true, &Run::Failures);
  start(plan_.pressure, &Run::Presser);
  start(plan_.forks, &Run::Forker);
  for (unsigned t = 0; t < options_.threads; ++t) {
    threads.emplace_back([this, t] { User(t); });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(plan_.milliseconds));
  stop_ = true;
  for (std::thread& thread : threads) thread.join();
}

void Run::Epoch(uint64_t number) {
  plan_ = Plan::Of(options_.seed, number);
  Random random(~plan_.seed);
  const uint64_t before = operations_;
  const uint64_t switches = tally_->switches;
  const uint64_t forks = tally_->forks;
  RunThreads();
  cpus_->FailAtRandom(0, 0);
  for (unsigned cpu = 0; cpu < cpus_->Possible(); ++cpu) cpus_->FailCpu(cpu, 0);
  cpus_->FailNth(0, 0);
  TORTURE_CHECK(cpuhp::Refresh().ok());
  CheckQuiet();
  CheckSwitchFailures(random);
  if (!kThreadSanitizer) ForkOnce(random.Next());
  const ZswapStats stats = zswap_->Stats();
  if (plan_.drain) Drain();
  printf(
      "epoch %llu: %llu calls, %llu switches, %llu forks, %llu moved, "
      "%llu written, %llu raw, %llu kept, %ld MiB; %s\n",
      static_cast<unsigned long long>(number),
      static_cast<unsigned long long>(operations_ - before),
      static_cast<unsigned long long>(tally_->switches - switches),
      static_cast<unsigned long long>(tally_->forks - forks),
      static_cast<unsigned long long>(stats.migrated_pages),
      static_cast<unsigned long long>(stats.zswpwb),
      static_cast<unsigned long long>(stats.incompressible),
      static_cast<unsigned long long>(stats.stored_pages), ResidentKib() / 1024,
      plan_.Describe().c_str());
  fflush(stdout);
}

}  // namespace uzswap::torture
