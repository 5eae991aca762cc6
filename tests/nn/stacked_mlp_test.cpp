// SPDX-License-Identifier: Apache-2.0
// A stack of networks against the networks one by one.
#include "foresight/nn/stacked_mlp.hpp"

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::stacked_mlp_test {

TEST_CASE("a stack of MLPs computes, and starts, as its members alone") {
  for (const auto& hidden : {std::vector<int64_t>{}, std::vector<int64_t>{7, 5}}) {
    const nn::MlpOptions options{.hidden = hidden};
    nn::StackedMlp stack(3, 4, options, 2);
    PhiloxNoise one(9), other(9);
    stack.initialise(one);
    stack.to(at::kDouble);
    const auto x = at::randn({3, 6, 4}, at::kDouble);
    const auto y = stack.forward(x);
    REQUIRE(y.sizes() == at::IntArrayRef({3, 6, 2}));
    at::NoGradGuard no_grad;
    CHECK(at::allclose(stack.forward(x), y));  // the same where activations may overwrite
    for (int64_t k = 0; k < 3; ++k) {
      nn::Mlp alone(4, options, 2);
      alone.initialise(other);
      alone.to(at::kDouble);
      CHECK(at::allclose(y[k], alone.forward(x[k]), 1e-12, 1e-14));
    }
    CHECK(nn::parameter_count(stack) == 3 * nn::parameter_count(nn::Mlp(4, options, 2)));
  }
}

TEST_CASE("a stack of MLPs refuses what it cannot do") {
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { nn::StackedMlp(0, 4, {}, 2); }, "count = 0"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { nn::StackedMlp(2, 4, {.norm = nn::NormKind::layer}, 2); },
      "layer"));
  const nn::StackedMlp stack(2, 4, {}, 2);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        stack.forward(at::zeros({3, 6, 4}));
      },
      "[K,N,in]"));
}

}  // namespace foresight::stacked_mlp_test
