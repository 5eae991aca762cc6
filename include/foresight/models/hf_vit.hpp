// SPDX-License-Identifier: Apache-2.0
// Image encoders from Hugging Face folders: ViTModel, IJepaModel, Dinov2Model and
// Dinov2WithRegistersModel, with names as transformers 4 and 5 have them, also from the classifiers
// built on them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "foresight/io/hf_folder.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

/// How the names of a classifier's own layer begin, which is no part of the encoder.
inline constexpr const char* kHfClassifier = "classifier.";

/// What config.json and the tensors' names say of the network.
struct HfVitDescription {
  nn::VitOptions options;
  int64_t image_size = 224;
  int64_t channels = 3;
};

/// Reads the configuration of a folder of one of the four families and checks it against the shapes
/// of its tensors, before anything is allocated. Whether there is a pooler or (ViT, I-JEPA) a mask
/// token, which the configuration does not tell, is taken from the tensors' names. Throws Error:
/// unsupported for another family or settings that are not known; bad_file for an unknown key or a
/// size that the tensors contradict.
FORESIGHT_API HfVitDescription describe_hf_vit(const io::HfFolder& folder);

/// The encoder with its weights, in float32, in inference mode. A classifier's own layer
/// ("classifier.*") is left out, with a log line. Throws Error as describe_hf_vit(); bad_file for
/// missing, unexpected or misshaped tensors. With io::Placement::share the weights of float32 files
/// stay there, mapped.
FORESIGHT_API std::shared_ptr<nn::Vit> load_hf_vit(const io::HfFolder& folder,
                                                   io::Placement placement = io::Placement::copy);
/// load_hf_vit() of the folder at `path`.
FORESIGHT_API std::shared_ptr<nn::Vit> load_hf_vit(const std::filesystem::path& path,
                                                   io::Placement placement = io::Placement::copy);

/// Writes config.json and model.safetensors of `vit` as from_pretrained() reads them strictly: a
/// ViTModel, IJepaModel, Dinov2Model or Dinov2WithRegistersModel, by its options. Throws
/// Error(unsupported) for options that none of these classes has, e.g. bicubic_offset positions;
/// otherwise as io::write_hf_folder().
FORESIGHT_API void write_hf_vit(const std::filesystem::path& folder, const nn::Vit& vit);

}  // namespace foresight::models
