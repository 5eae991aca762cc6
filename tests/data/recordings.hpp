// SPDX-License-Identifier: Apache-2.0
// The recorded episodes and camera clips of tests/data/recordings (or $FORESIGHT_RECORDINGS), their
// reference values, and pictures compared with them.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/io/files.hpp"
#include "recordings_folder.hpp"
#include "sha256.hpp"

namespace foresight::data {

using test::recordings;

inline std::string clip(const std::string& name) {
  return (recordings() / "camera" / name).string();
}

inline nlohmann::json camera_goldens() {
  return nlohmann::json::parse(io::read_text(recordings() / "camera" / "camera_goldens.json"));
}

/// Reference values of one plain folder, e.g. "tworoom/folder".
inline nlohmann::json folder_goldens(const std::string& name) {
  return nlohmann::json::parse(io::read_text(recordings() / "loader_goldens.json"))
      .at("datasets")
      .at(name);
}

/// SHA-256 of a picture's bytes.
inline std::string picture_hash(const at::Tensor& picture) {
  const at::Tensor bytes = picture.contiguous();
  return test::sha256(bytes.const_data_ptr(), static_cast<std::size_t>(bytes.numel()));
}

/// 8x8 block means, RGB interleaved, as the recorded thumbnails. Height and width divisible by 8.
inline at::Tensor thumbnail(const at::Tensor& picture) {
  const int64_t h = picture.size(0) / 8, w = picture.size(1) / 8;
  return picture.to(at::kDouble).reshape({8, h, 8, w, 3}).mean(at::IntArrayRef{1, 3}).flatten();
}

inline at::Tensor numbers(const nlohmann::json& array) {
  return at::tensor(array.get<std::vector<double>>(), at::kDouble);
}

}  // namespace foresight::data
