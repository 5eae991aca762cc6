// SPDX-License-Identifier: Apache-2.0
// --threads and --device, the same for every sub-command that computes.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "flags.hpp"

namespace CLI {
class App;
}

namespace foresight {
class Agent;
}

namespace foresight::cli {

struct MachineFlags {
  int threads = 0;  ///< 0: what LibTorch chooses
  std::string device = "cpu";

  void add(CLI::App& app);
  /// Sets the number of threads and opens the device; throws as open_device() does.
  at::Device apply() const;
};

/// What results say of precision where none was asked for.
inline constexpr const char* kAsSaved = "as saved";

/// --precision, of the commands that plan.
struct PrecisionFlag {
  std::string name;  ///< of models::InferencePrecision; empty: as the bundle was saved

  void add(CLI::App& app);
  /// Throws Error(unsupported) where the model cannot.
  void apply(Agent& agent) const;
  /// For results: "float32", "as saved".
  std::string told() const { return name.empty() ? kAsSaved : name; }
};

/// The options of an Agent (--sampling.*, --objective.*, --control.*, ...) and --config: how the
/// commands that plan do it, over what the bundle says.
void add_planner_options(CLI::App& app, OptionFlags& flags);

/// "AMD EPYC, 2 threads, LibTorch 2.13.0", a GPU's name before it.
std::string machine_description(at::Device device);

}  // namespace foresight::cli
