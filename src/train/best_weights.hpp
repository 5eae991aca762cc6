// SPDX-License-Identifier: Apache-2.0
// The weights of the best validation so far, in a file beside the checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace torch::nn {
class Module;
}

namespace foresight::train {

/// "<folder>/best.safetensors": parameters and buffers.
class BestWeights {
 public:
  explicit BestWeights(const std::filesystem::path& folder);

  bool exists() const;
  /// Why load() would refuse the file that exists; empty: it is what was written.
  std::string damage() const;
  void write(const torch::nn::Module& module, int64_t step, double value) const;
  /// Fills the module; the step at which the weights were written. Throws Error(bad_file) if they
  /// do not fit or are damaged.
  int64_t load(torch::nn::Module& module) const;

 private:
  std::filesystem::path path_;
};

}  // namespace foresight::train
