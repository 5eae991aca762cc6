// SPDX-License-Identifier: Apache-2.0
// What whoever records films asks before it begins. Private to the data folder.
#pragma once

#include <filesystem>
#include <string>

namespace foresight::data {

/// Throws Error(unsupported) naming `path`, what is to be written, unless has_video_encoder(): what
/// is missing, FFmpeg or its encoder, and how to get it.
void require_video_encoder(const std::filesystem::path& path, const std::string& encoder);

}  // namespace foresight::data
