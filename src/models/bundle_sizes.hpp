// SPDX-License-Identifier: Apache-2.0
// The sizes that a bundle's config.json names are compared with the shapes of its tensors before a
// network is made, so that it is no larger than its file. What is not compared here is bounded by
// what is.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "checkpoint_sizes.hpp"
#include "family_bundle.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/attentive_probe.hpp"
#include "foresight/models/dino_wm_options.hpp"
#include "foresight/models/eb_jepa_options.hpp"
#include "foresight/models/jepa_options.hpp"
#include "foresight/models/lejepa.hpp"
#include "foresight/models/position_probe.hpp"
#include "foresight/models/value_critic.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/models/vjepa2_ac_options.hpp"
#include "saved_module.hpp"

namespace foresight::models {

/// Throws Error(bad_file), opening with `source`, unless the tensors have these sizes. `part` opens
/// the names of the encoder's tensors: "encoder." or ""; `options`, how messages open the names of
/// its options. A head's tensors are without their prefix. Options are valid. `reason`: where sizes
/// are from, as messages end. With `faults`, which then gets what does not fit, nothing of it is
/// thrown but a number of layers beyond that of all tensors, and all matrices and tables are
/// compared.
void expect_sizes(const io::NamedTensors& tensors, std::string_view part, const nn::VitOptions& o,
                  int64_t image_size, std::string_view source,
                  std::string_view options = "options.encoder.",
                  std::string_view reason = kFromConfig, SizeFaults* faults = nullptr);
void expect_sizes(const io::NamedTensors& tensors, const DinoWmOptions& o, std::string_view source);
/// The same of predictor and embeddings alone, under the names of DinoWm.
void expect_trained_sizes(const io::NamedTensors& tensors, const DinoWmOptions& o,
                          std::string_view source, std::string_view options = "options.",
                          std::string_view reason = kFromConfig, SizeFaults* faults = nullptr);
void expect_sizes(const io::NamedTensors& tensors, const VJepa2Options& o, std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const VJepa2AcOptions& o,
                  std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const JepaOptions& o, std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const EbJepaOptions& o, std::string_view source,
                  std::string_view reason = kFromConfig, SizeFaults* faults = nullptr);
void expect_sizes(const io::NamedTensors& tensors, const LeJepaOptions& o, std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const ValueCriticOptions& o,
                  std::string_view source);
void expect_sizes(const io::NamedTensors& tensors, const PositionProbeOptions& o,
                  std::string_view source);
/// `width`: of the tokens.
void expect_sizes(const io::NamedTensors& tensors, int64_t width, const AttentiveProbeOptions& o,
                  std::string_view source);
/// Of an encoder alone, its tensors below "encoder.".
void expect_sizes(const io::NamedTensors& tensors, const nn::VideoVitOptions& o,
                  std::string_view source);

/// The module of these sizes: they are compared, then it is made without drawing weights and filled
/// as fill_from_bundle() does.
template <class Module, class... Sizes>
std::shared_ptr<Module> made_of(const io::NamedTensors& tensors, const std::string& source,
                                io::Placement placement, const Sizes&... sizes) {
  expect_sizes(tensors, sizes..., source);
  auto module = std::make_shared<Module>(sizes..., std::nullopt);
  fill_from_bundle(*module, tensors, source, placement);
  return module;
}

/// The model of a bundle with these options, which is found whole first.
template <class Model, class Options>
std::shared_ptr<Model> read_sized(const io::Bundle& bundle, const Options& options,
                                  io::Placement placement = io::Placement::copy) {
  require_whole(bundle);
  return made_of<Model>(bundle.model_tensors(), bundle_name(bundle), placement, options);
}

/// The head `name` of a bundle, of these sizes: its options, and what else it is made with. Not
/// compared with the checksum, which is of all the bundle's tensors together.
template <class Head, class... Sizes>
std::shared_ptr<Head> read_sized_head(const io::Bundle& bundle, const char* name,
                                      const Sizes&... sizes) {
  return made_of<Head>(bundle.head_tensors(name), head_name(bundle_name(bundle), name),
                       io::Placement::copy, sizes...);
}

}  // namespace foresight::models
