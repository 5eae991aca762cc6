// SPDX-License-Identifier: Apache-2.0
// Nested dictionaries of a pickle as one level of dotted names.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/io/torch_checkpoint.hpp"
#include "torch_pickle.hpp"

namespace foresight::io {

struct TorchNames {
  std::map<std::string, std::shared_ptr<const PickledTensor>, std::less<>> tensors;
  std::map<std::string, TorchScalar> scalars;
  std::vector<std::string> groups;
};

/// Throws Error(bad_file) for a name that occurs twice, and for nesting deeper or a total longer
/// than any state dict's (a pickle's values may refer to each other in circles);
/// Error(unsupported) for a dictionary key that is neither a text nor an integer.
TorchNames name_tensors(const Pickle& pickle, const std::string& file);

}  // namespace foresight::io
