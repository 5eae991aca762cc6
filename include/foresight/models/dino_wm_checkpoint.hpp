// SPDX-License-Identifier: Apache-2.0
// Weights of DINO-WM (gaoyuezhou/dino_wm) and of PreJEPA (stable-worldmodel), once they are plain
// tensors: both publish pickles of whole Python modules, whose state dicts must be saved first.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/io/load_tensors.hpp"
#include "foresight/models/dino_wm.hpp"

namespace foresight::models {

/// Whose names predictor and embeddings go by.
enum class DinoWmLayout {
  dino_wm,  ///< gaoyuezhou/dino_wm
  prejepa,  ///< stable-worldmodel: embeddings below extra_encoders, attention masks stored
};

/// The layout that a published file's names are in.
FORESIGHT_API DinoWmLayout dino_wm_layout(const io::NamedTensors& tensors);

/// What PreJEPA's config.json tells of its predictor: number of frames, depth, heads, widths and
/// dropout; all else stays. Null and files of other projects tell nothing.
FORESIGHT_API void read_prejepa_config(DinoWmOptions& options, const nlohmann::json& upstream);

/// Whether entry `key` ("heads") of its predictor is what `options` have: no flag overruled it.
FORESIGHT_API bool prejepa_config_told(const DinoWmOptions& options, const nlohmann::json& upstream,
                                       std::string_view key);

/// Throws Error(bad_file), opening with `config_name`, where a depth, mlp_dim or num_frames that
/// `options` have from it is not that of the weights.
FORESIGHT_API void check_prejepa_config(const DinoWmOptions& options,
                                        const nlohmann::json& upstream,
                                        const std::string& config_name,
                                        const io::NamedTensors& tensors);

/// Compares the sizes that `options` have with all matrices and tables of predictor and embeddings,
/// and of the backbone's own file, so that a model which is made then is no larger than its files.
/// Throws Error: invalid_option for options that are not valid; bad_file, opening with the source,
/// with all that does not fit.
FORESIGHT_API void check_dino_wm_sizes(const DinoWmOptions& options,
                                       const io::NamedTensors& tensors, std::string_view source,
                                       const io::NamedTensors& backbone,
                                       std::string_view backbone_source);

/// Fills in the attention heads that the weights `tensors` belong to, where the number or the width
/// of `predictor`'s is 0: shapes tell only their product. Where both are 0, one head if there is no
/// output projection, and the published 16 of 64 for a predictor of the published width and depth.
/// Throws Error: invalid_option, opening with `source`, where nothing tells them and for heads of
/// another product, naming `told_by`, the file that tells them; bad_file for tensors that are no
/// DINO-WM.
FORESIGHT_API void fill_predictor_heads(nn::PatchPredictorOptions& predictor,
                                        const io::NamedTensors& tensors, std::string_view source,
                                        std::string_view told_by = {});

/// Tensors that load_dino_wm() does not read: how many have each prefix ("decoder.").
FORESIGHT_API std::vector<std::pair<std::string, int64_t>> dino_wm_other_parts(
    const io::NamedTensors& tensors);

/// Copies predictor and embeddings into `model`; the backbone stays as it is. Keys: predictor.*,
/// action_encoder.* and proprio_encoder.* (PreJEPA: extra_encoders.action.*,
/// extra_encoders.proprio.*), below an optional "model." and without the marks of wrappers
/// (io::without_marks()). What belongs to other parts
/// (encoder, backbone, decoder) is left out; PreJEPA's stored attention masks must be those that
/// the model computes. Strict in everything else: throws Error(bad_file) as nn::load_state_dict()
/// does, also when two keys mean one tensor, and changes nothing then. The files hold no statistics
/// of actions and proprioception: put them into DinoWmOptions.
FORESIGHT_API void load_dino_wm(DinoWm& model, const io::NamedTensors& tensors,
                                std::string_view source);

/// Fills the model's encoder from a backbone's tensors, in any published layout
/// (nn/vit_layouts.hpp), below an optional "encoder.base_model.", "encoder.", "backbone." or
/// "model.". Tensors of other parts are left out if any has such a prefix. With
/// io::Placement::share float32 weights stay in the file that they are mapped from. Throws as
/// load_dino_wm().
FORESIGHT_API void load_dino_wm_backbone(DinoWm& model, const io::NamedTensors& tensors,
                                         std::string_view source,
                                         io::Placement placement = io::Placement::copy);

/// Predictor and embeddings under the names of `layout`, sharing memory with `model`; PreJEPA's
/// masks are made. Throws Error(unsupported) for a model that PreJEPA cannot be: actions that are
/// no channels, embeddings that are repeated.
FORESIGHT_API io::NamedTensors dino_wm_tensors(const DinoWm& model,
                                               DinoWmLayout layout = DinoWmLayout::dino_wm);

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::DinoWmLayout> {
  using E = foresight::models::DinoWmLayout;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"dino_wm", E::dino_wm}, {"prejepa", E::prejepa}}};
};
