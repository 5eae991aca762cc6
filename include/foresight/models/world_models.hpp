// SPDX-License-Identifier: Apache-2.0
// Any world model from its bundle, by the family that config.json names.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/io/bundle.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::models {

/// One object seen as what it computes and as what holds its weights.
struct LoadedWorldModel {
  std::shared_ptr<WorldModel> model;
  std::shared_ptr<torch::nn::Module> module;  ///< to move, freeze or list the weights
};

/// A family and how to read its bundles.
struct WorldModelFamily {
  const char* name;  ///< BundleConfig::family
  LoadedWorldModel (*read)(const io::Bundle& bundle);
};

/// All families that read_world_model() knows.
FORESIGHT_API const std::vector<WorldModelFamily>& world_model_families();

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error(unsupported) for an unknown family, naming those that are known; otherwise as the
/// family's reader does.
FORESIGHT_API LoadedWorldModel read_world_model(const io::Bundle& bundle);
/// read_world_model() of the bundle in `folder`.
FORESIGHT_API LoadedWorldModel read_world_model(const std::filesystem::path& folder);

}  // namespace foresight::models
