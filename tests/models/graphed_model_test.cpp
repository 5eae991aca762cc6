// SPDX-License-Identifier: Apache-2.0
// Rollouts as CUDA graphs on a GPU; elsewhere the same model without them.
#include "foresight/models/graphed_model.hpp"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <thread>

#include "conformance.hpp"
#include "error_message.hpp"
#include "foresight/models/ensemble.hpp"
#include "foresight/models/mlp_dynamics.hpp"
#include "jepa_under_test.hpp"

namespace foresight::graphed_model_test {
namespace {

using models::GraphedModel;

bool are_recorded() { return test_device().is_cuda() && GraphedModel::is_built_in(); }

std::shared_ptr<models::Jepa> model_under_test(int64_t history = 2) {
  const auto model = jepa_under_test(
      tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, history));
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
  return model;
}

State observed(const WorldModel& model, std::uint64_t seed) {
  PhiloxNoise noise(1);
  return model.observe(model.initial(2), {}, pixel_observation(2, seed), noise);
}

Tensor blocks(const WorldModel& model, int64_t samples, std::uint64_t seed) {
  return PhiloxNoise(seed).normal({2, samples, 4, model.spec().action.width()},
                                  at::TensorOptions(test_device()));
}

Tensor imagined(const WorldModel& model, const State& state, const Tensor& actions) {
  PhiloxNoise noise(3);
  const auto future = model.rollout(state, actions, noise);
  CHECK(future.actions.equal(actions));
  return future.states.at("latent");
}

void check_close(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.sizes() == expected.sizes());
  CHECK(at::allclose(actual, expected, 1e-6, 1e-6));
}

}  // namespace

TEST_CASE("a model whose rollouts are replayed conforms, gradients included", "[device]") {
  const auto model = model_under_test();
  const GraphedModel graphed(model);
  check_conformance({graphed, pixel_observation, 2e-5, [&] { return model->parameters(); }});
}

TEST_CASE("replayed rollouts are the model's own, whatever is asked in between", "[device]") {
  at::NoGradGuard no_grad;
  const auto model = model_under_test();
  const GraphedModel graphed(model);
  std::vector<Tensor> kept;  // results stay what they are when others are computed
  std::vector<Tensor> expected;
  for (std::uint64_t i = 0; i < 12; ++i) {
    const int64_t samples = i % 3 == 2 ? 1 : 5;
    const auto state = observed(*model, 20 + i);
    const auto actions = blocks(*model, samples, 40 + i);
    kept.push_back(imagined(graphed, state, actions));
    expected.push_back(imagined(*model, state, actions));
  }
  for (std::size_t i = 0; i < kept.size(); ++i) check_close(kept[i], expected[i]);
  CHECK(graphed.replays() == (are_recorded() ? 10 : 0));
}

TEST_CASE("replays work in and out of inference mode and in other threads", "[device]") {
  const auto model = model_under_test();
  const GraphedModel graphed(model);
  const auto state = observed(*model, 5);
  const auto actions = blocks(*model, 3, 6);
  const auto expected = imagined(*model, state, actions);
  const auto ask = [&](bool inference) {
    const c10::InferenceMode mode(inference);
    PhiloxNoise noise(3);
    return graphed.rollout(state, actions, noise).states.at("latent").cpu();
  };
  for (const bool inference : {true, false, true, false})
    CHECK(at::allclose(ask(inference), expected.cpu(), 1e-6, 1e-6));
  std::vector<Tensor> answers(4);
  std::vector<std::thread> threads;
  for (auto& answer : answers)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) answer = ask(false);
    });
  for (auto& thread : threads) thread.join();
  for (const auto& answer : answers) CHECK(at::allclose(answer, expected.cpu(), 1e-6, 1e-6));
}

TEST_CASE("replays follow weights that change, in place or by a move", "[device]") {
  at::NoGradGuard no_grad;
  const auto model = model_under_test();
  const GraphedModel graphed(model);
  const auto state = observed(*model, 5);
  const auto actions = blocks(*model, 3, 6);
  const auto check = [&] {
    for (int i = 0; i < 3; ++i)
      check_close(imagined(graphed, state, actions), imagined(*model, state, actions));
  };
  check();
  const auto before = imagined(graphed, state, actions);
  for (auto& parameter : model->parameters()) parameter.mul_(0.9);
  check();
  CHECK_FALSE(at::allclose(imagined(graphed, state, actions), before, 1e-3, 1e-3));
  model->to(at::kCPU);
  model->to(test_device());
  check();
}

TEST_CASE("a model that draws noise in its rollouts is not recorded", "[device]") {
  at::NoGradGuard no_grad;
  models::MlpDynamicsOptions options;
  options.state = 3;
  options.observation = "x";
  options.action.dim = 2;
  options.members = 2;
  options.mlp.hidden = {8};
  options.step = models::DynamicsStep::sample;
  const auto members = std::make_shared<models::MlpDynamics>(options, 5);
  members->to(test_device());
  const std::shared_ptr<const WorldModel> model = std::make_shared<models::Ensemble>(members);
  const GraphedModel graphed(model);
  const auto state = model->initial(2);
  const auto actions = blocks(*model, 3, 6);
  for (int i = 0; i < 4; ++i) {
    PhiloxNoise ours(3), theirs(3);
    const auto actual = graphed.rollout(state, actions, ours).states;
    const auto expected = model->rollout(state, actions, theirs).states;
    for (const auto& [name, value] : expected.fields()) CHECK(at::equal(actual.at(name), value));
    CHECK(ours.position() == theirs.position());
  }
  CHECK(graphed.replays() == 0);
}

TEST_CASE("as many shapes are recorded as was asked for, the others computed", "[device]") {
  at::NoGradGuard no_grad;
  const auto model = model_under_test();
  const GraphedModel graphed(model, {.shapes = 2});
  const auto state = observed(*model, 5);
  for (int round = 0; round < 3; ++round)
    for (const int64_t samples : {1, 2, 3, 4}) {
      const auto actions = blocks(*model, samples, 6);
      check_close(imagined(graphed, state, actions), imagined(*model, state, actions));
    }
  CHECK(graphed.replays() == (are_recorded() ? 4 : 0));
}

namespace {

// Its rollouts wait for the device, which a graph cannot.
class Waiting final : public WorldModel {
 public:
  explicit Waiting(std::shared_ptr<const WorldModel> model) : model_(std::move(model)) {}
  const ModelSpec& spec() const override { return model_->spec(); }
  State initial(int64_t batch) const override { return model_->initial(batch); }
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override {
    return model_->observe(previous, last_action, observation, noise);
  }
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    return model_->step(state, action, noise);
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override {
    if (actions.sum().item<double>() == 1e30) return {};
    return model_->rollout(state, actions, noise);
  }

 private:
  std::shared_ptr<const WorldModel> model_;
};

}  // namespace

TEST_CASE("a model whose rollouts wait for the device is computed as ever", "[device]") {
  at::NoGradGuard no_grad;
  const auto model = model_under_test();
  const GraphedModel waiting(std::make_shared<Waiting>(model)), graphed(model);
  const auto state = observed(*model, 5);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto actions = blocks(*model, 3, 6 + i);
    const auto expected = imagined(*model, state, actions);
    check_close(imagined(waiting, state, actions), expected);
    check_close(imagined(graphed, state, actions), expected);  // others are still recorded
  }
  CHECK(waiting.replays() == 0);
  CHECK(graphed.replays() == (are_recorded() ? 3 : 0));
}

TEST_CASE("what cannot be a GraphedModel is refused") {
  CHECK(fails_with(ErrorCategory::invalid_argument, [] { GraphedModel(nullptr); }, "no model"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { GraphedModel(model_under_test(), {.shapes = 0}); },
      "GraphOptions.shapes = 0"));
}

}  // namespace foresight::graphed_model_test
