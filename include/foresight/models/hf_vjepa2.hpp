// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 from and to Hugging Face folders: VJEPA2Model and VJEPA2ForVideoClassification
// (facebook/vjepa2-vitl-fpc64-256 and its relatives).
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/io/hf_folder.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/attentive_probe.hpp"
#include "foresight/models/vjepa2.hpp"

namespace foresight::models {

/// Options from a folder's config.json, checked against the shapes of its tensors before anything
/// is allocated; pictures are prepared as vjepa2_evaluation_pictures() of the folder says. Throws
/// Error: unsupported for another family or settings that are not known; invalid_option for a
/// crop_size of more than 2^20 tokens a clip;
/// bad_file for an unknown key or a size that the tensors contradict.
FORESIGHT_API VJepa2Options describe_hf_vjepa2(const io::HfFolder& folder);

/// Encoder and predictor, in float32, in inference mode, without the pooler and the last layer of a
/// classifier: load_hf_vjepa2_probe() reads them. Throws Error as
/// describe_hf_vjepa2(); bad_file for missing, unexpected or misshaped tensors. Hugging Face's
/// predictor always uses mask token 1. `placement` as in load_vjepa2(), but for queries, keys and
/// values, which the network has in one tensor and the folder in three: these are copied.
FORESIGHT_API std::shared_ptr<VJepa2> load_hf_vjepa2(const io::HfFolder& folder,
                                                     io::Placement placement = io::Placement::copy);

/// The attentive probe of a classifier's folder, in inference mode; null if it has none. Classes
/// have the names of config.json's "id2label"; values are what a folder with "problem_type"
/// "regression" has. Throws Error as load_hf_vjepa2(); bad_file for names that are not those of as
/// many classes as there are; unsupported for classes that do not exclude each other. `placement`
/// as there.
FORESIGHT_API std::shared_ptr<AttentiveProbe> load_hf_vjepa2_probe(
    const io::HfFolder& folder, io::Placement placement = io::Placement::copy);

/// The names of `classes` classes from a list, or from a table by number as "id2label" is
/// ({"0": "name", ...}). Throws Error(bad_file) that opens with `source` unless it names each once.
FORESIGHT_API std::vector<std::string> class_names(const nlohmann::json& table, int64_t classes,
                                                   const std::string& source);

/// Writes config.json and model.safetensors as VJEPA2Model.from_pretrained() reads them strictly,
/// with a probe as VJEPA2ForVideoClassification does. Throws Error(unsupported) for options that
/// the class lacks (require_layout(), published_vjepa2()) and for a network of single pictures;
/// invalid_argument for a probe of tokens of another width; otherwise as io::write_hf_folder().
FORESIGHT_API void write_hf_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                                   const AttentiveProbe* probe = nullptr);

}  // namespace foresight::models
