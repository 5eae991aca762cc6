// SPDX-License-Identifier: Apache-2.0
// What only a GPU can get wrong about a Jepa.
#include <ATen/core/grad_mode.h>

#include "catch.hpp"
#include "jepa_under_test.hpp"

namespace foresight::jepa_device_test {

TEST_CASE("more candidates than a GPU's grid has rows are imagined like few", "[device]") {
  if (!test_device().is_cuda()) return;  // the others have no such limit
  constexpr int64_t kMany = 70000, kFew = 100;
  at::NoGradGuard no_grad;
  auto options = tiny_jepa_options(models::EncoderKind::cnn, models::PredictorKind::adaln, 3);
  options.adaln.width = 16;
  options.adaln.head_width = 8;  // what the fast attention kernels take
  const auto model = jepa_under_test(options);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    INFO(c10::toString(type));
    model->to(type);
    PhiloxNoise noise(3);
    auto state = model->observe(model->initial(1), {}, pixel_observation(1, 5), noise);
    const auto blocks = noise.normal({1, kMany, 4, model->spec().action.width()},
                                     at::TensorOptions(test_device()).dtype(type));
    const auto imagined = [&](int64_t first, int64_t count) {
      return model->rollout(state, blocks.narrow(1, first, count), noise)
          .states.at("latent")
          .to(at::kFloat);
    };
    const auto all = imagined(0, kMany);
    for (const int64_t first : {int64_t{0}, int64_t{65500}, kMany - kFew}) {
      const auto few = imagined(first, kFew);
      const double tolerance = type == at::kFloat ? 1e-4 : 0.05;
      CHECK(at::allclose(all.narrow(1, first, kFew), few, tolerance,
                         tolerance * few.abs().max().item<double>()));
    }
  }
}

}  // namespace foresight::jepa_device_test
