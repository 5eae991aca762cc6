// SPDX-License-Identifier: Apache-2.0
// What `foresight train` does alike for all families: where a run goes, how it meets other
// processes, and what is said at its end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "foresight/train/data_parallel.hpp"
#include "foresight/train/learn.hpp"
#include "machine_flags.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

struct RunFlags {
  std::string out, steps;
  bool resume = false;
  train::ProcessGroupOptions processes;
  MachineFlags machine;

  void add(CLI::App& command);
};

/// This process, the others that torchrun, srun or a loop started, and the device to compute on.
struct TrainingMachine {
  std::unique_ptr<train::DataParallel> processes;  ///< null: it is alone
  at::Device device = at::kCPU;

  explicit TrainingMachine(const RunFlags& flags);
  /// Whether this process is the one that writes and prints.
  bool speaks() const { return !processes || processes->rank() == 0; }
};

/// "data: 20 episodes, 4000 frames of 64x64".
void print_data(const data::Dataset& dataset);

/// What a finished run made. Throws Error(non_finite) for one that diverged.
void print_run(const train::LearnResult& result, const RunFlags& flags,
               const TrainingMachine& machine);

void add_train_families(CLI::App& app);

}  // namespace foresight::cli
