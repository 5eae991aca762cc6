// SPDX-License-Identifier: Apache-2.0
#include "machine_flags.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>

#include "foresight/control/agent.hpp"
#include "foresight/core/device.hpp"

namespace foresight::cli {

void MachineFlags::add(CLI::App& app) {
  app.add_option("--threads", threads, "threads for tensor operations; 0: LibTorch's choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--device", device, "cpu, cuda or cuda:<number>")
      ->check([](const std::string& name) {
        return is_device_name(name) ? "" : "'" + name + "', expected cpu, cuda or cuda:<number>";
      })
      ->capture_default_str();
}

at::Device MachineFlags::apply() const {
  if (threads > 0) at::set_num_threads(threads);
  return open_device(device);
}

void PrecisionFlag::add(CLI::App& app) {
  app.add_option(
         "--precision", name,
         "float32, bfloat16; bfloat16_rechecked: float32's plan at nearly bfloat16's price; or "
         "fixed16: integers of 16 bits, the fastest on CPUs without bfloat16 instructions "
         "(default: as saved)")
      ->check(CLI::IsMember({"float32", "bfloat16", "bfloat16_rechecked", "fixed16"}));
}

void PrecisionFlag::apply(Agent& agent) const {
  using models::InferencePrecision;
  for (const auto& [known, precision] : EnumNames<InferencePrecision>::names)
    if (name == known) agent.compute_in(precision);
}

void add_planner_options(CLI::App& app, OptionFlags& flags) {
  add_options(app, AgentOptions{}, flags);
  add_note(app,
           "--sampling.*, --objective.*, --control.*: the values shown hold unless the bundle says "
           "others, which `foresight inspect` shows (planner).");
  add_note(app, "Means and deviations (std) of --sampling.* are in normalised action units.");
}

std::string machine_description(at::Device device) {
  const auto gpu = device.is_cuda() ? device_name(device) + ", " : std::string();
  return fmt::format("{}{}, {} threads, LibTorch {}", gpu, device_name(at::kCPU),
                     at::get_num_threads(), TORCH_VERSION);
}

}  // namespace foresight::cli
