// SPDX-License-Identifier: Apache-2.0
// The sizes that a bundle's config.json names are compared with the shapes of its tensors before a
// network is made, so that it is no larger than its file. What is not compared here is bounded by
// what is.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "family_bundle.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/dino_wm_options.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/models/vjepa2_ac_options.hpp"
#include "saved_module.hpp"

namespace foresight::models {

/// Throws Error(bad_file), opening with `source`, unless the tensors have these sizes. `part` opens
/// the names of the encoder's tensors: "encoder." or "". Options are valid.
void expect_sizes(const io::NamedTensors& tensors, std::string_view part,
                  const nn::VitOptions& options, int64_t image_size, std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const DinoWmOptions& options,
                  std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const VJepa2Options& options,
                  std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const VJepa2AcOptions& options,
                  std::string_view source);

/// The model of a bundle with these options: sizes are compared, then it is made without drawing
/// weights and filled as fill_from_bundle() does.
template <class Model, class Options>
std::shared_ptr<Model> read_sized(const io::Bundle& bundle, const Options& options,
                                  io::Placement placement) {
  const auto tensors = bundle.model_tensors();
  expect_sizes(tensors, options, bundle_name(bundle));
  auto model = std::make_shared<Model>(options, std::nullopt);
  fill_from_bundle(*model, tensors, bundle_name(bundle), placement);
  return model;
}

}  // namespace foresight::models
