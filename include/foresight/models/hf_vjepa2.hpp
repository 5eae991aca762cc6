// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 from and to Hugging Face folders: VJEPA2Model and VJEPA2ForVideoClassification
// (facebook/vjepa2-vitl-fpc64-256 and its relatives).
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/hf_folder.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/vjepa2.hpp"

namespace foresight::models {

/// Options from a folder's config.json, checked against the shapes of its tensors before anything
/// is allocated; pictures are prepared as vjepa2_evaluation_pictures() of the folder says. Throws
/// Error: unsupported for another family or settings that are not known;
/// bad_file for an unknown key or a size that the tensors contradict.
FORESIGHT_API VJepa2Options describe_hf_vjepa2(const io::HfFolder& folder);

/// Encoder and predictor, in float32, in inference mode. A classifier's pooler and last layer are
/// left out, with a log line; load_hf_vjepa2_probe() reads them. Throws Error as
/// describe_hf_vjepa2(); bad_file for missing, unexpected or misshaped tensors. Hugging Face's
/// predictor always uses mask token 1. `placement` as in load_vjepa2().
FORESIGHT_API std::shared_ptr<VJepa2> load_hf_vjepa2(const io::HfFolder& folder,
                                                     io::Placement placement = io::Placement::copy);

/// The attentive probe of a classifier's folder, in inference mode; null if it has none.
FORESIGHT_API std::shared_ptr<AttentiveProbe> load_hf_vjepa2_probe(const io::HfFolder& folder);

/// Writes config.json and model.safetensors as VJEPA2Model.from_pretrained() reads them strictly.
/// Throws Error(unsupported) for options that the class lacks (require_layout()) and for a network
/// of single pictures; otherwise as io::write_hf_folder().
FORESIGHT_API void write_hf_vjepa2(const std::filesystem::path& folder, const VJepa2& model);

}  // namespace foresight::models
