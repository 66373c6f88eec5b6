// SPDX-License-Identifier: Apache-2.0
#include "cli/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/stats_fields.h"
#include "cli/version.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

const char* StateName(uint32_t state) {
  switch (state) {
    case UZSWAP_RECORD_LIVE:
      return "live";  // ended without saying so, or still runs
    case UZSWAP_RECORD_ENDED:
      return "ended";
    case UZSWAP_RECORD_EXECED:
      return "execed";
    case UZSWAP_RECORD_FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

Json StatsJson(const uzswap_stats& stats) {
  Json json;
  for (const StatsField& field : StatsFields()) {
    json[field.name] = stats.*field.member;
  }
  return json;
}

Json RecordJson(const uzswap_record& record) {
  return {{"pid", record.pid},
          {"parent", record.parent},
          {"program", record.program},
          {"state", StateName(record.state)},
          {"forked", record.forked != 0},
          {"why", record.why},
          {"calls_patched", record.calls_patched},
          {"calls_dispatched", record.calls_dispatched},
          {"calls_unlisted", record.calls_unlisted},
          {"sites_patched", record.sites_patched},
          {"sites_known", record.sites_known},
          {"most_locks_held", record.most_locks},
          {"compressor", CompressorAtEnd(record)},
          {"compressors_used", CompressorsUsed({record})},
          {"stats", StatsJson(record.stats)}};
}

Json SettingsJson(const Options& options) {
  return {
      {"memory", options.memory},
      {"soft_memory", options.soft_memory},
      {"process_memory", options.process_memory},
      {"on_full", options.on_full},
      {"compressor", options.compressor},
      {"recompressor", options.recompressor},
      {"zpool", options.zpool},
      {"max_pool_percent", options.max_pool_percent == UZSWAP_POOL_PERCENT_AUTO
                               ? Json("auto")
                               : Json(options.max_pool_percent)},
      {"accept_threshold_percent", options.accept_threshold_percent},
      {"backing", options.backing.empty() ? "none" : options.backing},
      {"backing_size", options.backing_size},
      {"encrypt", options.encrypt},
      {"idle", options.idle},
      {"promotion_rate", options.promotion_rate},
      {"direct", options.direct},
      {"backing_timeout", options.backing_timeout},
      {"evict", options.evict},
      {"syscalls", options.syscalls}};
}

Failure CannotWrite(const std::string& path, int error) {
  return {"--stats-json '" + path +
          "' cannot be written: " + std::strerror(error) +
          "; give a file in a directory that can be written to"};
}

bool WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

std::string TemporaryName(const std::string& path) {
  return path + ".uzswap-XXXXXX";
}

}  // namespace

std::string ToJson(const RunResult& run) {
  const bool killed = WIFSIGNALED(run.wait_status);
  Json json;
  json["uzswap"] = kVersion;
  json["command"] = run.options.command;
  json["pid"] = run.pid;
  json["exit_status"] = killed ? Json() : Json(WEXITSTATUS(run.wait_status));
  json["signal"] = killed ? Json(WTERMSIG(run.wait_status)) : Json();
  json["seconds"] = run.seconds;
  json["memory_peak"] = run.memory_peak;
  json["settings"] = SettingsJson(run.options);
  json["compressors_used"] = CompressorsUsed(run.records);
  json["totals"] = StatsJson(Totals(run.records));
  json["processes_lost"] = run.records_lost;
  json["processes"] = Json::array();
  for (const uzswap_record& record : run.records) {
    json["processes"].push_back(RecordJson(record));
  }
  // Arguments may be any bytes; JSON only holds UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

JsonFile::~JsonFile() {
  if (fd_ >= 0) close(fd_);
}

Check JsonFile::Open(const std::string& path) {
  path_ = path;
  struct stat status;
  const bool exists = stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) return CannotWrite(path, EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd_ >= 0) return {};
    return CannotWrite(path, errno);
  }
  std::string name = TemporaryName(path);
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return CannotWrite(path, errno);
  close(fd);
  unlink(name.c_str());
  return {};
}

Check JsonFile::Write(const std::string& text) {
  if (fd_ >= 0) {
    if (WriteAll(fd_, text)) return {};
    return CannotWrite(path_, errno);
  }
  std::string name = TemporaryName(path_);
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return CannotWrite(path_, errno);
  const mode_t mask = umask(0);
  umask(mask);
  fchmod(fd, 0666 & ~mask);
  const bool written = WriteAll(fd, text);
  int error = written ? 0 : errno;
  close(fd);
  if (written && rename(name.c_str(), path_.c_str()) == 0) return {};
  if (written) error = errno;
  unlink(name.c_str());
  return CannotWrite(path_, error);
}

}  // namespace uzswap::cli
