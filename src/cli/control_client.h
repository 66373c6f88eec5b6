// SPDX-License-Identifier: Apache-2.0
// The end of the channel (control.h) that `uzswap get` and `uzswap set` use.
#ifndef UZSWAP_CLI_CONTROL_CLIENT_H_
#define UZSWAP_CLI_CONTROL_CLIENT_H_

#include <sys/types.h>

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/control.h"
#include "cli/fail.h"

namespace uzswap::cli {

// A process id as the user wrote it.
Check ParsePid(const std::string& text, pid_t* pid);
// Seconds such as "2" or "0.5", to milliseconds.
Check ParseWait(const std::string& text, unsigned* wait_ms);

// Fails when there is no such process or it is somebody else's.
Check CheckProcess(pid_t pid);

// Sends the request to the `uzswap run` that `pid` is or is under, and waits
// for the answer. Fails with a sentence when there is no such process, it is
// not under uzswap, it is somebody else's, or `uzswap run` does not answer or
// refuses.
Check AskRun(pid_t pid, const ControlRequest& request,
             nlohmann::ordered_json* reply);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_CLIENT_H_
