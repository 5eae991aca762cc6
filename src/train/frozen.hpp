// SPDX-License-Identifier: Apache-2.0
// Parameters that a run leaves alone, chosen by name.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::train {

/// While it exists, the parameters that fit one of the patterns require no gradient. "*" stands for
/// any characters, "?" for one. Throws Error(invalid_option) for a pattern that fits none.
class FrozenParameters {
 public:
  FrozenParameters(torch::nn::Module& module, const std::vector<std::string>& patterns);
  ~FrozenParameters();
  FrozenParameters(const FrozenParameters&) = delete;
  FrozenParameters& operator=(const FrozenParameters&) = delete;

 private:
  std::vector<Tensor> frozen_;
};

}  // namespace foresight::train
