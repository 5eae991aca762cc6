// SPDX-License-Identifier: Apache-2.0
// The command as a user meets it: a process, its output and its exit code.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "catch.hpp"

namespace foresight {

struct CommandResult {
  int code = -1;
  std::string output;  ///< both streams
};

inline CommandResult foresight_command(const std::string& arguments) {
  const auto line = std::string(FORESIGHT_BINARY_DIR) + "/bin/foresight " + arguments + " 2>&1";
  CommandResult result;
  auto* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    result.output.append(buffer, n);
  const int status = pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return result;
}

}  // namespace foresight
