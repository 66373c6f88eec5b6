// SPDX-License-Identifier: Apache-2.0
// `uzswap get PID [NAME]`: the parameters of a running program, and how it is
// doing. `--classes`: the size classes of its zpool.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/class_table.h"
#include "cli/commands.h"
#include "cli/control_client.h"
#include "cli/size.h"
#include "cli/tree_limits.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Words {
  std::string pid;
  std::string name;
  std::string wait = "0.2";
  bool json = false;
  bool classes = false;
};

std::string Title(const Json& process) {
  return process["program"].get<std::string>() + " (" +
         std::to_string(process["pid"].get<int>()) + ")";
}

uint64_t Stat(const Json& process, const char* name) {
  return process["stats"][name].get<uint64_t>();
}

std::string ValueOf(const Json& process, const std::string& name) {
  return process["parameters"][name].get<std::string>();
}

// One value if all agree, else one for each process.
std::string Value(const Json& reply, const std::string& name) {
  if (IsLimit(name)) return reply["limits"][name].get<std::string>();
  std::set<std::string> values;
  std::string each;
  for (const Json& process : reply["processes"]) {
    values.insert(ValueOf(process, name));
    each += (each.empty() ? "" : ", ") + ValueOf(process, name) + " in " +
            Title(process);
  }
  if (values.size() == 1) return *values.begin();
  if (!values.empty()) return each;
  return reply["requested"].value(name, "");
}

std::string Line(const std::string& label, const std::string& text) {
  std::string line = "  " + label;
  line += std::string(label.size() < 26 ? 26 - label.size() : 1, ' ');
  return line + text + "\n";
}

std::string Pool(const Json& process) {
  const uint64_t in = Stat(process, "compressed_bytes_in");
  const uint64_t out = Stat(process, "compressed_bytes_out");
  std::string text = FormatSize(Stat(process, "pool_bytes")) + " hold " +
                     FormatCount(Stat(process, "stored_pages")) + " pages";
  if (out > 0) {
    const uint64_t tenths = in * 10 / out;
    text += ", ratio " + std::to_string(tenths / 10) + "." +
            std::to_string(tenths % 10);
  }
  return text + "; " + FormatSize(Stat(process, "device_bytes")) + " on disk";
}

// "12.34 %" of hundredths of a percent.
std::string Hundredths(uint64_t value) {
  const std::string part = std::to_string(value % 100);
  return std::to_string(value / 100) + (part.size() < 2 ? ".0" : ".") + part +
         " %";
}

using AgeFields = const char* [6];
constexpr AgeFields kResidentAges = {
    "resident_pages_1s",    "resident_pages_10s", "resident_pages_1min",
    "resident_pages_10min", "resident_pages_1h",  "resident_pages_older"};
constexpr AgeFields kStoredAges = {"age_1s_pages", "age_10s_pages",
                                   "age_1m_pages", "age_10m_pages",
                                   "age_1h_pages", "age_older_pages"};

// "< 1 s 4.0 MiB, < 10 s 12 MiB, older 1.0 GiB", without those that are empty.
std::string Ages(const Json& process, const AgeFields& fields) {
  constexpr AgeFields kNames = {"< 1 s",    "< 10 s", "< 1 min",
                                "< 10 min", "< 1 h",  "older"};
  std::string text;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const uint64_t pages = Stat(process, fields[i]);
    if (pages == 0) continue;
    text += (text.empty() ? "" : ", ") + std::string(kNames[i]) + " " +
            FormatSize(pages * 4096);
  }
  return text.empty() ? "nothing" : text;
}

// "12.3 MiB hold 5,678 pages; 9,012 recompressed, 345 would not get smaller"
std::string Dense(const Json& process) {
  return FormatSize(Stat(process, "dense_pool_bytes")) + " of the pool hold " +
         FormatCount(Stat(process, "dense_pages")) + " pages; " +
         FormatCount(Stat(process, "recompressed_pages")) + " recompressed, " +
         FormatCount(Stat(process, "recompress_poor")) +
         " would not get smaller";
}

std::string Process(const Json& process) {
  std::string text = Title(process);
  if (process["asleep"].get<bool>()) text += ", asleep: as it last reported";
  text += "\n";
  text += Line("in memory", FormatSize(Stat(process, "resident_bytes")) +
                                "; may have " +
                                FormatSize(Stat(process, "memory_granted")));
  text += Line("  by last use", Ages(process, kResidentAges));
  text += Line("stalled in faults",
               Hundredths(Stat(process, "stall_avg10")) + " of 10 s, " +
                   Hundredths(Stat(process, "stall_avg60")) + " of 60 s");
  text += Line("pool", Pool(process));
  if (Stat(process, "stored_pages") > 0) {
    text += Line("  by age", Ages(process, kStoredAges));
  }
  if (Stat(process, "recompressed_pages") + Stat(process, "recompress_poor") >
      0) {
    text += Line("dense tier", Dense(process));
  }
  // More than one: after a switch, until the old ones are empty.
  if (Stat(process, "pool_switches") > 0) {
    text += Line("pools", FormatCount(Stat(process, "pools")) + " alive; " +
                              FormatCount(Stat(process, "pool_switches")) +
                              " times switched, " +
                              FormatCount(Stat(process, "migrated_pages")) +
                              " pages migrated");
  }
  return text +
         Line("faults", FormatCount(Stat(process, "faults")) + ", pages out " +
                            FormatCount(Stat(process, "pages_out")) + ", in " +
                            FormatCount(Stat(process, "pages_in")));
}

std::string Everything(const Json& reply) {
  const size_t count = reply["processes"].size();
  std::string text =
      reply["program"].get<std::string>() + " under uzswap run (" +
      std::to_string(reply["supervisor"].get<int>()) + "), " +
      FormatCount(count) + (count == 1 ? " process\n" : " processes\n");
  text += Line("in use", FormatSize(reply["memory_used"].get<uint64_t>()) +
                             ", at most " +
                             FormatSize(reply["memory_peak"].get<uint64_t>()));
  for (const char* name : kLimitNames) text += Line(name, Value(reply, name));
  for (const char* name : kParameterNames) {
    text += Line(name, Value(reply, name));
  }
  for (const Json& process : reply["processes"]) text += Process(process);
  return text;
}

uzswap_class ClassOf(const Json& json) {
  uzswap_class c = {};
  c.index = json["class"].get<uint16_t>();
  c.size = json["size"].get<uint16_t>();
  c.pages_per_zspage = json["pages_per_zspage"].get<uint16_t>();
  for (size_t i = 0; i < std::size(c.zspages); ++i) {
    c.zspages[i] = json["zspages"][i].get<uint32_t>();
  }
  c.pages_used = json["pages_used"].get<uint32_t>();
  c.obj_allocated = json["obj_allocated"].get<uint64_t>();
  c.obj_used = json["obj_used"].get<uint64_t>();
  c.freeable = json["freeable"].get<uint64_t>();
  return c;
}

Check ClassesText(const Json& reply, std::string* text) {
  std::vector<uzswap_class> classes;
  for (const Json& json : reply["classes"]) classes.push_back(ClassOf(json));
  if (classes.empty()) {
    return Failure{"zpool " + reply["zpool"].get<std::string>() +
                   " has no size classes"};
  }
  *text = FormatClasses(classes);
  return {};
}

Check Get(const Words& words) {
  pid_t pid = 0;
  if (Check c = ParsePid(words.pid, &pid)) return c;
  if (!words.name.empty() && !FindParameter(words.name) &&
      !IsLimit(words.name)) {
    return Failure{"there is no parameter '" + words.name + "'; there are " +
                   AllParameterNames()};
  }
  ControlRequest request;
  if (Check c = ParseWait(words.wait, &request.wait_ms)) return c;
  if (words.classes) {
    if (!words.name.empty()) {
      return Failure{"--classes prints no parameter; leave out '" + words.name +
                     "'"};
    }
    request.classes_of = pid;
  }
  Json reply;
  if (Check c = AskRun(pid, request, &reply)) return c;
  std::string text;
  if (words.json) {
    text = reply.dump(2) + "\n";
  } else if (words.classes) {
    if (Check c = ClassesText(reply, &text)) return c;
  } else if (!words.name.empty()) {
    text = Value(reply, words.name) + "\n";
  } else {
    text = Everything(reply);
  }
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return Failure{"cannot write to standard output"};
  }
  return {};
}

}  // namespace

int GetCommand(const std::vector<std::string>& arguments) {
  CLI::App app(
      "Prints the parameters of a program under `uzswap run`, and how it is "
      "doing.",
      "uzswap get");
  app.set_help_flag("-h,--help", "print this help");
  Words words;
  app.add_option("PID", words.pid, "`uzswap run`, or a program that it started")
      ->required()
      ->type_name("");
  app.add_option("NAME", words.name, "only this: " + AllParameterNames())
      ->type_name("");
  app.add_option("--wait", words.wait,
                 "how long to wait for fresh figures of processes that sleep "
                 "(0.2)")
      ->type_name("SECONDS");
  app.add_flag("--classes", words.classes,
               "the size classes of zsmalloc in one process, as the kernel's "
               "debugfs shows them");
  app.add_flag("--json", words.json, "everything, as JSON");
  int exit_code = 0;
  if (!ParseWords(&app, arguments, &exit_code)) return exit_code;
  const Check failure = Get(words);
  if (!failure) return 0;
  PrintError(failure->sentence);
  return failure->exit_code;
}

}  // namespace uzswap::cli
