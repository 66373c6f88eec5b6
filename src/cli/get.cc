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

// "20 % < 1 s, 75 % < 10 s, 5 % < 1 min": none that are empty.
std::string Ages(const Json& process) {
  struct Bucket {
    const char* name;
    const char* text;
  };
  constexpr Bucket kBuckets[] = {
      {"age_1s_pages", "< 1 s"},   {"age_10s_pages", "< 10 s"},
      {"age_1m_pages", "< 1 min"}, {"age_10m_pages", "< 10 min"},
      {"age_1h_pages", "< 1 h"},   {"age_older_pages", "older"}};
  uint64_t all = 0;
  for (const Bucket& b : kBuckets) all += Stat(process, b.name);
  std::string text;
  for (const Bucket& b : kBuckets) {
    const uint64_t pages = Stat(process, b.name);
    if (pages == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(pages * 100 / all) +
            " % " + b.text;
  }
  return text;
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
  text +=
      Line("in memory", FormatSize(Stat(process, "resident_bytes")) + " of " +
                            FormatSize(Stat(process, "memory_limit")));
  text += Line("pool", Pool(process));
  if (Stat(process, "stored_pages") > 0) {
    text += Line("ages of stored pages", Ages(process));
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
  if (!words.name.empty() && !FindParameter(words.name)) {
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
