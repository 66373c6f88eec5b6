// SPDX-License-Identifier: Apache-2.0
// Opening what a file device writes to. Every descriptor is close-on-exec and
// moved up, out of the way of the program's own numbers (a shell that says
// `exec 3>x` must find 3 free).
#ifndef UZSWAP_DEVICE_BACKING_FILE_H_
#define UZSWAP_DEVICE_BACKING_FILE_H_

#include "base/page.h"
#include "base/status.h"

namespace uzswap::backing_file {

// ENOTDIR: path is something else. Others as open(2).
Result<int> OpenDirectory(const char* path);

// A new empty file without a name in `directory`, mode 0600.
Result<int> OpenUnlinked(int directory);
// The same for file systems without O_TMPFILE: a file of mode 0600 in a private
// directory (0700) that exist only between a few consecutive system calls.
Result<int> OpenAndUnlink(int directory);

// A regular empty file or a block device, locked. EBUSY: somebody else uses it.
// ENOTEMPTY: the file has content. EINVAL: neither file nor block device.
Result<int> OpenWhole(const char* path);
// Past the page cache from now on: what offsets, lengths and addresses must be
// multiples of (512 to kPageSize). 0: the file system does not do that; nothing
// has changed. REQUIRES: the file's content is not needed any more.
size_t MakeDirect(int fd);
// As high as the process may have it; never fails: at worst it stays.
int MoveUp(int fd);
// Pages that fit: of a block device its size, else without limit.
Result<PageCount> Capacity(int fd);
// Pages that RLIMIT_FSIZE lets a file have: a write past it would not only fail
// but send SIGXFSZ to the program.
PageCount FileSizeLimit();

}  // namespace uzswap::backing_file

#endif  // UZSWAP_DEVICE_BACKING_FILE_H_
