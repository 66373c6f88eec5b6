// SPDX-License-Identifier: Apache-2.0
// `uzswap run`: check everything, start the program with the preload library,
// stand by it, say what was saved, end as it ended.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "cli/cgroup.h"
#include "cli/commands.h"
#include "cli/control_server.h"
#include "cli/elf_check.h"
#include "cli/json.h"
#include "cli/layout.h"
#include "cli/nbd_check.h"
#include "cli/options.h"
#include "cli/preflight.h"
#include "cli/report_file.h"
#include "cli/summary.h"
#include "cli/supervise.h"
#include "cli/watch.h"

namespace uzswap::cli {
namespace {

class HelpFormat : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: uzswap run --memory SIZE [options] [--] program "
           "[arguments]\n";
  }
  // Only the name of the value; the footer tells about the environment.
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_name().empty() ? "" : " " + option->get_type_name();
  }
};

// Fills *options. True: go on; false: *exit_code is the answer (--help, or an
// error that has been printed).
bool Parse(const std::vector<std::string>& arguments, Options* options,
           int* exit_code) {
  CLI::App app("Runs a program with its anonymous memory kept under a limit.",
               "uzswap run");
  app.set_help_flag("-h,--help", "print this help");
  OptionTexts texts;
  DeclareOptions(app, &texts);
  app.formatter(std::make_shared<HelpFormat>());
  std::vector<std::string> words;
  SplitCommand(app, arguments, &words, &options->command);
  *exit_code = 0;
  try {
    std::reverse(words.begin(), words.end());  // CLI11 pops from the back
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    PrintError(std::string(e.what()) + "; see uzswap run --help");
    *exit_code = kExitUzswap;
    return false;
  }
  Check check = CheckOptions(texts, options);
  if (!check && options->command.empty()) {
    check = Failure{"run needs a program: uzswap run --memory SIZE -- program"};
  }
  if (!check) return true;
  PrintError(check->sentence);
  *exit_code = check->exit_code;
  return false;
}

Check CheckSystem(const Layout& layout, Options* options) {
  if (Check c = CheckKernel()) return c;
  if (Check c = CheckCompressor(layout, "--compressor", options->compressor)) {
    return c;
  }
  if (Check c = CheckRecompressor(layout, options->recompressor)) return c;
  return CheckBacking(options);
}

std::string PreloadList(const std::string& preload) {
  const char* const inherited = std::getenv("LD_PRELOAD");
  if (inherited == nullptr || *inherited == '\0') return preload;
  const std::string others = inherited;
  // Under another uzswap it is first already.
  if (others == preload || others.starts_with(preload + ":")) return others;
  return preload + ":" + others;
}

// In the form in which it is given, for a second `uzswap run` below.
std::string PercentText(unsigned hundredths) {
  if (hundredths == 0) return "";
  const std::string part = std::to_string(100 + hundredths % 100);
  return std::to_string(hundredths / 100) + "." + part.substr(1);
}

Job MakeJob(const Options& options, const Layout& layout,
            const ReportFile& report) {
  Job job;
  job.argv = options.command;
  const auto set = [&job](const char* name, const std::string& value) {
    // An empty value or 0 means "as the engine thinks best": no variable.
    if (value.empty() || value == "0") {
      job.removed.push_back(name);
    } else {
      job.environment.emplace_back(name, value);
    }
  };
  set("LD_PRELOAD", PreloadList(layout.preload));
  set("UZSWAP_REPORT", report.path());
  set("UZSWAP_MEMORY", std::to_string(options.memory));
  for (const char* name :
       {"UZSWAP_PROCESS_MEMORY", "UZSWAP_SOFT_MEMORY", "UZSWAP_ON_FULL"}) {
    set(name, "");  // they are in the report
  }
  set("UZSWAP_COMPRESSOR", options.compressor);
  set("UZSWAP_RECOMPRESSOR", options.recompressor);
  set("UZSWAP_ZPOOL", options.zpool);
  set("UZSWAP_MAX_POOL_PERCENT", std::to_string(options.max_pool_percent));
  set("UZSWAP_ACCEPT_THRESHOLD_PERCENT",
      std::to_string(options.accept_threshold_percent));
  set("UZSWAP_BACKING", options.backing.empty() ? "none" : options.backing);
  set("UZSWAP_BACKING_SIZE", std::to_string(options.backing_size));
  set("UZSWAP_NO_ENCRYPT", options.encrypt ? "0" : "1");
  set("UZSWAP_IDLE", std::to_string(options.idle));
  set("UZSWAP_PROMOTION_RATE", PercentText(options.promotion_rate));
  set("UZSWAP_BACKING_TIMEOUT", std::to_string(options.backing_timeout));
  set("UZSWAP_DIRECT", options.direct);
  set("UZSWAP_EVICT", options.evict);
  set("UZSWAP_SYSCALLS", options.syscalls);
  set("UZSWAP_PLUGIN_DIR", layout.plugin_dir);
  // Ours alone: a second `uzswap run` below must not overwrite this file.
  set("UZSWAP_STATS_JSON", "");
  set("UZSWAP_QUIET", "");
  return job;
}

std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

void Report(const RunResult& run, JsonFile* json) {
  if (!run.options.stats_json.empty()) {
    if (const Check c = json->Write(ToJson(run))) PrintError(c->sentence);
  }
  if (run.options.quiet) return;
  const std::string text = Summarize(run);
  // One write, so that the lines stay together.
  const ssize_t ignored = write(STDERR_FILENO, text.data(), text.size());
  static_cast<void>(ignored);
}

// What surrounds the run, to be followed while it runs.
void Follow(const Options& options, const AutoMemory& memory,
            ControlServer* control, uzswap_report* report, Watch* watch) {
  if (options.memory_auto) {
    watch->FollowLimit(memory, [control](uint64_t bytes) {
      control->limits().Set("memory", bytes / 4096);
    });
  }
  watch->FollowPressure(Pressure(), [report](PressureLevel level) {
    std::atomic_ref(report->tree.pressure)
        .store(static_cast<uint32_t>(level), std::memory_order_relaxed);
  });
}

Check Run(Options* options) {
  Layout layout;
  if (Check c = FindLayout(&layout)) return c;
  AutoMemory memory;
  if (options->memory_auto) {
    if (Check c = memory.Find()) return c;
    options->memory = memory.Limit();
  }
  if (Check c = CheckSystem(layout, options)) return c;
  ReportFile report;
  if (Check c = report.Create()) return c;
  Job job = MakeJob(*options, layout, report);
  if (Check c = FindProgram(options->command[0], &job.path)) return c;
  if (Check c = CheckProgram(job.path, &job.shell)) return c;
  JsonFile json;
  if (!options->stats_json.empty()) {
    if (Check c = json.Open(options->stats_json)) return c;
  }

  int claim = -1;
  if (IsNbdUri(options->backing)) {
    if (Check c = ClaimNbd(options->backing, &claim)) return c;
  }
  ControlServer control(report.shared(),
                        {getpid(), BaseName(options->command[0])});
  control.limits().Start(*options);
  if (const Check c = control.Open(); c && !options->quiet) {
    PrintError(c->sentence);
  }
  const auto begin = std::chrono::steady_clock::now();
  Supervisor supervisor;
  if (Check c = supervisor.Start(job)) return c;
  std::vector<int> keep = control.Descriptors();
  keep.insert(keep.end(), {report.fd(), json.fd(), claim});
  Supervisor::DropDescriptors(keep);
  Watch watch;
  Follow(*options, memory, &control, report.shared(), &watch);
  RunResult run;
  run.wait_status = supervisor.Wait(&control, &watch);
  run.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  run.options = *options;
  run.program = BaseName(options->command[0]);
  run.pid = supervisor.pid();
  run.memory_peak = control.limits().peak_bytes();
  run.records = report.Records(&run.records_lost);
  Report(run, &json);
  supervisor.EndLike(run.wait_status);
}

}  // namespace

void PrintError(const std::string& sentence) {
  std::string line = "uzswap: " + sentence;
  // One line, whatever the user's values contain.
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  line += '\n';
  const ssize_t ignored = write(STDERR_FILENO, line.data(), line.size());
  static_cast<void>(ignored);
}

int RunCommand(const std::vector<std::string>& arguments) {
  Options options;
  int exit_code = 0;
  if (!Parse(arguments, &options, &exit_code)) return exit_code;
  const Check failure = Run(&options);
  PrintError(failure->sentence);
  return failure->exit_code;
}

}  // namespace uzswap::cli
