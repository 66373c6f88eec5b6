// SPDX-License-Identifier: Apache-2.0
#ifndef UZSWAP_PRELOAD_LIBC_START_H_
#define UZSWAP_PRELOAD_LIBC_START_H_

namespace uzswap::preload {

// Runs libc's own constructors, which set environ, argv and the program's name.
// We come before them. A plug-in that is loaded now and needs libc would have
// the dynamic linker run them with what libc knows so far: nothing; and never
// again. They do the same when they run twice.
void InitialiseLibc(int argc, char** argv, char** environment);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_LIBC_START_H_
