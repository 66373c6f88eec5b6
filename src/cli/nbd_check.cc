// SPDX-License-Identifier: Apache-2.0
#include "cli/nbd_check.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <libnbd.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>

namespace uzswap::cli {
namespace {

constexpr char kUnix[] = "nbd+unix:///";
constexpr char kTcp[] = "nbd://";
constexpr char kForms[] =
    "write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH";

Failure Backing(const std::string& uri, const std::string& why) {
  return {"--backing '" + uri + "' " + why};
}

// Loaded only when it is needed: it brings a TLS and an XML library along, and
// every start of `uzswap` would load it and all that it needs.
struct Library {
  decltype(&nbd_create) create;
  decltype(&nbd_close) close;
  decltype(&nbd_get_error) get_error;
  decltype(&nbd_set_uri_allow_tls) set_uri_allow_tls;
  decltype(&nbd_connect_uri) connect_uri;
  decltype(&nbd_get_size) get_size;
  decltype(&nbd_is_read_only) is_read_only;
  decltype(&nbd_get_block_size) get_block_size;
  decltype(&nbd_shutdown) shutdown;

  bool Load() {
    void* const handle = dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return false;
    const auto get = [handle](const char* name, auto* to) {
      *to = reinterpret_cast<std::remove_pointer_t<decltype(to)>>(
          dlsym(handle, name));
      return *to != nullptr;
    };
    return get("nbd_create", &create) && get("nbd_close", &close) &&
           get("nbd_get_error", &get_error) &&
           get("nbd_set_uri_allow_tls", &set_uri_allow_tls) &&
           get("nbd_connect_uri", &connect_uri) &&
           get("nbd_get_size", &get_size) &&
           get("nbd_is_read_only", &is_read_only) &&
           get("nbd_get_block_size", &get_block_size) &&
           get("nbd_shutdown", &shutdown);
  }
  // "nbd_connect_uri: connect: Connection refused" without the function.
  std::string Error() const {
    const char* const text = get_error();
    if (text == nullptr) return "unknown error";
    const char* const colon = std::strchr(text, ':');
    return colon != nullptr ? colon + 2 : text;
  }
};

struct Parts {
  std::string host;  // no brackets
  std::string port;
  std::string rest;  // "/EXPORT"
};

bool SplitTcp(const std::string& uri, Parts* parts) {
  const std::string text = uri.substr(sizeof(kTcp) - 1);
  const size_t slash = std::min(text.find('/'), text.size());
  std::string where = text.substr(0, slash);
  parts->rest = slash < text.size() ? text.substr(slash) : "/";
  parts->port = "10809";
  const size_t colon = where.rfind(':');
  if (colon != std::string::npos &&
      where.find(']', colon) == std::string::npos) {
    parts->port = where.substr(colon + 1);
    where.resize(colon);
  }
  if (where.starts_with('[') && where.ends_with(']')) {
    where = where.substr(1, where.size() - 2);
  }
  parts->host = where;
  return !where.empty() && !parts->port.empty();
}

// In place of the name the first number that a connection could be made to.
Check Resolve(std::string* uri) {
  Parts parts;
  if (!SplitTcp(*uri, &parts)) {
    return Backing(*uri, std::string("names no host; ") + kForms);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(parts.host.c_str(), parts.port.c_str(), &hints, &found);
  if (error != 0) {
    return Backing(*uri, "cannot be found: host '" + parts.host +
                             "': " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found,
                                                            &freeaddrinfo);
  int last = ECONNREFUSED;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    const int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    const bool connected = connect(fd, a->ai_addr, a->ai_addrlen) == 0;
    last = errno;
    close(fd);
    if (!connected) continue;
    char number[INET6_ADDRSTRLEN];
    char port[8];
    getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof(number), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    const bool v6 = a->ai_family == AF_INET6;
    *uri = std::string(kTcp) + (v6 ? "[" : "") + number + (v6 ? "]:" : ":") +
           port + parts.rest;
    return {};
  }
  return Backing(*uri, std::string("cannot be connected to: ") +
                           std::strerror(last) +
                           "; is the server running there?");
}

Check Look(const std::string& uri, uint64_t* bytes) {
  Library library;
  if (!library.Load()) {
    return Failure{
        "an NBD export cannot be looked at without libnbd.so.0; install it "
        "(Debian: libnbd0)"};
  }
  const std::unique_ptr<nbd_handle, decltype(&nbd_close)> nbd(library.create(),
                                                              library.close);
  if (nbd == nullptr) return Backing(uri, "cannot be looked at: no memory");
  library.set_uri_allow_tls(nbd.get(), LIBNBD_TLS_DISABLE);
  if (library.connect_uri(nbd.get(), uri.c_str()) != 0) {
    return Backing(uri, "cannot be connected to: " + library.Error());
  }
  const int64_t size = library.get_size(nbd.get());
  const int read_only = library.is_read_only(nbd.get());
  const int64_t least = library.get_block_size(nbd.get(), LIBNBD_SIZE_MINIMUM);
  library.shutdown(nbd.get(), 0);
  if (size < 0) return Backing(uri, "has no size: " + library.Error());
  if (read_only != 0) {
    return Backing(uri, "is read-only; give one that can be written to");
  }
  if (least > 4096) {
    return Backing(uri, "wants blocks of " + std::to_string(least) +
                            " bytes; at most 4096 will do");
  }
  *bytes = static_cast<uint64_t>(size);
  return {};
}

}  // namespace

bool IsNbdUri(const std::string& text) {
  return text.starts_with("nbd:") || text.starts_with("nbd+") ||
         text.starts_with("nbds:") || text.starts_with("nbds+");
}

Check CheckNbd(std::string* uri, uint64_t* bytes) {
  if (uri->starts_with("nbds")) {
    return Backing(*uri,
                   "asks for TLS, which uzswap does not do (pages are "
                   "encrypted in any case); use nbd:// or nbd+unix://");
  }
  if (uri->starts_with(kTcp)) {
    if (Check c = Resolve(uri)) return c;
  } else if (!uri->starts_with(kUnix) ||
             uri->find("?socket=/") == std::string::npos) {
    return Backing(*uri, std::string("is not an NBD address; ") + kForms);
  }
  return Look(*uri, bytes);
}

// The kernel frees the name with the last process that has the descriptor.
Check ClaimNbd(const std::string& uri, int* descriptor) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  const std::string text =
      "uzswap-nbd-" + std::to_string(std::hash<std::string>()(uri));
  std::memcpy(name.sun_path + 1, text.data(), text.size());
  *descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto bytes =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  if (*descriptor >= 0 &&
      bind(*descriptor, reinterpret_cast<sockaddr*>(&name), bytes) == 0) {
    return {};
  }
  if (errno != EADDRINUSE) {
    return Backing(uri,
                   std::string("cannot be claimed: ") + std::strerror(errno));
  }
  return Backing(uri,
                 "is in use by another `uzswap run`, whose pages would be "
                 "overwritten; give each its own export");
}

}  // namespace uzswap::cli
