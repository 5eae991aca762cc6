// SPDX-License-Identifier: Apache-2.0
// How pictures become network input: what is cut off, what is scaled, and what the files of
// transformers' image processors say of it.
#include "foresight/models/image_preprocessing.hpp"

#include <ATen/record_function.h>

#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/eb_jepa.hpp"
#include "foresight/models/hf_preprocessing.hpp"
#include "foresight/models/lejepa.hpp"
#include "foresight/models/position_probe.hpp"
#include "temporary_folder.hpp"

namespace foresight::models::image_preprocessing_test {
namespace {

using Json = nlohmann::json;

// A picture whose pixels in column x all have the value x.
Tensor columns_of(int64_t height, int64_t width) {
  return at::arange(width, at::kByte).view({1, 1, width, 1}).expand({1, height, width, 3});
}

// Bytes as they are, but for what `image` says of sizes.
Tensor first_row(const Tensor& pixels, ImageOptions image) {
  image.scale = 1;
  image.mean = {0, 0, 0};
  image.std = {1, 1, 1};
  require_valid(image);
  return preprocess_images(pixels, image, at::kFloat)[0][0][0];
}

bool refuses(const ImageOptions& image) { return !image.validate().empty(); }

ImageOptions told_by(const TemporaryFolder& folder, const Json& config,
                     const char* file = "preprocessor_config.json") {
  io::write_json(folder / file, config);
  io::HfFolder model;
  model.path = folder.path();
  return read_hf_preprocessing(model).value();
}

// Counts rows of float64 that are converted while it exists: numbers from the host, for which on a
// GPU a stream must wait. (Single numbers are arguments of kernels there.)
class HostNumbers {
 public:
  HostNumbers() {
    converted = 0;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&count).needsInputs(true));
  }
  ~HostNumbers() { at::removeCallback(handle_); }
  HostNumbers(const HostNumbers&) = delete;
  HostNumbers& operator=(const HostNumbers&) = delete;
  int64_t seen() const { return converted; }

 private:
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& call) {
    const auto inputs = call.inputs();
    if (std::string_view(call.name()) == "aten::_to_copy" && !inputs.empty() &&
        inputs[0].isTensor() && inputs[0].toTensor().scalar_type() == at::kDouble &&
        inputs[0].toTensor().dim() > 0)
      ++converted;
    return nullptr;
  }
  static inline thread_local int64_t converted = 0;
  at::CallbackHandle handle_;
};

}  // namespace

TEST_CASE("no picture or measurement waits for statistics from the host") {
  const DinoWm dino_wm(tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 2));
  EbJepaOptions planes;
  planes.image_size = 13;
  planes.encoder.channels = {3};
  const EbJepa eb_jepa(planes);
  const LeJepa lejepa(LeJepaOptions::tiny());
  const PositionProbe probe({.latent = 4, .hidden = 3});
  const auto picture = at::zeros({1, 16, 16, 3}, at::kByte);
  const auto measured = at::ones({1, 2}), latent = at::ones({1, 4});
  const auto views = at::zeros({1, 3, 32, 32}), rooms = at::zeros({1, 2, 13, 13}, at::kByte);
  const HostNumbers numbers;
  measured.to(at::kDouble).to(at::kFloat);
  CHECK(numbers.seen() == 1);  // the counter counts
  dino_wm.preprocess(picture);
  dino_wm.encode_proprio(measured);
  eb_jepa.preprocess(rooms);
  lejepa.normalise(views);
  probe.positions(latent);
  CHECK(numbers.seen() == 1);
}

TEST_CASE("a crop may be cut from a picture that was scaled to a larger edge") {
  // No resampling: the shorter edge is 8 already.
  const ImageOptions image{.size = 4, .resize = ResizeRule::crop, .resize_edge = 8};
  CHECK(at::equal(first_row(columns_of(8, 8), image), at::arange(2, 6, at::kFloat)));
  CHECK(at::equal(first_row(columns_of(8, 20), image), at::arange(8, 12, at::kFloat)));
  // Without it the whole height is scaled to 4: two columns each become one.
  const ImageOptions plain{.size = 4, .resize = ResizeRule::crop};
  CHECK(first_row(columns_of(8, 8), plain)[0].item<float>() < 1.5F);
  CHECK(plain.scales_alone(8, 8));
  CHECK_FALSE(image.scales_alone(8, 8));
  CHECK_FALSE(plain.scales_alone(8, 20));
  CHECK(refuses({.size = 4, .resize = ResizeRule::crop, .resize_edge = 3}));
  CHECK(refuses({.size = 4, .resize = ResizeRule::stretch, .resize_edge = 8}));
}

TEST_CASE("of a wide picture no more than the widest shape is stretched") {
  // 1.35 times 10 rows are 14 columns (half to even), from column (30 - 14) / 2 on.
  const ImageOptions image{
      .size = 10, .width = 14, .resize = ResizeRule::stretch, .max_aspect = 1.35};
  CHECK(at::equal(first_row(columns_of(10, 30), image), at::arange(8, 22, at::kFloat)));
  CHECK(at::equal(first_row(columns_of(10, 14), image), at::arange(0, 14, at::kFloat)));
  CHECK(image.scales_alone(10, 14));
  CHECK_FALSE(image.scales_alone(10, 30));
  auto whole = image;
  whole.max_aspect = 0;
  CHECK(whole.scales_alone(10, 30));
  CHECK(first_row(columns_of(10, 30), whole)[0].item<float>() < 2);
  CHECK(refuses({.size = 4, .resize = ResizeRule::crop, .max_aspect = 1.35}));
  CHECK(refuses({.size = 4, .resize = ResizeRule::stretch, .max_aspect = -1}));
}

TEST_CASE("bicubic pictures overshoot no further than bytes can hold") {
  // A step from 0 to 255 at twice the size. Keys' kernel with a = -1/2, a quarter pixel off: the
  // weights of the four neighbours are -0.0703125, 0.8671875, 0.2265625 and -0.0234375.
  auto step = at::zeros({1, 8, 8, 3}, at::kByte);
  step.slice(2, 4).fill_(255);
  const auto row = first_row(
      step, {.size = 16, .resize = ResizeRule::stretch, .interpolation = Interpolation::bicubic});
  CHECK(row[8].item<float>() == Approx(255 * (0.8671875 - 0.0703125)).epsilon(1e-5));
  CHECK(row[7].item<float>() == Approx(255 * (0.2265625 - 0.0234375)).epsilon(1e-5));
  CHECK(row[9].item<float>() == 255.0F);  // 255 (1 + 0.0703125 ...) without the bound
  CHECK(row[6].item<float>() == 0.0F);
  // The same in normalised numbers.
  ImageOptions normalised{
      .size = 16, .resize = ResizeRule::stretch, .interpolation = Interpolation::bicubic};
  const auto x = preprocess_images(step, normalised, at::kFloat);
  CHECK(x.select(1, 0).max().item<float>() == Approx((1 - 0.485) / 0.229).epsilon(1e-5));
  CHECK(x.select(1, 2).min().item<float>() == Approx(-0.406 / 0.225).epsilon(1e-5));
}

TEST_CASE("the files of published encoders are read as transformers reads them") {
  const TemporaryFolder folder;
  const Json imagenet = {{"image_mean", {0.485, 0.456, 0.406}},
                         {"image_std", {0.229, 0.224, 0.225}},
                         {"do_normalize", true},
                         {"do_rescale", true},
                         {"rescale_factor", 1.0 / 255},
                         {"do_resize", true}};
  const auto with = [&](Json more) {
    Json config = imagenet;
    config.update(more);
    return config;
  };
  const auto dinov2 = told_by(folder, with({{"do_center_crop", true},
                                            {"do_convert_rgb", true},
                                            {"crop_size", {{"height", 224}, {"width", 224}}},
                                            {"size", {{"shortest_edge", 256}}},
                                            {"resample", 3}}));
  CHECK(dinov2.resize == ResizeRule::crop);
  CHECK(dinov2.size == 224);
  CHECK(dinov2.resize_edge == 256);
  CHECK(dinov2.interpolation == Interpolation::bicubic);
  CHECK(dinov2.validate().empty());

  for (const Json& size : {Json(224), Json{{"height", 224}, {"width", 224}}}) {
    const auto vit = told_by(folder, {{"do_normalize", true},
                                      {"do_resize", true},
                                      {"image_mean", {0.5, 0.5, 0.5}},
                                      {"image_std", {0.5, 0.5, 0.5}},
                                      {"resample", 2},
                                      {"size", size}});
    CHECK(vit.resize == ResizeRule::stretch);
    CHECK(vit.size == 224);
    CHECK(vit.columns() == 224);
    CHECK(vit.mean == std::vector<double>{0.5, 0.5, 0.5});
    CHECK(vit.scale == Approx(1.0 / 255));
    CHECK(vit.interpolation == Interpolation::bilinear);
  }

  const TemporaryFolder video;
  const auto vjepa2 = told_by(video,
                              with({{"crop_size", 256},
                                    {"do_center_crop", true},
                                    {"do_sample_frames", false},
                                    {"size", {{"shortest_edge", 292}}}}),
                              "video_preprocessor_config.json");
  const auto published = vjepa2_evaluation_pictures(256);
  CHECK(vjepa2.resize_edge == 292);
  CHECK(published.resize_edge == 292);
  CHECK(vjepa2_evaluation_pictures(384).resize_edge == 438);
  CHECK(published.resize == ResizeRule::crop);
  CHECK(vjepa2.resize == ResizeRule::crop);

  const auto raw = told_by(folder, {{"do_rescale", false}, {"do_normalize", false}, {"size", 64}});
  CHECK(raw.scale == 1);
  CHECK(raw.mean == std::vector<double>{0, 0, 0});
  CHECK(raw.std == std::vector<double>{1, 1, 1});
  const auto open = told_by(folder, Json::object());
  CHECK(open.size == 0);
  CHECK(open.mean.empty());
  CHECK_FALSE(read_hf_preprocessing(io::HfFolder{video.path() / "none", {}, {}, {}}).has_value());
}

TEST_CASE("steps of an image processor that are not known here are refused by name") {
  const TemporaryFolder folder;
  const auto refused = [&](ErrorCategory category, const Json& config, const char* words) {
    INFO(config);
    CHECK(fails_with(
        category, [&] { told_by(folder, config); }, "preprocessor_config.json", words));
  };
  using enum ErrorCategory;
  refused(unsupported, {{"do_pad", true}}, "do_pad = true");
  CHECK(told_by(folder, {{"do_pad", false}, {"size", 32}}).size == 32);
  refused(unsupported, {{"crop_pct", 0.9}}, "crop_pct = 0.9");
  refused(unsupported, {{"resample", 1}, {"size", 32}}, "resample = 1");
  refused(unsupported, {{"do_resize", false}}, "do_resize = false");
  refused(unsupported, {{"size", {{"height", 64}, {"width", 64}}}, {"crop_size", 32}},
          "before a smaller crop");
  refused(bad_file, {{"do_resize", "yes"}}, "do_resize = \"yes\"");
  refused(bad_file, {{"size", -3}}, "size = -3");
  refused(bad_file, {{"size", {{"longest_edge", 3}}}}, "longest_edge");
  refused(bad_file, {{"image_mean", {1, 2}}}, "no list of three numbers");
  refused(bad_file, {{"crop_size", {{"shortest_edge", 3}}}}, "crop_size");
}

}  // namespace foresight::models::image_preprocessing_test
