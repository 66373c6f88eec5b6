// SPDX-License-Identifier: Apache-2.0
// --stats-json: every figure of a run, for programs. Names are those of
// struct uzswap_stats and struct uzswap_record.
#ifndef UZSWAP_CLI_JSON_H_
#define UZSWAP_CLI_JSON_H_

#include <string>

#include "cli/fail.h"
#include "cli/summary.h"

namespace uzswap::cli {

std::string ToJson(const RunResult& run);

// Where the JSON goes. A regular file is replaced in one step (temporary file,
// rename), so readers see the old or the new one, never half of one. Nothing
// is left beside it in the meantime.
class JsonFile {
 public:
  JsonFile() = default;
  ~JsonFile();
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  // Makes sure that Write will be able to write.
  Check Open(const std::string& path);
  Check Write(const std::string& text);
  // Descriptor that must stay open until Write; -1: none.
  int fd() const { return fd_; }

 private:
  std::string path_;
  int fd_ = -1;  // of a pipe or device, which is written to directly
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_JSON_H_
