// SPDX-License-Identifier: Apache-2.0
// Structures that name more memory: vectors, message headers, waiters.
#include <linux/filter.h>

#include <algorithm>

#include "base/os.h"
#include "base/page.h"
#include "preload/pager_ops.h"
#include "preload/pinner.h"

namespace uzswap::preload {
namespace {

constexpr uint64_t kMaxIovecs = 1024;    // UIO_MAXIOV; more is EINVAL
constexpr uint64_t kMaxMessages = 1024;  // the kernel looks at no more
constexpr uint64_t kMaxWaiters = 128;    // FUTEX_WAITV_MAX
constexpr uint64_t kNameBytes = 128;     // sockaddr_storage
constexpr size_t kChunk = 16;

uint64_t Address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

}  // namespace

// A vector is shortened in front of the first buffer that is not wholly pinned;
// that buffer itself is cut only if nothing but empty ones precede it, because
// a transfer of nothing would read as the end of the file.
bool Pinner::PinIovecs(Iovecs vector, Iovecs* shorter) {
  if (vector.count > kMaxIovecs) return false;
  iovec chunk[kChunk];
  bool nothing_before = true;
  for (uint64_t done = 0; done < vector.count;) {
    const uint64_t n = std::min<uint64_t>(kChunk, vector.count - done);
    const size_t bytes = n * sizeof(iovec);
    if (Read(vector.array + done * sizeof(iovec), chunk, bytes) != bytes) {
      return false;
    }
    for (uint64_t k = 0; k < n; ++k) {
      const uint64_t base = Address(chunk[k].iov_base);
      const uint64_t usable = pins_.AddTransfer(base, chunk[k].iov_len);
      if (usable == chunk[k].iov_len) {
        if (usable > 0) nothing_before = false;
        continue;
      }
      *shorter = nothing_before ? Iovecs{pins_.ShortIovec(base, usable), 1}
                                : Iovecs{vector.array, done + k};
      return true;
    }
    done += n;
  }
  return false;
}

void Pinner::PinIovecArgument(int i, int count) {
  Iovecs shorter;
  if (PinIovecs({arguments_[i], arguments_[count]}, &shorter)) {
    Set(i, shorter.array);
    Set(count, shorter.count);
  }
}

// Some programs read themselves this way, to survive bad pointers as we do.
void Pinner::PinRemoteIovecs(uint64_t array, uint64_t count) {
  if (count > kMaxIovecs) return;
  pins_.Add(array, count * sizeof(iovec));
  const auto process = static_cast<int32_t>(arguments_[0]);
  if (process != os::ProcessId() && process != os::ThreadId()) return;
  iovec chunk[kChunk];
  for (uint64_t done = 0; done < count;) {
    const uint64_t n = std::min<uint64_t>(kChunk, count - done);
    const size_t bytes = n * sizeof(iovec);
    if (Read(array + done * sizeof(iovec), chunk, bytes) != bytes) return;
    for (uint64_t k = 0; k < n; ++k) {
      pins_.Add(Address(chunk[k].iov_base), chunk[k].iov_len);
    }
    done += n;
  }
}

bool Pinner::PinMessageParts(const msghdr& header, Iovecs* shorter) {
  // The kernel copies min(namelen, sockaddr_storage) either way.
  pins_.Add(Address(header.msg_name), header.msg_namelen == 0 ? 0 : kNameBytes);
  pins_.Add(Address(header.msg_control), header.msg_controllen);
  return PinIovecs({Address(header.msg_iov), header.msg_iovlen}, shorter);
}

void Pinner::PinMessage(int i, bool received) {
  mmsghdr message;
  msghdr& header = message.msg_hdr;
  message.msg_len = 0;
  if (Read(arguments_[i], &header, sizeof(header)) != sizeof(header)) return;
  Iovecs shorter;
  if (!PinMessageParts(header, &shorter)) return;
  header.msg_iov = reinterpret_cast<iovec*>(shorter.array);
  header.msg_iovlen = shorter.count;
  Set(i, pins_.ShortMessage(message, received ? arguments_[i] : 0, false));
}

// Messages are whole or not there: the batch ends in front of the first one
// that cannot be pinned. Only a first message that is too large is cut.
void Pinner::PinMessages(int i, int count) {
  const uint64_t array = arguments_[i];
  const uint64_t n = std::min(Count(static_cast<uint8_t>(count)), kMaxMessages);
  for (uint64_t k = 0; k < n; ++k) {
    mmsghdr message;
    const uint64_t address = array + k * sizeof(message);
    if (Read(address, &message, sizeof(message)) != sizeof(message)) return;
    Iovecs shorter;
    if (!PinMessageParts(message.msg_hdr, &shorter)) continue;
    if (k > 0) return Set(count & 7, k);
    message.msg_hdr.msg_iov = reinterpret_cast<iovec*>(shorter.array);
    message.msg_hdr.msg_iovlen = shorter.count;
    Set(i, pins_.ShortMessage(message, address, true));
    return Set(count & 7, 1);
  }
}

void Pinner::PinWaiters(uint64_t array, uint64_t count) {
  struct Waiter {  // struct futex_waitv
    uint64_t value;
    uint64_t word;
    uint32_t flags;
    uint32_t reserved;
  };
  if (count > kMaxWaiters) return;
  Waiter chunk[kChunk];
  for (uint64_t done = 0; done < count;) {
    const uint64_t n = std::min<uint64_t>(kChunk, count - done);
    const size_t bytes = n * sizeof(Waiter);
    if (Read(array + done * sizeof(Waiter), chunk, bytes) != bytes) return;
    for (uint64_t k = 0; k < n; ++k) pins_.Add(chunk[k].word, 8);
    done += n;
  }
}

void Pinner::PinSigset(uint64_t pair) {
  uint64_t set_and_size[2];
  if (Read(pair, set_and_size, sizeof(set_and_size)) != sizeof(set_and_size)) {
    return;
  }
  pins_.Add(set_and_size[0], sizeof(uint64_t));
}

void Pinner::PinProgram(uint64_t program) {
  sock_fprog header;
  if (Read(program, &header, sizeof(header)) != sizeof(header)) return;
  pins_.Add(Address(header.filter), header.len * sizeof(sock_filter));
}

void Pinner::PinXattrArgs(uint64_t address) {
  struct {  // struct xattr_args
    uint64_t value;
    uint32_t size;
    uint32_t flags;
  } arguments;
  if (Read(address, &arguments, sizeof(arguments)) != sizeof(arguments)) return;
  pins_.Add(arguments.value, arguments.size);
}

}  // namespace uzswap::preload
