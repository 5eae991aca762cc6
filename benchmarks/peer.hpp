// SPDX-License-Identifier: Apache-2.0
// The other implementation in a comparison: a Python script of this folder as a co-process that
// answers every line of JSON with one.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "measurement.hpp"

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

/// The arguments of a benchmark beside a peer: `[--device cpu|cuda] [<python>, or - for no peer]
/// [<number>...]`.
class PeerArguments {
 public:
  /// Throws std::runtime_error for a device that is not there or another option.
  PeerArguments(int count, const char* const* values) {
    for (int i = 0; i < count; ++i) {
      const std::string value = values[i];
      if (value == "--device")
        device_ = open_device(++i < count ? values[i] : "");
      else if (value.starts_with("--"))
        throw std::runtime_error("unknown option '" + value +
                                 "', accepted: --device cpu|cuda, then what benchmarks/README.md "
                                 "lists");
      else
        positional_.push_back(value);
    }
  }

  /// Where both sides compute.
  at::Device device() const { return device_; }
  int number(std::size_t index, int otherwise) const {
    return positional_.size() > index ? std::stoi(positional_[index]) : otherwise;
  }
  std::unique_ptr<Peer> start(const std::string& script) const {
    const auto python = positional_.size() > 1 ? positional_[1] : "python3";
    return python == "-" ? nullptr : std::make_unique<Peer>(python, script);
  }

 private:
  std::vector<std::string> positional_;  // the program's name first
  at::Device device_ = at::kCPU;
};

/// main() of such a benchmark: prints what `measured(arguments)` reports, the device and the
/// machine it is from.
template <class Measured>
int report_beside_peer(const std::string& name, int count, const char* const* values,
                       Measured&& measured) try {
  const PeerArguments arguments(count, values);
  nlohmann::json report{{"benchmark", name},
                        {"device", arguments.device().str()},
                        {"machine", machine(arguments.device())}};
  // Both sides have them. Without, ours keeps freed memory by itself (core/memory.hpp).
  for (const char* variable : {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"})
    if (const char* value = std::getenv(variable)) report["environment"][variable] = value;
  report.update(measured(arguments));
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_" << name << ": " << error.what() << "\n";
  return 1;
}

}  // namespace foresight::benchmark
