// SPDX-License-Identifier: Apache-2.0
// Any known model from a Hugging Face folder, by the model_type in its config.json.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/io/hf_folder.hpp"
#include "foresight/io/load_tensors.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::models {

/// One family of Hugging Face models and how to load it.
struct HfFamily {
  const char* model_type;  ///< "dinov2"
  const char* module;      ///< what it becomes
  std::shared_ptr<torch::nn::Module> (*load)(const io::HfFolder& from,
                                             io::Placement placement);  ///< strict
};

/// All families that load_hf_model() knows.
FORESIGHT_API const std::vector<HfFamily>& hf_families();

/// A model and what it is.
struct HfModel {
  std::string model_type;
  std::shared_ptr<torch::nn::Module> module;  ///< e.g. an nn::Vit; see HfFamily::module
};

/// Loads the model in `folder`, in float32, in inference mode. With io::Placement::share the
/// weights of float32 files stay there, mapped. Throws Error(unsupported) for a model_type that is
/// not known, naming those that are; otherwise as the family's loader does.
FORESIGHT_API HfModel load_hf_model(const std::filesystem::path& folder,
                                    io::Placement placement = io::Placement::copy);

}  // namespace foresight::models
