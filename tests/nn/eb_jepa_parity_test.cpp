// SPDX-License-Identifier: Apache-2.0
// The IMPALA encoder against facebookresearch/eb_jepa.
#include "eb_jepa_golden_nn.hpp"

namespace foresight::nn_eb_jepa_parity_test {
namespace {

// Where a fixture records the stacks' outputs of the first frame, its recording hook also put them
// in the place of later frames' outputs: every frame of the recorded latents is the first. Later
// frames are compared in the other fixtures.
Tensor is_first_frame(const Tensor& maps) {
  auto where = at::zeros_like(maps, at::kBool);
  where.select(2, 0).fill_(true);
  return where;
}

void check_impala(Golden& golden) {
  at::NoGradGuard no_grad;
  const auto& config = golden.config().at("encoder");
  const auto options = golden_impala_options(config);
  const auto shape = config.at("input_shape").get<std::vector<int64_t>>();
  for (const auto type : kNetworkTypes) {
    nn::ImpalaEncoder encoder(options, shape[1], shape[0]);
    encoder.to(test_device(), type);
    nn::load_state_dict(encoder, eb_jepa_params(golden), golden.name());
    for (const auto& [name, clips] : golden.section("inputs")) {
      const auto frames = frames_first(clips.to(type));
      const auto features = encoder.encode(frames.flatten(0, 1), nn::Mode::infer);
      const auto maps = as_feature_maps(features.unflatten(0, {clips.size(0), clips.size(2)}));
      const bool traced = golden.has("outputs/" + name + ".stack0_first_frame");
      golden.compare_run(name, maps, roundings_of_impala(options),
                         traced ? is_first_frame(maps) : Tensor());
      for (std::size_t s = 0; s < options.channels.size(); ++s) {
        const auto stacks = static_cast<int64_t>(s) + 1;
        golden.compare_run(name + ".stack" + std::to_string(s) + "_first_frame",
                           encoder.feature_map(frames.select(1, 0), stacks),
                           stacks * kRoundingsOfStack);
      }
    }
  }
  CHECK(golden.uncompared("outputs").empty());
  CHECK(golden.uncompared("outputs64").empty());
}

}  // namespace

TEST_CASE("the IMPALA encoder equals EB-JEPA's, stack by stack", "[parity][device]") {
  for_each_golden("eb_jepa/impala", check_impala);
}

TEST_CASE("the IMPALA encoder with a norm of its feature map equals EB-JEPA's",
          "[parity][device]") {
  for_each_golden("eb_jepa/impala_layer_norm", check_impala);
}

}  // namespace foresight::nn_eb_jepa_parity_test
