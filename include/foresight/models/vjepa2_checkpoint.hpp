// SPDX-License-Identifier: Apache-2.0
// Weights of V-JEPA 2, V-JEPA 2-AC, their probes and I-JEPA in the layouts in which they are
// published: the original checkpoints (wrappers "module." and "backbone.") and Hugging Face's
// VJEPA2Model and IJepaModel.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "foresight/io/load_tensors.hpp"
#include "foresight/models/attentive_probe.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/models/vjepa2_ac.hpp"

namespace foresight::models {

/// Which of an original checkpoint's two encoders: their weights differ.
enum class EncoderWeights {
  online,  ///< "encoder", the one that gradients reached; what torch.hub loads
  target,  ///< "target_encoder", its moving average; what the published evaluations use
};

/// An original key without the wrappers "module." and "backbone.", wherever they stand:
/// "encoder.module.backbone.norm.weight" -> "encoder.norm.weight".
FORESIGHT_API std::string vjepa2_key(std::string_view key);

/// The tensors of one part ("encoder", "target_encoder", "predictor") of a flattened original
/// checkpoint under our names below that part, sharing memory. Position tables are left out where
/// `positions` is rope: released files hold them although nothing reads them. I-JEPA's
/// "mask_token" becomes our "mask_tokens.0". Throws Error(bad_file) if there are none, naming the
/// parts that are there.
FORESIGHT_API io::NamedTensors vjepa2_part(const io::NamedTensors& checkpoint,
                                           std::string_view part, nn::PositionKind positions,
                                           std::string_view source);

/// Puts encoder and predictor of an original checkpoint into `model`. Strict: throws
/// Error(bad_file) as nn::load_state_dict() does and changes nothing then. io::Placement::share
/// spares a network of gigabytes that is only converted its second copy.
FORESIGHT_API void load_vjepa2(VJepa2& model, const io::NamedTensors& checkpoint,
                               EncoderWeights encoder, std::string_view source,
                               io::Placement placement = io::Placement::copy);

/// Puts encoder and predictor of an original V-JEPA 2-AC checkpoint into `model`, as
/// load_vjepa2(). (The public file's two encoders are equal: see same_encoders().)
FORESIGHT_API void load_vjepa2_ac(VJepa2Ac& model, const io::NamedTensors& checkpoint,
                                  EncoderWeights encoder, std::string_view source,
                                  io::Placement placement = io::Placement::copy);

/// Whether a flattened original checkpoint has both encoders with the same names, types and
/// numbers, so that it does not matter which is read. Reads both.
FORESIGHT_API bool same_encoders(const io::NamedTensors& checkpoint);

/// What an original file of probes does not tell, or leaves to choose.
struct ProbeFileOptions {
  int64_t which = -1;  ///< of several probes; -1: the only one
  int64_t heads = 16;  ///< attention heads, as published
};

/// Of a file of probes the tensors of one, in the file's types, as its class names them. `which`:
/// ProbeFileOptions::which. Throws Error(invalid_option) as load_vjepa2_probe().
FORESIGHT_API io::NamedTensors vjepa2_probe_tensors(const io::NamedTensors& file, int64_t which,
                                                    std::string_view source);

/// A probe that V-JEPA 2's own evaluation code trained: a state dict (pooler.*, linear.*, below
/// "module."), or one of a list under "classifiers", which holds a probe for every pair of rate and
/// decay that was tried. In inference mode; classes are without names. Strict: throws
/// Error(bad_file) as nn::load_state_dict(); invalid_option for a list of several where none is
/// chosen, for a number that is not in it, and for heads that do not divide the width.
FORESIGHT_API std::shared_ptr<AttentiveProbe> load_vjepa2_probe(
    const io::NamedTensors& file, std::string_view source, const ProbeFileOptions& options = {});

/// Whose names the tensors of a V-JEPA 2 or an I-JEPA go by.
enum class VJepa2Layout {
  original,      ///< the checkpoints of their own code, without wrappers
  transformers,  ///< VJEPA2Model; of a network for pictures the encoder alone, as IJepaModel
};

/// Throws Error(unsupported), naming the setting, unless the code that uses `layout` computes what
/// a network of these options does: the names alone would fit, and every feature be wrong.
FORESIGHT_API void require_layout(const VJepa2Options& options, VJepa2Layout layout);
/// The same for V-JEPA 2-AC, which has its own code's names alone.
FORESIGHT_API void require_layout(const VJepa2AcOptions& options);

/// The tensors `own` of such a network under the names of `layout`, sharing memory but for mask
/// tokens. Throws Error as require_layout().
FORESIGHT_API io::NamedTensors published_vjepa2(const VJepa2Options& options,
                                                const io::NamedTensors& own, VJepa2Layout layout);

/// The same for a network and a probe behind it: the tensors of both, as a
/// VJEPA2ForVideoClassification has them, or pooler.* and linear.* beside the network's own names.
/// Throws Error(unsupported) also for a probe that the code would build otherwise: feed-forward
/// parts that are not four times as wide as the tokens; in transformers another number of heads
/// than the encoder's, and an encoder of pictures, whose class there has no such probe. An epsilon
/// of another size than the code's is a warning: it changes outputs by about its own size.
FORESIGHT_API io::NamedTensors published_vjepa2(const VJepa2Options& options,
                                                const io::NamedTensors& own,
                                                const AttentiveProbeOptions& probe,
                                                const io::NamedTensors& probe_tensors,
                                                VJepa2Layout layout);

/// Numbers of attention heads, which no tensor's shape tells; 0: the published one of the width.
struct AttentionHeads {
  int64_t encoder = 0;
  int64_t predictor = 0;
};

/// What the tensors of an original checkpoint do not tell, or only by halves.
struct VJepa2FileOptions {
  AttentionHeads heads;
  /// Of the encoder and the masked predictor of clips. Not given: rotary, as in all released files,
  /// which hold an unused table of added ones as well; a network of other sizes with such a table
  /// may use it.
  std::optional<nn::PositionKind> positions;
  /// V-JEPA 2-AC: whether a frame has a token for the camera's place, whose layer every file holds.
  /// Not given: it has none, unless that layer was trained.
  std::optional<bool> extrinsics;
};

/// Whether the encoder of an original checkpoint takes single pictures, as I-JEPA's; false for one
/// of clips and where there is no encoder.
FORESIGHT_API bool takes_pictures(const io::NamedTensors& checkpoint);

/// Options of an original checkpoint of V-JEPA 2 or I-JEPA from the shapes of its tensors and, for
/// what shapes do not tell, the published sizes: heads by width (1024: 16, 1280: 16, 1408: 22;
/// predictor 384: 12; I-JEPA 1280 and 1408: 16, its predictor as many). `image_size` in pixels; 0:
/// as I-JEPA's positions tell. Pictures are cut as the published evaluations cut them
/// (hf_preprocessing.hpp). Throws Error: unsupported for a width that was never published where
/// `given` does not say; invalid_option for heads that do not divide it, for clips without
/// `image_size`, for one that is no multiple of the patch or makes more than 2^20 tokens of a clip,
/// for a table of positions that may or may not be used (see VJepa2FileOptions) and for positions
/// that pictures do not have; bad_file for a table that is not of such pictures, for tensors of
/// sizes that contradict each other, with all else that does not fit, and for a file without an
/// encoder or a predictor, naming the parts that it has.
FORESIGHT_API VJepa2Options describe_vjepa2(const io::NamedTensors& checkpoint, int64_t image_size,
                                            std::string_view source,
                                            const VJepa2FileOptions& given = {});
/// The same for V-JEPA 2-AC (predictor 1024: 16 heads), which sees the middle of wide pictures
/// (kVJepa2AcAspect). Its predictor's positions are rotary; history, window and the rest are as
/// released: no file tells them. Throws invalid_option also where a layer for the camera's place
/// was trained and `given` does not say whether it is used.
FORESIGHT_API VJepa2AcOptions describe_vjepa2_ac(const io::NamedTensors& checkpoint,
                                                 int64_t image_size, std::string_view source,
                                                 const VJepa2FileOptions& given = {});

/// Tensors named as in Hugging Face's VJEPA2Model or VJEPA2ForVideoClassification under our names
/// (encoder.*, predictor.*, pooler.*, linear.*): queries, keys and values fused, mask tokens
/// apart. Names of none of them are returned unchanged, so that the strict loader names them. What
/// is fused is a copy, the others share memory. `own`: tensors of a network under our names. What
/// is fused is written into that of its name, if it has the shape, in its type, and is that one:
/// what a network of gigabytes is to hold is not in memory twice then.
FORESIGHT_API io::NamedTensors vjepa2_from_hf(const io::NamedTensors& tensors,
                                              const io::NamedTensors& own = {});
/// The reverse. `prefix` goes before encoder.* and predictor.*: "vjepa2." for classifiers.
FORESIGHT_API io::NamedTensors vjepa2_to_hf(const io::NamedTensors& tensors,
                                            std::string_view prefix = {});

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::EncoderWeights> {
  using E = foresight::models::EncoderWeights;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"online", E::online}, {"target", E::target}}};
};
template <>
struct foresight::EnumNames<foresight::models::VJepa2Layout> {
  using E = foresight::models::VJepa2Layout;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"original", E::original}, {"transformers", E::transformers}}};
};
