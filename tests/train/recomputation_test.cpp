// SPDX-License-Identifier: Apache-2.0
// Activations that are computed again in the backward pass instead of kept.
#include <torch/autograd.h>

#include <map>
#include <optional>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/recompute.hpp"
#include "foresight/train/jepa_task.hpp"
#include "foresight/train/learn_family.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::recomputation_test {

TEST_CASE("recomputed activations change no number of a training, dropout included") {
  auto options = models::JepaOptions::lewm();
  options.image.size = 28;
  options.vit = {.patch = 7, .width = 24, .depth = 2, .heads = 2, .mlp_width = 32};
  options.projector.hidden = options.pred_proj.hidden = 32;
  options.latent = 16;
  options.action_encoder.width = 16;
  options.adaln.depth = 2;
  options.adaln.heads = 2;
  options.adaln.head_width = 8;
  options.adaln.mlp_width = 32;
  options.adaln.dropout = 0.3;
  options.action = ActionSpace();
  options.loss.sigreg_options.projections = 16;
  std::vector<double> curves[2];
  std::vector<std::shared_ptr<models::Jepa>> trained;
  for (const auto activations : {Activations::keep, Activations::recompute}) {
    const TemporaryFolder folder;
    torch::manual_seed(6);
    trained.push_back(std::make_shared<models::Jepa>(options, 1));
    JepaTask task(trained.back(), {.training = windows_of(pushed_square(), 4, 8)});
    auto training = every_step_logged(6);
    training.activations = activations;
    train_table(task, training, folder / "run");
    curves[activations == Activations::recompute ? 1 : 0] =
        curve(folder / "run", "jepa/train/loss");
  }
  REQUIRE(curves[0].size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(curves[1][i] == Approx(curves[0][i]).epsilon(1e-5));
  const auto kept = trained[0]->named_parameters();
  for (const auto &item : trained[1]->named_parameters()) {
    INFO(item.key());
    CHECK(at::allclose(item.value(), kept[item.key()], 1e-3, 1e-5));
  }
  const TemporaryFolder folder;
  TableFit without_blocks(8);
  auto training = every_step_logged(2);
  training.activations = Activations::recompute;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { train_table(without_blocks, training, folder / "run"); },
      "no block that can be recomputed"));
}

TEST_CASE("networks without a block to recompute are refused before a run begins") {
  auto small = LearnOptions::small();
  REQUIRE(small.model.encoder == models::EncoderKind::cnn);
  require_valid(small);
  small.training.activations = Activations::recompute;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { require_valid(small); }, "training.activations",
      "no block that can be recomputed"));
  auto lewm = LearnOptions::lewm();
  lewm.training.activations = Activations::recompute;
  require_valid(lewm);
  auto rooms = EbJepaLearnOptions::small();
  rooms.training.activations = Activations::recompute;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { require_valid(rooms); }, "training.activations"));
}

TEST_CASE("recomputed blocks leave gradients whole where autocast meets their weights again") {
  // V-JEPA 2-AC's step uses every block twice: recomputed on true frames, kept where predictions
  // are fed back.
  models::VJepa2AcOptions options;
  options.image.size = 16;
  options.encoder = nn::VideoVitOptions::tiny();
  options.encoder.image_height = options.encoder.image_width = 16;
  options.predictor.width = 24;
  options.predictor.depth = 2;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 32;
  const auto gradients = [&](Activations activations) {
    const models::VJepa2Ac model(options, 1);
    PhiloxNoise noise(2);
    const auto latents = noise.normal({2, 4, 4, options.encoder.width});
    const auto actions = noise.normal({2, 3, 7}), poses = noise.normal({2, 4, 7});
    losses::Terms terms;
    {
      const nn::Autocast autocast(at::kCPU, true);
      std::optional<nn::RecomputeScope> scope;
      if (activations == Activations::recompute) scope.emplace();
      terms = model.loss_of_latents(latents, actions, poses);
      if (scope) CHECK(scope->blocks() == 2);
    }
    terms.at("rollout").value.backward();
    std::map<std::string, Tensor> found;
    for (const auto &item : model.predictor().named_parameters())
      found[item.key()] = item.value().grad();
    return found;
  };
  const auto kept = gradients(Activations::keep), again = gradients(Activations::recompute);
  for (const auto &[name, gradient] : kept) {
    INFO(name);
    REQUIRE(gradient.defined() == again.at(name).defined());
    if (!gradient.defined()) continue;  // of the camera, which this network does not see
    const auto size = gradient.norm().item<double>();
    CHECK((again.at(name) - gradient).norm().item<double>() <= 1e-2 * size + 1e-6);
  }
}

TEST_CASE(
    "a recomputed block runs again for the backward pass and gives "
    "gradients to all that ask") {
  const auto weight = at::randn({64, 64}).requires_grad_(true);
  const auto x = at::randn({8, 64}).requires_grad_(true),
             c = at::randn({8, 64}).requires_grad_(true);
  int runs = 0;
  const auto block = [&](const Tensor &u, const Tensor &condition) {
    ++runs;
    return at::tanh(at::mm(u, weight)) * condition;
  };
  const auto plain = at::tanh(at::mm(x, weight)) * c;
  const auto expected = torch::autograd::grad({plain.square().sum()}, {x, c, weight});
  {
    const nn::RecomputeScope scope;
    const auto y = nn::recomputed(block, x, c);
    CHECK(scope.blocks() == 1);
    CHECK(runs == 1);
    y.square().sum().backward();
    CHECK(runs == 2);
  }
  CHECK(at::allclose(x.grad(), expected[0]));
  CHECK(at::allclose(c.grad(), expected[1]));
  CHECK(at::allclose(weight.grad(), expected[2]));
  // No input needs a gradient, the parameters still get theirs.
  weight.mutable_grad() = Tensor();
  {
    const nn::RecomputeScope scope;
    nn::recomputed(block, x.detach(), c.detach()).square().sum().backward();
  }
  CHECK(at::allclose(weight.grad(), expected[2]));
  // Outside a scope, or without gradient, nothing is wrapped.
  runs = 0;
  nn::recomputed(block, x, c).sum().backward();
  CHECK(runs == 1);
}

}  // namespace foresight::train::recomputation_test
