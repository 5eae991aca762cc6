// SPDX-License-Identifier: Apache-2.0
// A bundle from a published LeWM or PLDM checkpoint, and back. The network's sizes are read from
// the tensors' shapes; what no tensor tells comes from the config.json beside them or from the
// caller, never from a guess.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "foresight/io/bundle.hpp"
#include "foresight/models/jepa_options.hpp"

namespace foresight::models {

/// Which of two equivalent layouts the encoder's keys are in (nn/hf_vit_keys.hpp).
enum class HfKeyLayout {
  older,  ///< transformers before 5.9: "encoder.encoder.layer.0.attention.attention.query"
  newer,  ///< transformers from 5.9 on: "encoder.layers.0.attention.q_proj"
};

/// What a checkpoint of LeWM or PLDM does not hold.
struct FORESIGHT_API LewmImportOptions {
  /// Limits and statistics of raw actions; mean and std must be given, since the network saw
  /// normalised actions. dim 0: the width of the action encoder over `block`.
  ActionSpace action = unknown_actions();
  ImageOptions image;   ///< statistics and resizing; size: that of the position table, or left
  int64_t history = 0;  ///< frames that the predictor looks at; 0: as many as it has positions
  int64_t encoder_heads = 0;    ///< 0: from config.json, or the published network's
  int64_t predictor_heads = 0;  ///< 0: from config.json, or the published network's

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("action", self.action, "limits and statistics of raw actions");
    visit("image", self.image, "statistics of pictures; size is read from the weights");
    visit("history", self.history, "frames that the predictor looks at; 0: all its positions");
    visit("encoder_heads", self.encoder_heads, "attention heads of the encoder; 0: known");
    visit("predictor_heads", self.predictor_heads, "attention heads of the predictor; 0: known");
  }
  /// Does not look at `action`, which is incomplete until the weights are read.
  std::vector<std::string> validate() const;

  /// Blocks of five raw actions, as published; dim 0.
  static ActionSpace unknown_actions();
};

/// A bundle that is not written yet; the tensors may be mapped from a file.
struct UnwrittenBundle {
  io::BundleConfig config;
  io::NamedTensors tensors;
};

/// The bundle of a state dict in either layout, with or without the training wrapper's "model.".
/// `upstream` is the published config.json, or null. Strict, and nothing is allocated before all
/// shapes are known to agree. `config.provenance` tells the layout. Throws Error: bad_file if the
/// tensors are not those of a LeWM, or contradict `upstream`; invalid_option for something that
/// must be given and is not.
FORESIGHT_API UnwrittenBundle import_lewm(const io::NamedTensors& tensors,
                                          const LewmImportOptions& options,
                                          const nlohmann::json& upstream, std::string_view source);

/// The weights of a bundle under the names of stable-worldmodel's LeWM or PLDM, unchanged, so that
/// load_state_dict(strict=True) takes them. Throws Error(unsupported), naming the setting, for a
/// Jepa that those classes cannot be, or that they would load and compute otherwise.
FORESIGHT_API io::NamedTensors export_lewm(const io::Bundle& bundle, HfKeyLayout layout);

/// The layout that a bundle was imported from; older for one that was trained here.
FORESIGHT_API HfKeyLayout imported_layout(const io::BundleConfig& config);

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::HfKeyLayout> {
  using E = foresight::models::HfKeyLayout;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"older", E::older}, {"newer", E::newer}}};
};
