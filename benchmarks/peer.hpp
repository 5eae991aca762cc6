// SPDX-License-Identifier: Apache-2.0
// The other implementation in a comparison: a Python script of this folder as a co-process that
// answers every line of JSON with one.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace foresight::benchmark {

class Peer {
 public:
  /// Starts `script` (a file of this folder) under the interpreter `python` and waits for the line
  /// in which it says what it is. Throws std::runtime_error when it stops.
  Peer(const std::string& python, const std::string& script) {
    std::array<int, 2> to{}, from{};
    if (pipe(to.data()) != 0 || pipe(from.data()) != 0) throw std::runtime_error("no pipe");
    child_ = fork();
    if (child_ == 0) {
      dup2(to[0], 0);
      dup2(from[1], 1);
      for (const int end : {to[0], to[1], from[0], from[1]}) close(end);
      const auto path = std::string(FORESIGHT_BENCHMARK_SCRIPTS) + "/" + script;
      execlp(python.c_str(), python.c_str(), path.c_str(), nullptr);
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    in_ = fdopen(to[1], "w");
    out_ = fdopen(from[0], "r");
    about = read();
  }
  ~Peer() {
    std::fclose(in_);
    std::fclose(out_);
    waitpid(child_, nullptr, 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  nlohmann::json ask(const nlohmann::json& request) {
    std::fprintf(in_, "%s\n", request.dump().c_str());
    std::fflush(in_);
    return read();
  }

  nlohmann::json about;  ///< versions, as the script says them

 private:
  nlohmann::json read() {
    std::string line;
    for (int c = std::fgetc(out_); c != '\n'; c = std::fgetc(out_)) {
      if (c == EOF) throw std::runtime_error("the Python peer stopped; see its message above");
      line += static_cast<char>(c);
    }
    return nlohmann::json::parse(line);
  }

  pid_t child_ = 0;
  std::FILE *in_ = nullptr, *out_ = nullptr;
};

}  // namespace foresight::benchmark
