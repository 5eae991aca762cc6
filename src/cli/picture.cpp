// SPDX-License-Identifier: Apache-2.0
#include "picture.hpp"

#include <filesystem>

#include "foresight/core/error.hpp"
#include "foresight/data/picture_file.hpp"
#include "foresight/data/video_reader.hpp"

namespace foresight::cli {

Tensor read_picture(const std::string& name) {
  if (data::begins_as_picture(name)) return data::read_picture_file(name);
  std::string file = name;
  int64_t frame = 0;
  const auto colon = name.rfind(':');
  if (!std::filesystem::exists(name) && colon != std::string::npos && colon + 1 < name.size() &&
      name.find_first_not_of("0123456789", colon + 1) == std::string::npos) {
    require(name.size() - colon <= 10, ErrorCategory::invalid_argument,
            name + ": the frame number is too large");
    file = name.substr(0, colon);
    frame = std::stoll(name.substr(colon + 1));
  }
  data::VideoReader reader(file);
  return reader.frame(frame);
}

}  // namespace foresight::cli
