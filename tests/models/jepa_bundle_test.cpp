// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa_bundle.hpp"

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"
#include "temporary_folder.hpp"

namespace foresight::jepa_bundle_test {

using models::EncoderKind;
using models::PredictorKind;

namespace {

models::JepaOptions options_with_statistics() {
  auto options = tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 2);
  options.action.low = {-1, -2};
  options.action.high = {1, 2};
  options.action.mean = {0.1, 0.2};
  options.action.std = {0.3, 0.4};
  options.image.mean = {0.5, 0.5, 0.5};
  return options;
}

}  // namespace

TEST_CASE("a bundle gives back the same model, statistics and provenance included") {
  const TemporaryFolder folder;
  for (const auto type : {at::kFloat, at::kDouble}) {
    const auto model = jepa_under_test(options_with_statistics());
    model->to(type);
    auto config = models::jepa_bundle_config(*model);
    config.provenance["steps"] = 7;
    models::write_jepa(folder / "bundle", *model, config);

    const auto bundle = io::read_bundle(folder / "bundle");
    CHECK(bundle.config.provenance.at("steps") == 7);
    CHECK(models::read_value_critic(bundle) == nullptr);
    const auto read = models::read_jepa(bundle);
    CHECK_FALSE(read->is_training());
    CHECK(read->options().action.std == model->options().action.std);
    CHECK(read->options().history == 2);
    const auto expected = nn::state_dict(*model), tensors = nn::state_dict(*read);
    REQUIRE(tensors.size() == expected.size());
    for (std::size_t i = 0; i < tensors.size(); ++i)
      CHECK(at::equal(tensors[i].second, expected[i].second));
    const auto pixels = random_pixels({2}, 1);
    CHECK(at::equal(read->encode_pixels(pixels), model->encode_pixels(pixels)));
  }
}

TEST_CASE("the value critic travels with its model") {
  const TemporaryFolder folder;
  const auto model = jepa_under_test(options_with_statistics());
  const models::ValueCritic critic({.latent = 6, .mlp = {.hidden = {5}}}, 3);
  models::write_jepa(folder / "bundle", *model, models::jepa_bundle_config(*model), &critic);
  const auto bundle = io::read_bundle(folder / "bundle");
  const auto read = models::read_value_critic(bundle);
  REQUIRE(read);
  const auto z = PhiloxNoise(1).normal({4, 6}), goal = PhiloxNoise(2).normal({4, 6});
  CHECK(at::equal(read->forward(z, goal), critic.forward(z, goal)));
  CHECK(models::read_jepa(bundle)->options().latent == 6);
}

TEST_CASE("a bundle that is not a Jepa, or not this Jepa, is an error that says so") {
  const TemporaryFolder folder;
  const auto model = jepa_under_test(options_with_statistics());
  auto config = models::jepa_bundle_config(*model);
  config.family = "other";
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { models::write_jepa(folder / "a", *model, config); },
      "family 'other'"));
  io::write_bundle(folder / "b", config, nn::state_dict(*model));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::read_jepa(folder / "b"); }, "'other'", "'jepa'"));

  config = models::jepa_bundle_config(*model);
  config.options["latent"] = 7;
  io::write_bundle(folder / "c", config, nn::state_dict(*model));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { models::read_jepa(folder / "c"); }, "model.safetensors",
      "projector.net.3.weight", "[6, 14]", "[7, 14]"));

  config = models::jepa_bundle_config(*model);
  config.options["latnt"] = 7;
  io::write_bundle(folder / "d", config, nn::state_dict(*model));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { models::read_jepa(folder / "d"); }, "'latnt'",
      "'latent'"));

  config = models::jepa_bundle_config(*model);
  config.options["history"] = 3;
  io::write_bundle(folder / "e", config, nn::state_dict(*model));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { models::read_jepa(folder / "e"); }, "'history'"));
}

}  // namespace foresight::jepa_bundle_test
