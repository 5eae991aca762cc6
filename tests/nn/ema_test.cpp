// SPDX-License-Identifier: Apache-2.0
// A target network that follows another.
#include "foresight/nn/ema.hpp"

#include <torch/nn/modules/linear.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/batch_norm.hpp"
#include "foresight/nn/projection.hpp"

namespace foresight::ema_test {

TEST_CASE("the moving average moves every parameter, trained or not, and copies buffers") {
  nn::Projection target(3, {.hidden = 4, .norm = nn::NormKind::batch}, 2);
  nn::Projection online(3, {.hidden = 4, .norm = nn::NormKind::batch}, 2);
  online.parameters().front().requires_grad_(false);
  {
    at::NoGradGuard no_grad;
    for (auto& parameter : target.parameters()) parameter.fill_(1.0);
    for (auto& parameter : online.parameters()) parameter.fill_(5.0);
    for (auto& buffer : online.buffers()) buffer.fill_(7);
  }
  nn::ema_update(target, online, 0.75);
  for (const auto& parameter : target.parameters())
    CHECK(parameter.eq(0.75 * 1.0 + 0.25 * 5.0).all().item<bool>());
  for (const auto& buffer : target.buffers()) CHECK(buffer.eq(7).all().item<bool>());
  for (const auto& parameter : online.parameters()) CHECK(parameter.eq(5.0).all().item<bool>());
  nn::ema_update(target, online, 0.0);
  CHECK(at::equal(target.parameters().front(), online.parameters().front()));
}

TEST_CASE("networks of different shape are not averaged") {
  torch::nn::Linear two(2, 3), other(2, 4);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { nn::ema_update(*two, *other, 0.5); }, "weight"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { nn::ema_update(*two, *two, 1.5); }, "momentum"));
}

}  // namespace foresight::ema_test
