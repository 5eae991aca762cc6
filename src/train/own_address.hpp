// SPDX-License-Identifier: Apache-2.0
// Under which address the other machines of a training reach this one.
#pragma once

#include <cstdint>
#include <string>

namespace foresight::train {

/// The numeric address from which this machine would speak to `host` (of rank 0). Where that is the
/// loopback, because `host` is this machine by a name that its /etc/hosts gives to the loopback,
/// as Debian's does: the one from which it would speak to the world. Sends nothing. A loopback
/// `host` (127.*, localhost, ::1), and a machine without a network: "127.0.0.1".
std::string own_address(const std::string& host, int64_t port);

}  // namespace foresight::train
