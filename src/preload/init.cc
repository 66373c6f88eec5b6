// SPDX-License-Identifier: Apache-2.0
// The first code that runs in the program (-z initfirst): one thread, no
// constructor of anybody else has run, main is far away. Everything that may
// open files or load code happens here.
#include <uzswap/uzswap.h>

#include <cstring>

#include "base/os.h"
#include "preload/arguments.h"
#include "preload/chaos.h"
#include "preload/control.h"
#include "preload/handlers.h"
#include "preload/libc_start.h"
#include "preload/patch.h"
#include "preload/report.h"
#include "preload/settings.h"
#include "preload/signals.h"
#include "preload/thread.h"
#include "preload/vectors.h"

namespace uzswap::preload {
namespace {

const char* BaseName(const char* path) {
  const char* name = path;
  for (; *path != '\0'; ++path) {
    if (*path == '/') name = path + 1;
  }
  return name;
}

// The program `uzswap run` was asked for must not run unlimited; a program
// that it starts in turn is better off unmanaged than dead.
void Refuse(const Settings& settings, const char* why) {
  ReportFailure(why);
  Line line;
  line << why;
  if (settings.root == static_cast<uint64_t>(os::ProcessId())) {
    Log(line);
    os::Exit(125);
  }
  line << "; process " << os::ProcessId() << " runs unmanaged";
  Log(line);
}

bool IsBuiltInOrNone(const char* recompressor) {
  constexpr char kNone[] = "none";
  if (recompressor == nullptr) return true;
  if (strlen(recompressor) == sizeof(kNone) - 1 &&
      memcmp(recompressor, kNone, sizeof(kNone)) == 0) {
    return true;
  }
  return uzswap_is_built_in(recompressor) != 0;
}

void LogIfAny(const char* sentence) {
  if (*sentence == '\0') return;
  Line line;
  line << sentence;
  Log(line);
}

void Start(int argc, char** argv, char** environment) {
  Settings settings;
  if (!ReadSettings(environment, &settings)) return;
  OpenReport(settings.report, argc > 0 ? BaseName(argv[0]) : "?");
  if (!MeasureVectors()) {
    Refuse(settings, "this processor has no XSAVE, which uzswap needs");
    return;
  }
  // Loading code this early has its price (libc_start.h), so only on demand.
  if (!settings.all_plugins &&
      uzswap_is_built_in(settings.config.compressor) != 0 &&
      IsBuiltInOrNone(settings.config.recompressor)) {
    settings.config.plugin_dir = nullptr;
  }
  if (settings.config.plugin_dir != nullptr) {
    InitialiseLibc(argc, argv, environment);
  }
  if (SharedReport() != nullptr) settings.config.tree = &SharedReport()->tree;
  char why[256] = "";
  if (uzswap_open(&settings.config, why, sizeof(why)) != 0) {
    Refuse(settings, why);
    return;
  }
  // Once, not by each process of the run.
  if (settings.root == static_cast<uint64_t>(os::ProcessId())) LogIfAny(why);
  ThreadBlock* block = NewThreadBlock();
  if (block == nullptr) {
    Refuse(settings, "no memory for the signal stack of the first thread");
    return;
  }
  AttachThread(block);
  if (InstallHandlers() != 0) {
    Refuse(settings, "cannot install signal handlers");
    return;
  }
  SetPinLimit(uzswap_memory_granted());
  RefreshDescriptors();
  PatchResult sites{};
  if (settings.patch) sites = PatchLibc();
  ReportSites(sites.known, sites.patched);
  if (ArmDispatch() != 0) {
    Refuse(settings,
           "the kernel has no Syscall User Dispatch (Linux 5.11), or a seccomp "
           "filter forbids it");
    os::Exit(125);  // libc may be patched already: there is no way back
  }
  SetChaos(settings.chaos_ms);
  StartChaos();
  PublishReport(UZSWAP_RECORD_LIVE);
  StartControl();
}

__attribute__((constructor)) void Init(int argc, char** argv,
                                       char** environment) {
  Start(argc, argv, environment);
}

}  // namespace
}  // namespace uzswap::preload
