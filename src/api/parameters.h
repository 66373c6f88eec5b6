// SPDX-License-Identifier: Apache-2.0
// Parameters between the public calls and the engine. While no instance is open
// they are kept here; from then on they are the engine's (Zswap::parameters).
#ifndef UZSWAP_API_PARAMETERS_H_
#define UZSWAP_API_PARAMETERS_H_

#include <uzswap/uzswap.h>

#include "api/instance.h"

namespace uzswap {

// Into a new engine: what was recorded before, where `config` leaves it to the
// default. A value that cannot be had is reported, and the default stays (as
// the kernel falls back when it starts).
void TakeRecordedParameters(const uzswap_config& config, Instance* opened);
// The one that `config` names. Errors as those of the parameter. REQUIRES: the
// plug-ins are loaded.
Status SetConfiguredRecompressor(const uzswap_config& config, Instance* opened);
// uzswap_open failed; until one succeeds there is no engine to set up.
void NoteOpenFailed();

// Around a fork, before the pager's locks: no parameter is being set.
void PrepareForkParameters();
void ParentAfterForkParameters();
void ChildAfterForkParameters();

}  // namespace uzswap

#endif  // UZSWAP_API_PARAMETERS_H_
