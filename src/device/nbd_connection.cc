// SPDX-License-Identifier: Apache-2.0
#include "device/nbd_connection.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "base/os.h"

namespace uzswap {
namespace {

constexpr uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
constexpr uint64_t kOptionReplyMagic = 0x3e889045565a9;
constexpr uint32_t kRequestMagic = 0x25609513;
constexpr uint32_t kReplyMagic = 0x67446698;

constexpr uint16_t kFixedNewstyle = 1;  // handshake flag
constexpr uint32_t kClientFixedNewstyle = 1;
constexpr uint32_t kOptionGo = 7;
constexpr uint32_t kReplyAck = 1;
constexpr uint32_t kReplyInfo = 3;
constexpr uint32_t kReplyUnknownExport = 0x80000006;
constexpr uint16_t kInfoExport = 0;
constexpr uint16_t kInfoBlockSize = 3;
constexpr uint16_t kReadOnly = 1 << 1;  // transmission flag

constexpr uint16_t kCommandRead = 0;
constexpr uint16_t kCommandWrite = 1;
constexpr uint16_t kCommandDisconnect = 2;

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

// The protocol's numbers, most significant byte first.
template <typename T>
T Swap(T value) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

// Builds and reads messages of fixed size.
template <size_t N>
class Message {
 public:
  template <typename T>
  void Put(T value) {
    const T swapped = Swap(value);
    memcpy(&bytes_[at_], &swapped, sizeof(T));
    at_ += sizeof(T);
  }
  template <typename T>
  T Take() {
    T value;
    memcpy(&value, &bytes_[at_], sizeof(T));
    at_ += sizeof(T);
    return Swap(value);
  }
  std::span<std::byte> bytes() { return bytes_; }

 private:
  size_t at_ = 0;
  std::byte bytes_[N] = {};
};

// The protocol has error numbers of its own, which are Linux's.
Status FromAnswer(uint32_t error) {
  return Status::Error(error > 0 && error < 134 ? static_cast<int>(error)
                                                : EIO);
}

}  // namespace

// ---- bytes

Status NbdConnection::Wait(short events) {
  pollfd poll{.fd = fd_, .events = events, .revents = 0};
  timespec left{};
  const bool for_ever = deadline_ == ~Deadline{0};
  if (!for_ever) {
    const uint64_t now = os::MonotonicNs();
    if (now >= deadline_) return Status::Error(ETIMEDOUT);
    left.tv_sec = static_cast<time_t>((deadline_ - now) / 1000000000);
    left.tv_nsec = static_cast<long>((deadline_ - now) % 1000000000);
  }
  const int64_t r =
      os::Syscall(SYS_ppoll, Raw(&poll), 1, for_ever ? 0 : Raw(&left), 0, 0);
  if (r == 0) return Status::Error(ETIMEDOUT);
  return r == -EINTR || r > 0 ? kOk : Status::FromReturn(r);
}

Status NbdConnection::Send(std::span<const std::byte> bytes, bool more) {
  const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
  while (!bytes.empty()) {
    const int64_t r =
        os::Syscall(SYS_sendto, fd_, Raw(bytes.data()),
                    static_cast<int64_t>(bytes.size()), flags, 0, 0);
    if (r >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(r));
    } else if (r == -EAGAIN) {
      UZSWAP_RETURN_IF_ERROR(Wait(POLLOUT));
    } else if (r != -EINTR) {
      return Status::FromReturn(r);
    }
  }
  return kOk;
}

Status NbdConnection::Receive(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const int64_t r =
        os::Syscall(SYS_recvfrom, fd_, Raw(bytes.data()),
                    static_cast<int64_t>(bytes.size()), MSG_DONTWAIT, 0, 0);
    if (r > 0) {
      bytes = bytes.subspan(static_cast<size_t>(r));
    } else if (r == 0) {
      return Status::Error(ECONNRESET);
    } else if (r == -EAGAIN) {
      UZSWAP_RETURN_IF_ERROR(Wait(POLLIN));
    } else if (r != -EINTR) {
      return Status::FromReturn(r);
    }
  }
  return kOk;
}

Status NbdConnection::Skip(uint32_t bytes) {
  std::byte nothing[256];
  while (bytes > 0) {
    const auto n = std::min<uint32_t>(bytes, sizeof(nothing));
    UZSWAP_RETURN_IF_ERROR(Receive(std::span(nothing).first(n)));
    bytes -= n;
  }
  return kOk;
}

// ---- handshake

Status NbdConnection::Open(int fd, const NbdAddress& address,
                           Deadline deadline) {
  fd_ = fd;
  deadline_ = deadline;
  info_ = {.bytes = 0, .least_block = 1, .read_only = false};
  UZSWAP_RETURN_IF_ERROR(Connect(address));
  return Handshake(address);
}

Status NbdConnection::Connect(const NbdAddress& address) {
  const int64_t flags = os::Syscall(SYS_fcntl, fd_, F_GETFL);
  (void)os::Syscall(SYS_fcntl, fd_, F_SETFL, flags | O_NONBLOCK);
  if (address.tcp()) {
    const int on = 1;
    (void)os::Syscall(SYS_setsockopt, fd_, IPPROTO_TCP, TCP_NODELAY, Raw(&on),
                      sizeof(on));
    // A peer that is gone without a word is noticed, also without a timeout.
    (void)os::Syscall(SYS_setsockopt, fd_, SOL_SOCKET, SO_KEEPALIVE, Raw(&on),
                      sizeof(on));
  }
  const int64_t r =
      os::Syscall(SYS_connect, fd_, Raw(&address.socket), address.socket_bytes);
  if (r == 0) return kOk;
  if (r != -EINPROGRESS && r != -EINTR) return Status::FromReturn(r);
  UZSWAP_RETURN_IF_ERROR(Wait(POLLOUT));
  int error = 0;
  uint32_t bytes = sizeof(error);
  (void)os::Syscall(SYS_getsockopt, fd_, SOL_SOCKET, SO_ERROR, Raw(&error),
                    Raw(&bytes));
  return Status::Error(error);
}

Status NbdConnection::Handshake(const NbdAddress& address) {
  Message<18> hello;
  UZSWAP_RETURN_IF_ERROR(Receive(hello.bytes()));
  if (hello.Take<uint64_t>() != kServerMagic ||
      hello.Take<uint64_t>() != kOptionMagic ||
      (hello.Take<uint16_t>() & kFixedNewstyle) == 0) {
    return Status::Error(EPROTO);
  }
  Message<4> flags;
  flags.Put(kClientFixedNewstyle);
  UZSWAP_RETURN_IF_ERROR(Send(flags.bytes(), true));
  UZSWAP_RETURN_IF_ERROR(SendGo(address));
  return ReceiveInfos();
}

Status NbdConnection::SendGo(const NbdAddress& address) {
  Message<20> option;
  option.Put(kOptionMagic);
  option.Put(kOptionGo);
  option.Put(uint32_t{4 + address.export_bytes + 4});
  option.Put(address.export_bytes);
  UZSWAP_RETURN_IF_ERROR(Send(option.bytes(), true));
  UZSWAP_RETURN_IF_ERROR(
      Send(std::as_bytes(std::span(address.export_name, address.export_bytes)),
           true));
  Message<4> wishes;
  wishes.Put(uint16_t{1});
  wishes.Put(kInfoBlockSize);
  return Send(wishes.bytes(), false);
}

Status NbdConnection::ReceiveInfos() {
  for (;;) {
    Message<20> reply;
    UZSWAP_RETURN_IF_ERROR(Receive(reply.bytes()));
    if (reply.Take<uint64_t>() != kOptionReplyMagic ||
        reply.Take<uint32_t>() != kOptionGo) {
      return Status::Error(EPROTO);
    }
    const auto type = reply.Take<uint32_t>();
    const auto bytes = reply.Take<uint32_t>();
    if (type == kReplyInfo) {
      UZSWAP_RETURN_IF_ERROR(TakeInfo(bytes));
    } else if (type == kReplyAck) {
      UZSWAP_RETURN_IF_ERROR(Skip(bytes));
      return info_.bytes > 0 ? kOk : Status::Error(EPROTO);
    } else {
      return Status::Error(type == kReplyUnknownExport ? ENOENT : EPROTO);
    }
  }
}

Status NbdConnection::TakeInfo(uint32_t bytes) {
  if (bytes < 2) return Status::Error(EPROTO);
  Message<2> kind;
  UZSWAP_RETURN_IF_ERROR(Receive(kind.bytes()));
  bytes -= 2;
  const auto type = kind.Take<uint16_t>();
  if (type == kInfoExport && bytes >= 10) {
    Message<10> about;
    UZSWAP_RETURN_IF_ERROR(Receive(about.bytes()));
    info_.bytes = about.Take<uint64_t>();
    info_.read_only = (about.Take<uint16_t>() & kReadOnly) != 0;
    bytes -= 10;
  } else if (type == kInfoBlockSize && bytes >= 12) {
    Message<12> sizes;
    UZSWAP_RETURN_IF_ERROR(Receive(sizes.bytes()));
    info_.least_block = std::max(1u, sizes.Take<uint32_t>());
    bytes -= 12;
  }
  return Skip(bytes);
}

// ---- requests

Status NbdConnection::SendRequest(uint16_t type, uint64_t offset, size_t bytes,
                                  bool more) {
  Message<28> request;
  request.Put(kRequestMagic);
  request.Put(uint16_t{0});
  request.Put(type);
  request.Put(++cookie_);
  request.Put(offset);
  request.Put(static_cast<uint32_t>(bytes));
  return Send(request.bytes(), more);
}

Status NbdConnection::ReceiveReply(bool* answered) {
  Message<16> reply;
  UZSWAP_RETURN_IF_ERROR(Receive(reply.bytes()));
  const auto magic = reply.Take<uint32_t>();
  const auto error = reply.Take<uint32_t>();
  if (magic != kReplyMagic || reply.Take<uint64_t>() != cookie_) {
    return Status::Error(EPROTO);
  }
  if (error == 0) return kOk;
  // A server that goes down answers so before it closes.
  *answered = error != ESHUTDOWN;
  return FromAnswer(error);
}

Status NbdConnection::Read(uint64_t offset, std::span<std::byte> first,
                           std::span<std::byte> second, Deadline deadline,
                           bool* answered) {
  *answered = false;
  deadline_ = deadline;
  UZSWAP_RETURN_IF_ERROR(
      SendRequest(kCommandRead, offset, first.size() + second.size(), false));
  UZSWAP_RETURN_IF_ERROR(ReceiveReply(answered));
  UZSWAP_RETURN_IF_ERROR(Receive(first));
  UZSWAP_RETURN_IF_ERROR(Receive(second));
  *answered = true;
  return kOk;
}

Status NbdConnection::Write(uint64_t offset, std::span<const std::byte> bytes,
                            Deadline deadline, bool* answered) {
  *answered = false;
  deadline_ = deadline;
  UZSWAP_RETURN_IF_ERROR(
      SendRequest(kCommandWrite, offset, bytes.size(), true));
  UZSWAP_RETURN_IF_ERROR(Send(bytes, false));
  UZSWAP_RETURN_IF_ERROR(ReceiveReply(answered));
  *answered = true;
  return kOk;
}

void NbdConnection::Disconnect() {
  deadline_ = 0;  // nobody waits for this
  SendRequest(kCommandDisconnect, 0, 0, false).Ignore();
}

}  // namespace uzswap
