// SPDX-License-Identifier: Apache-2.0
#include "machine_flags.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "foresight/control/agent.hpp"
#include "foresight/core/error.hpp"

namespace foresight::cli {

void MachineFlags::add(CLI::App& app) {
  app.add_option("--threads", threads, "threads for tensor operations; 0: LibTorch's choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--device", device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

at::Device MachineFlags::apply() const {
  if (threads > 0) at::set_num_threads(threads);
  if (device == "cpu") return at::kCPU;
  require(at::globalContext().hasCUDA(), ErrorCategory::unsupported,
          "--device cuda: no CUDA device is usable (a CPU build of LibTorch, or no driver)");
  return at::kCUDA;
}

void PrecisionFlag::add(CLI::App& app) {
  app.add_option("--precision", name,
                 "float32, bfloat16, or fixed16: integers of 16 bits, the fastest on CPUs without "
                 "bfloat16 instructions (default: as saved)")
      ->check(CLI::IsMember({"float32", "bfloat16", "fixed16"}));
}

void PrecisionFlag::apply(Agent& agent) const {
  using models::InferencePrecision;
  for (const auto& [known, precision] : EnumNames<InferencePrecision>::names)
    if (name == known) agent.compute_in(precision);
}

std::string machine_description() {
  std::string processor = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) {
      processor = line.substr(line.find(':') + 2);
      break;
    }
  return fmt::format("{}, {} threads, LibTorch {}", processor, at::get_num_threads(),
                     TORCH_VERSION);
}

}  // namespace foresight::cli
