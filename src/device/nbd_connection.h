// SPDX-License-Identifier: Apache-2.0
// One connection to an NBD server, as a client: fixed newstyle handshake with
// NBD_OPT_GO, simple replies, one request at a time. Our own, because it is
// used inside page faults: libnbd allocates memory and calls libc.
//
// Threads: one at a time; the caller sees to that. After any error but a
// server's answer the connection is of no more use.
// Comes from: the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md).
#ifndef UZSWAP_DEVICE_NBD_CONNECTION_H_
#define UZSWAP_DEVICE_NBD_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "device/nbd_address.h"

namespace uzswap {

// What the server says about the export.
struct NbdExport {
  uint64_t bytes;
  uint32_t least_block;  // requests must be multiples of it; 1: any
  bool read_only;
};

// A time on os::MonotonicNs; ~0: never.
using Deadline = uint64_t;

class NbdConnection {
 public:
  // `fd`: a new socket of the address's family, which stays the caller's; it is
  // not blocking afterwards. ENOENT: no export of that name. EPROTO: no NBD
  // server, or not one that we can talk to (TLS, oldstyle). ETIMEDOUT. Others
  // as connect(2).
  Status Open(int fd, const NbdAddress& address, Deadline deadline);

  // `*answered`: the status is the server's answer, the connection is fine.
  // EIO, ENOSPC and others are answers. ETIMEDOUT, ECONNRESET and others: lost.
  Status Read(uint64_t offset, std::span<std::byte> first,
              std::span<std::byte> second, Deadline deadline, bool* answered);
  Status Write(uint64_t offset, std::span<const std::byte> bytes,
               Deadline deadline, bool* answered);
  // Tells the server that this was all.
  void Disconnect();

  const NbdExport& info() const { return info_; }

 private:
  Status Send(std::span<const std::byte> bytes, bool more);
  Status Receive(std::span<std::byte> bytes);
  Status Wait(short events);
  Status Connect(const NbdAddress& address);
  Status Handshake(const NbdAddress& address);
  Status SendGo(const NbdAddress& address);
  Status ReceiveInfos();
  Status TakeInfo(uint32_t bytes);
  Status Skip(uint32_t bytes);
  Status SendRequest(uint16_t type, uint64_t offset, size_t bytes, bool more);
  Status ReceiveReply(bool* answered);

  int fd_ = -1;
  Deadline deadline_ = 0;
  uint64_t cookie_ = 0;
  NbdExport info_ = {};
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_NBD_CONNECTION_H_
