// SPDX-License-Identifier: Apache-2.0
// Where an NBD export is. Host names are not looked up here: that needs libc,
// files and time; `uzswap run` does it.
//   nbd+unix:///EXPORT?socket=/PATH
//   nbd://1.2.3.4[:PORT]/EXPORT    nbd://[::1][:PORT]/EXPORT
// %XX stands for a byte. Comes from: the NBD URI specification.
#ifndef UZSWAP_DEVICE_NBD_ADDRESS_H_
#define UZSWAP_DEVICE_NBD_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>

#include "base/status.h"

namespace uzswap {

struct NbdAddress {
  static constexpr size_t kMaxExport = 256;

  union {
    sockaddr any;
    sockaddr_un unix_socket;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } socket;
  uint32_t socket_bytes;
  char export_name[kMaxExport];  // not terminated
  uint32_t export_bytes;

  bool tcp() const { return socket.any.sa_family != AF_UNIX; }
};

// It names an NBD export, whether well or badly.
bool IsNbd(const char* text);
// EINVAL: not one of the forms above. ENAMETOOLONG.
Status ParseNbdAddress(const char* text, NbdAddress* address);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_NBD_ADDRESS_H_
