// SPDX-License-Identifier: Apache-2.0
// A packed Jepa: the same futures up to rounding, wherever its weights come from.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "anonymous_memory.hpp"
#include "catch.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/packing_pays.hpp"
#include "models/jepa_under_test.hpp"
#include "temporary_folder.hpp"

namespace foresight::jepa_pack_test {

using models::EncoderKind;
using models::Jepa;
using models::PredictorKind;

namespace {

std::shared_ptr<Jepa> plain_jepa(PredictorKind predictor = PredictorKind::adaln) {
  return jepa_under_test(tiny_jepa_options(EncoderKind::vit, predictor, 3));
}

Tensor imagined(const WorldModel& model, int64_t candidates = 50) {
  PhiloxNoise noise(4);
  const auto actions = PhiloxNoise(3).normal({1, 50, 5, 4}).narrow(1, 0, candidates);
  const auto state = model.observe(model.initial(1), {}, pixel_observation(1, 1), noise);
  return model.rollout(state, actions, noise).states.at("latent");
}

bool close(const Tensor& a, const Tensor& b) { return at::allclose(a, b, 1e-4, 1e-5); }

}  // namespace

TEST_CASE("a packed Jepa imagines the same futures up to rounding") {
  const at::NoGradGuard no_grad;
  for (const auto predictor : {PredictorKind::adaln, PredictorKind::mlp}) {
    const auto model = plain_jepa(predictor);
    const auto expected = imagined(*model);
    model->pack();
    const auto packed = imagined(*model);
    CHECK(close(packed, expected));
    if (nn::has_fast_packing()) CHECK_FALSE(at::equal(packed, expected));
    CHECK(at::equal(imagined(*model->copy()), packed));
  }
}

TEST_CASE(
    "futures of a packed Jepa do not depend on threads, and on other candidates by rounding") {
  if (!nn::has_fast_packing()) return;
  const at::NoGradGuard no_grad;
  const auto model = plain_jepa();
  model->pack();
  const auto expected = imagined(*model);
  CHECK(close(imagined(*model, 11), expected.narrow(1, 0, 11)));  // layers around it are ATen's
  const auto threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 3 : 1);
  CHECK(at::equal(imagined(*model), expected));
  at::set_num_threads(threads);
}

TEST_CASE("a packed Jepa whose weights change imagines by the new ones") {
  const at::NoGradGuard no_grad;
  const auto plain = plain_jepa(), packed = plain_jepa();
  packed->pack();
  for (const auto& model : {plain, packed})
    for (auto& parameter : model->parameters()) parameter.mul_(1.1);
  const auto expected = imagined(*plain);
  CHECK(at::equal(imagined(*packed), expected));
  packed->pack();
  CHECK(close(imagined(*packed), expected));
  packed->to(at::kBFloat16);
  plain->to(at::kBFloat16);
  CHECK(at::equal(imagined(*packed), imagined(*plain)));
  packed->pack();
  CHECK(at::allclose(imagined(*packed), imagined(*plain), 0.05, 0.05));
  CHECK(at::equal(imagined(*packed), imagined(*plain)) == !nn::PrepackedLinear::available());
}

TEST_CASE("gradients pass through a packed Jepa as through a plain one") {
  const auto plain = plain_jepa(), packed = plain_jepa();
  packed->pack();
  const auto gradient = [&](const Jepa& model) {
    PhiloxNoise noise(4);
    const auto state = model.observe(model.initial(1), {}, pixel_observation(1, 1), noise);
    auto actions = PhiloxNoise(3).normal({1, 6, 5, 4}).requires_grad_();
    model.rollout(state, actions, noise).states.at("latent").square().sum().backward();
    return actions.grad();
  };
  CHECK(at::equal(gradient(*packed), gradient(*plain)));
}

TEST_CASE("world models are packed as they change their precision") {
  const at::NoGradGuard no_grad;
  const auto narrow = plain_jepa(), model = plain_jepa();
  narrow->to(at::kBFloat16);
  const auto result = models::in_precision({model, model}, models::InferencePrecision::bfloat16);
  CHECK(result.model == model);
  CHECK(at::equal(imagined(*model), imagined(*narrow)) == !nn::packing_pays(at::kBFloat16));
  narrow->pack();
  CHECK(at::equal(imagined(*model), imagined(*narrow)));
}

TEST_CASE("what a Jepa laid out is freed as it changes its precision") {
  if (anonymous_memory() < 0) {
    WARN("/proc/self/status tells no RssAnon here");
    return;
  }
  const at::NoGradGuard no_grad;
  auto options = tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 3);
  options.adaln = {.depth = 4, .width = 512, .heads = 8, .head_width = 64, .mlp_width = 2048};
  const auto model = std::make_shared<Jepa>(options, 1);
  const auto before = anonymous_memory();
  model->pack();
  if (nn::has_fast_packing()) CHECK(anonymous_memory() - before > 32);
  model->unpack();
  CHECK(anonymous_memory() - before < 16);
  model->pack();
  using models::InferencePrecision;
  for (const auto precision : {InferencePrecision::bfloat16, InferencePrecision::float32})
    models::in_precision({model, model}, precision);
  if (nn::packing_pays(at::kFloat)) model->unpack();
  CHECK(anonymous_memory() - before < 16);
}

TEST_CASE("world models are packed as they are read") {
  const at::NoGradGuard no_grad;
  const auto model = plain_jepa();
  const TemporaryFolder folder;
  models::write_jepa(folder / "bundle", *model, models::jepa_bundle_config(*model));
  const auto read = models::read_world_model(folder / "bundle");
  const auto plain = imagined(*model);
  CHECK(close(imagined(*read.model), plain));
  if (nn::packing_pays(at::kFloat)) CHECK_FALSE(at::equal(imagined(*read.model), plain));
}

}  // namespace foresight::jepa_pack_test
