// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/hf_preprocessing.hpp"

#include <nlohmann/json.hpp>
#include <set>

#include "foresight/io/json_file.hpp"

namespace foresight::models {
namespace {

using nlohmann::json;

constexpr int64_t kPilBilinear = 2, kPilBicubic = 3;
constexpr int64_t kMostPixels = int64_t{1} << 16;  // of an edge

// The file's keys, each checked as it is read.
class PictureSteps {
 public:
  PictureSteps(const json& config, std::string file) : config_(config), file_(std::move(file)) {
    require(config.is_object(), ErrorCategory::bad_file, file_ + ": expected an object");
    const std::set<std::string> known{
        "do_resize",    "do_center_crop", "do_rescale",
        "do_normalize", "do_convert_rgb", "do_sample_frames"};  // which frames, not how they look
    for (const auto& [key, value] : config.items()) {
      const bool asked = value.is_boolean() ? value.get<bool>() : !value.is_null();
      require(known.contains(key) || !asked || !(key.starts_with("do_") || key == "crop_pct"),
              ErrorCategory::unsupported, named(key) + " is not known here");
    }
  }

  bool has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }

  bool on(const char* key, bool usual) const {
    if (!has(key)) return usual;
    require(config_[key].is_boolean(), ErrorCategory::bad_file,
            named(key) + ", expected true or false");
    return config_[key].get<bool>();
  }

  double number(const char* key, double usual) const {
    if (!has(key)) return usual;
    require(config_[key].is_number(), ErrorCategory::bad_file, named(key) + ", expected a number");
    return config_[key].get<double>();
  }

  std::vector<double> three_numbers(const char* key) const {
    if (!has(key)) return {};
    const auto& value = config_[key];
    const bool fits = value.is_array() && value.size() == 3 && value[0].is_number() &&
                      value[1].is_number() && value[2].is_number();
    require(fits, ErrorCategory::bad_file, named(key) + " is no list of three numbers");
    return value.get<std::vector<double>>();
  }

  // {height, width} or {shortest_edge}; one number has the meaning that `lone` names.
  struct Size {
    int64_t height = 0, width = 0, shortest_edge = 0;
  };
  Size size(const char* key, int64_t Size::*lone) const {
    Size result;
    if (!has(key)) return result;
    const auto& value = config_[key];
    if (value.is_object() && value.contains("shortest_edge") && value.size() == 1) {
      result.shortest_edge = edge(key, value["shortest_edge"]);
    } else if (value.is_object() && value.contains("height") && value.contains("width")) {
      result.height = edge(key, value["height"]);
      result.width = edge(key, value["width"]);
    } else {
      result.*lone = edge(key, value);
      if (lone == &Size::height) result.width = result.height;
    }
    return result;
  }

  std::string named(const std::string& key) const {
    return file_ + ": " + key + " = " + config_.value(key, json()).dump();
  }

 private:
  int64_t edge(const char* key, const json& value) const {
    require(value.is_number_integer() && value >= 1 && value <= kMostPixels,
            ErrorCategory::bad_file,
            named(key) + ", expected a number of pixels up to " + std::to_string(kMostPixels) +
                ", {height, width} or {shortest_edge}");
    return value.get<int64_t>();
  }

  const json& config_;
  std::string file_;
};

Interpolation interpolation_of(const PictureSteps& steps) {
  const auto resample = steps.number("resample", kPilBilinear);
  require(resample == kPilBilinear || resample == kPilBicubic, ErrorCategory::unsupported,
          steps.named("resample") + ", known are 2 (bilinear) and 3 (bicubic)");
  return resample == kPilBicubic ? Interpolation::bicubic : Interpolation::bilinear;
}

// How the pictures get their size.
void read_sizes(const PictureSteps& steps, ImageOptions& image) {
  using Size = PictureSteps::Size;
  const bool crops = steps.on("do_center_crop", steps.has("crop_size"));
  const auto crop = crops ? steps.size("crop_size", &Size::height) : Size();
  // With a crop, processors take one number for the shortest edge, without one for both.
  const auto size = steps.size("size", crops ? &Size::shortest_edge : &Size::height);
  require(steps.on("do_resize", true), ErrorCategory::unsupported,
          steps.named("do_resize") + ": pictures of any size are no input");
  require(!crops || crop.height > 0, ErrorCategory::bad_file,
          steps.named("crop_size") + ", expected height and width of the crop");
  image.interpolation = interpolation_of(steps);
  if (crop.height > 0) {
    require(size.height == 0 || (size.height == crop.height && size.width == crop.width),
            ErrorCategory::unsupported, steps.named("size") + " before a smaller crop");
    image.resize = size.height > 0 ? ResizeRule::stretch : ResizeRule::crop;
    image.size = crop.height;
    image.width = crop.width == crop.height ? 0 : crop.width;
    image.resize_edge = size.shortest_edge;
  } else if (size.height > 0) {
    image.resize = ResizeRule::stretch;
    image.size = size.height;
    image.width = size.width == size.height ? 0 : size.width;
  } else if (size.shortest_edge > 0) {
    image.resize = ResizeRule::shorter_edge;
    image.size = size.shortest_edge;
  }
}

}  // namespace

std::optional<ImageOptions> read_hf_preprocessing(const io::HfFolder& folder) {
  for (const auto* name : {"preprocessor_config.json", "video_preprocessor_config.json"}) {
    const auto path = folder.path / name;
    if (!std::filesystem::exists(path)) continue;
    const auto config = io::read_json(path);
    const PictureSteps steps(config, path.string());
    ImageOptions image{.size = 0, .mean = {}, .std = {}, .resize = ResizeRule::crop};
    read_sizes(steps, image);
    image.scale = steps.on("do_rescale", true) ? steps.number("rescale_factor", image.scale) : 1.0;
    const bool normalises = steps.on("do_normalize", true);
    image.mean = normalises ? steps.three_numbers("image_mean") : std::vector<double>{0, 0, 0};
    image.std = normalises ? steps.three_numbers("image_std") : std::vector<double>{1, 1, 1};
    return image;
  }
  return std::nullopt;
}

ImageOptions vjepa2_evaluation_pictures(int64_t size) {
  return {.size = size, .resize = ResizeRule::crop, .resize_edge = size * 256 / 224};
}

ImageOptions vjepa2_evaluation_pictures(int64_t size, const io::HfFolder& folder) {
  const auto published = vjepa2_evaluation_pictures(size);
  auto told = read_hf_preprocessing(folder);
  if (!told) return published;
  if (told->size == 0) told->size = size;
  if (told->mean.empty()) told->mean = published.mean;
  if (told->std.empty()) told->std = published.std;
  return *told;
}

}  // namespace foresight::models
