// SPDX-License-Identifier: Apache-2.0
#include "own_address.hpp"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace foresight::train {
namespace {

constexpr const char* kLoopback = "127.0.0.1";

bool is_loopback(const std::string& host) {
  return host.starts_with("127.") || host == "::1" || host == "localhost";
}

// Where a datagram to `to` would start from: connecting such a socket chooses the route and no
// more. Empty: nowhere.
std::string source_towards(const addrinfo& to) {
  const int socket = ::socket(to.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return "";
  sockaddr_storage own{};
  socklen_t length = sizeof(own);
  std::array<char, NI_MAXHOST> text{};
  auto* const address = reinterpret_cast<sockaddr*>(&own);
  const bool known = ::connect(socket, to.ai_addr, to.ai_addrlen) == 0 &&
                     ::getsockname(socket, address, &length) == 0 &&
                     ::getnameinfo(address, length, text.data(), text.size(), nullptr, 0,
                                   NI_NUMERICHOST) == 0;
  ::close(socket);
  return known ? text.data() : "";
}

// The first that is no loopback; empty: none.
std::string source_towards(const std::string& host, int64_t port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found) != 0) return "";
  std::string own;
  for (const auto* to = found; to != nullptr && own.empty(); to = to->ai_next)
    if (const auto from = source_towards(*to); !is_loopback(from)) own = from;
  ::freeaddrinfo(found);
  return own;
}

}  // namespace

std::string own_address(const std::string& host, int64_t port) {
  if (is_loopback(host)) return kLoopback;
  if (const auto own = source_towards(host, port); !own.empty()) return own;
  // Of a block that is kept for documentation (RFC 5737), so behind the default route.
  if (const auto own = source_towards("192.0.2.1", port); !own.empty()) return own;
  return kLoopback;
}

}  // namespace foresight::train
