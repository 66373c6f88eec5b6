// SPDX-License-Identifier: Apache-2.0
#include "cli/control_reply.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/stats_fields.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

enum : unsigned {
#define UZSWAP_PARAMETER(name) kIndexOf_##name,
  UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};
constexpr unsigned kZpool = kIndexOf_zpool;

// Names and values come from programs: bytes that are not UTF-8 are replaced.
std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ProcessJson(const uzswap_record& record, uint32_t sequence) {
  Json parameters = Json::object();
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    parameters[kParameterNames[i]] = record.parameter[i].value;
  }
  Json stats;
  for (const StatsField& field : StatsFields()) {
    stats[field.name] = record.stats.*field.member;
  }
  return {{"pid", record.pid},
          {"program", record.program},
          {"asleep", record.seen < sequence},
          {"compressors", record.compressors},
          {"parameters", parameters},
          {"stats", stats}};
}

struct Result {
  Json json;
  unsigned taken = 0;
  unsigned failed = 0;
};

Result ResultOf(const Assignment& assignment, uint32_t sequence,
                const std::vector<uzswap_record>& processes) {
  Result result;
  Json all = Json::array();
  for (const uzswap_record& record : processes) {
    const uzswap_parameter_state& state =
        record.parameter[assignment.parameter];
    const bool asleep = state.sequence < sequence;
    const bool failed = !asleep && state.error != 0;
    result.taken += !asleep && !failed;
    result.failed += failed;
    all.push_back({{"pid", record.pid},
                   {"program", record.program},
                   {"state", asleep   ? "asleep"
                             : failed ? "failed"
                                      : "taken"},
                   {"error", failed ? state.error : 0},
                   {"value", state.value}});
  }
  result.json = {{"name", kParameterNames[assignment.parameter]},
                 {"value", assignment.value},
                 {"withdrawn", false},
                 {"processes", std::move(all)}};
  return result;
}

}  // namespace

std::string ErrorReply(const std::string& why) {
  return Line(Json{{"error", why}});
}

std::string MakeReply(const ControlInfo& info, const ControlRequest& request,
                      uint32_t sequence, const std::vector<uint32_t>& sequences,
                      ControlBoard* board, const TreeLimits& limits) {
  const std::vector<uzswap_record> processes = board->Processes();
  Json results = Json::array();
  for (size_t i = 0; i < request.assignments.size(); ++i) {
    const Assignment& assignment = request.assignments[i];
    Result result = ResultOf(assignment, sequences[i], processes);
    if (result.failed > 0 && result.taken == 0) {
      board->Withdraw(assignment.parameter, sequences[i]);
      result.json["withdrawn"] = true;
    }
    results.push_back(std::move(result.json));
  }
  for (const LimitAssignment& limit : request.limits) {
    results.push_back({{"name", limit.name},
                       {"value", limit.text},
                       {"withdrawn", false},
                       {"processes", Json::array()}});
  }
  Json json;
  json["supervisor"] = info.supervisor;
  json["program"] = info.program;
  for (const char* name : kLimitNames) {
    json["limits"][name] = limits.Value(name);
  }
  json["memory_used"] = limits.used_bytes();
  json["memory_peak"] = limits.peak_bytes();
  json["times_full"] = limits.times_full();
  json["requested"] = Json::object();
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    if (board->SequenceOf(i) == 0) continue;
    json["requested"][kParameterNames[i]] = board->Wanted(i);
  }
  json["processes"] = Json::array();
  for (const uzswap_record& record : processes) {
    json["processes"].push_back(ProcessJson(record, sequence));
  }
  if (request.set) json["results"] = std::move(results);
  return Line(json);
}

std::optional<pid_t> ChooseProcess(const ControlInfo& info, pid_t pid,
                                   const ControlBoard& board,
                                   std::string* why) {
  const std::vector<uzswap_record> processes = board.Processes();
  std::string names;
  for (const uzswap_record& record : processes) {
    if (record.pid == pid) return pid;
    names += (names.empty() ? "" : ", ") + std::to_string(record.pid) + " (" +
             record.program + ")";
  }
  if (processes.size() == 1) return processes[0].pid;
  *why = processes.empty()
             ? info.program + " has no process that is managed"
             : "several processes are managed; give the id of one: " + names;
  return {};
}

std::string MakeClassesReply(pid_t pid, bool answered,
                             const ControlBoard& board) {
  const std::vector<uzswap_record> processes = board.Processes();
  const auto at = std::find_if(
      processes.begin(), processes.end(),
      [pid](const uzswap_record& record) { return record.pid == pid; });
  if (at == processes.end()) {
    return ErrorReply("process " + std::to_string(pid) + " has ended");
  }
  const std::string program = at->program;
  if (!answered) {
    return ErrorReply(program + " (" + std::to_string(pid) +
                      ") sleeps; it answers when it makes a system call or "
                      "wants a page back (--wait SECONDS waits longer)");
  }
  Json classes = Json::array();
  for (const uzswap_class& c : board.Classes()) {
    classes.push_back({{"class", c.index},
                       {"size", c.size},
                       {"zspages", c.zspages},
                       {"obj_allocated", c.obj_allocated},
                       {"obj_used", c.obj_used},
                       {"pages_used", c.pages_used},
                       {"pages_per_zspage", c.pages_per_zspage},
                       {"freeable", c.freeable}});
  }
  return Line(Json{{"pid", pid},
                   {"program", program},
                   {"zpool", at->parameter[kZpool].value},
                   {"classes", classes}});
}

}  // namespace uzswap::cli
