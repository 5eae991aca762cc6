// SPDX-License-Identifier: Apache-2.0
// Agents from bundles of any family: model, heads, calibration, controller.
#include "foresight/control/agent.hpp"

#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include "anonymous_memory.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/nn/packing_pays.hpp"
#include "foresight/nn/state_dict.hpp"
#include "models/dino_wm_under_test.hpp"
#include "models/jepa_under_test.hpp"
#include "temporary_folder.hpp"
#include "test_device.hpp"

namespace foresight::agent_test {

namespace {

constexpr int64_t kProprioWidth = 3;

std::shared_ptr<models::DinoWm> patch_model() {
  return dino_wm_under_test(
      tiny_dino_wm_options(nn::ActionConditioning::feature, 2, kProprioWidth));
}

// Twenty transitions and more in one recorded window.
ObservationWindow recorded(const WorldModel& model, int64_t blocks) {
  PhiloxNoise noise(4);
  ObservationWindow window;
  for (int64_t t = 0; t <= blocks; ++t)
    window.frames.push_back(
        dino_wm_observation(2, static_cast<std::uint64_t>(10 + t), kProprioWidth));
  for (int64_t t = 0; t < blocks; ++t)
    window.blocks.push_back(noise.normal({2, model.spec().action.width()}));
  return window;
}

AgentOptions quick_planning() {
  auto options = AgentOptions::lewm();
  options.sampling.samples = 12;
  options.sampling.elites = 4;
  options.sampling.iterations = 2;
  options.control.horizon = 2;
  return options;
}

}  // namespace

TEST_CASE("an agent infers in the precision that is asked for, or says that it cannot") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto jepa =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, 2));
  models::write_jepa(folder / "jepa", *jepa, models::jepa_bundle_config(*jepa));
  const auto saved = Agent::load(folder / "jepa");
  PhiloxNoise noise(1);
  const auto observation = pixel_observation(1, 2);
  const auto expected = saved.model().encode(observation, noise);
  auto fixed = Agent::load(folder / "jepa");
  fixed.compute_in(models::InferencePrecision::fixed16);
  const auto latent = fixed.model().encode(observation, noise);
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { fixed.compute_in(models::InferencePrecision::float32); },
      "load its bundle anew"));
  CHECK(at::allclose(latent, expected, 1e-2, 1e-2));
  CHECK_FALSE(at::equal(latent, expected));
  auto narrow = Agent::load(folder / "jepa");
  narrow.compute_in(models::InferencePrecision::bfloat16);
  CHECK(narrow.model().encode(observation, noise).scalar_type() == at::kBFloat16);

  const auto patches = patch_model();
  models::write_dino_wm(folder / "patches", *patches, models::dino_wm_bundle_config(*patches));
  auto other = Agent::load(folder / "patches");
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { other.compute_in(models::InferencePrecision::fixed16); },
      "dino_wm", "fixed16"));
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { other.compute_in(models::InferencePrecision::bfloat16_rechecked); }, "dino_wm",
      "bfloat16_rechecked"));
}

TEST_CASE("an agent that imagines in bfloat16 and rechecks finds float32's plan") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto jepa =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, 2));
  models::write_jepa(folder / "jepa", *jepa, models::jepa_bundle_config(*jepa));
  const auto planned = [&](models::InferencePrecision precision) {
    auto agent = Agent::load(folder / "jepa");
    agent.options.sampling.samples = 100;
    agent.options.sampling.elites = 10;
    agent.options.sampling.iterations = 6;
    agent.compute_in(precision);
    auto mpc = agent.controller();
    mpc.set_goal(pixel_observation(1, 3));
    const auto decision = mpc.act(pixel_observation(1, 4));
    INFO(decision.message);
    REQUIRE(decision.status == Status::ok);
    CHECK(agent.objective().names().size() == 1);
    return decision.solved.front().plan;
  };
  const auto wide = planned(models::InferencePrecision::float32),
             checked = planned(models::InferencePrecision::bfloat16_rechecked),
             narrow = planned(models::InferencePrecision::bfloat16);
  CHECK(at::allclose(checked.actions, wide.actions, 0, 1e-4));
  CHECK(at::allclose(checked.cost, wide.cost, 0, 1e-4));
  CHECK_FALSE(at::allclose(narrow.actions, wide.actions, 0, 1e-2));

  auto agent = Agent::load(folder / "jepa");
  agent.compute_in(models::InferencePrecision::bfloat16_rechecked);
  CHECK(agent.module().parameters().front().scalar_type() == at::kFloat);
  {
    const auto objective = agent.objective();
    CHECK(fails_with(ErrorCategory::invalid_argument, [&] { agent.to(at::kMeta); }, "Agent::to"));
  }
  agent.options.sampling.elites = 0;
  CHECK(fails_with(ErrorCategory::unsupported, [&] { agent.objective(); }, "elites"));
}

TEST_CASE("an agent plans with a model of patches as with one of vectors") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto model = patch_model();
  auto config = models::dino_wm_bundle_config(*model);
  config.planner = write_options(quick_planning());
  models::write_dino_wm(folder / "bundle", *model, config);

  const auto agent = Agent::load(folder / "bundle");
  CHECK(agent.model().spec().family == "dino_wm");
  CHECK(agent.critic() == nullptr);
  CHECK(agent.options.sampling.samples == 12);
  const auto weights = nn::state_dict(agent.module()), expected = nn::state_dict(*model);
  REQUIRE(weights.size() == expected.size());
  for (std::size_t i = 0; i < weights.size(); ++i)
    CHECK(at::equal(weights[i].second, expected[i].second));
  for (const auto& parameter : agent.module().parameters()) CHECK_FALSE(parameter.requires_grad());

  auto mpc = agent.controller();
  mpc.set_goal(dino_wm_observation(1, 1, kProprioWidth));
  const auto decision = mpc.act(dino_wm_observation(1, 2, kProprioWidth));
  INFO(decision.message);
  CHECK(decision.status == Status::ok);
  CHECK(decision.sources.front() == ActionSource::plan);
}

TEST_CASE("an agent weighs the distance of imagined proprioception to the goal's") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto model = patch_model();
  models::write_dino_wm(folder / "bundle", *model, models::dino_wm_bundle_config(*model));
  auto agent = Agent::load(folder / "bundle");
  agent.options = quick_planning();
  agent.options.objective.distance.reduction = Reduction::mean;
  agent.options.objective.proprio_distance = 0.5;
  CHECK(agent.objective().names() == std::vector<std::string>{"goal_distance", "proprio_distance"});

  const auto start = dino_wm_observation(1, 2, kProprioWidth);
  auto goal = dino_wm_observation(1, 1, kProprioWidth);
  // The plan's term is that of the objective which DINO-WM writes down.
  const auto check_plan = [&] {
    auto mpc = agent.controller();
    mpc.set_goal(goal);
    const auto decision = mpc.act(start);
    INFO(decision.message);
    REQUIRE(decision.status == Status::ok);
    const auto& plan = decision.solved.front().plan;
    PhiloxNoise noise(1);
    Task task(1);
    task.set(kGoal, model->encode(goal, noise));
    task.set("own", model->encode_proprio(goal.at(kProprio)).unsqueeze(1));
    Objective written;
    written.add("goal_distance", 1.0, goal_distance({.reduction = Reduction::mean}));
    written.add("proprio_distance", 0.5,
                goal_distance({.reduction = Reduction::mean, .field = "proprio", .goal = "own"}));
    const auto state = model->observe(model->initial(1), {}, start, noise);
    const auto expected =
        written.cost_function(*model, state, noise, task)(plan.actions.unsqueeze(1));
    REQUIRE(plan.terms.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
      INFO(plan.terms[i].first);
      CHECK(plan.terms[i].first == expected.terms[i].first);
      CHECK(at::allclose(plan.terms[i].second, expected.terms[i].second.squeeze(1), 1e-4, 1e-6));
    }
    return plan.terms[1].second.item<double>();
  };
  const auto near = check_plan();
  goal.set(kProprio, goal.at(kProprio) + 10);
  CHECK(check_plan() > 10 * near);

  const auto jepa =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, 2));
  models::write_jepa(folder / "jepa", *jepa, models::jepa_bundle_config(*jepa));
  auto blind = Agent::load(folder / "jepa");
  blind.options.objective.proprio_distance = 0.5;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { blind.controller(); }, "proprio_distance", "'jepa'"));
  blind.options.objective.proprio_distance = -1;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { blind.objective(); }, "proprio_distance = -1"));
}

TEST_CASE("a bundle keeps what its model's surprise was, and an agent watches with it") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto model = patch_model();
  PhiloxNoise noise(3);
  const auto calibration = calibrate_surprise(*model, {recorded(*model, 15)}, noise);
  auto config = models::dino_wm_bundle_config(*model);
  config.heads[kSurpriseHead] = write_options(calibration);
  models::write_dino_wm(folder / "bundle", *model, config);

  auto agent = Agent::load(folder / "bundle");
  REQUIRE(agent.calibration().has_value());
  CHECK(agent.calibration()->quantiles == calibration.quantiles);
  CHECK(agent.calibration()->scale == calibration.scale);
  agent.options = quick_planning();
  const auto monitor = agent.monitor({.level = 0.9});
  CHECK(monitor->threshold() == surprise_threshold(calibration, {.level = 0.9}));
  auto mpc = agent.controller();
  mpc.watch(monitor);
  mpc.set_goal(dino_wm_observation(1, 1, kProprioWidth));
  bool judged = false;
  for (int step = 0; step < 3; ++step) {
    const auto decision =
        mpc.act(dino_wm_observation(1, static_cast<std::uint64_t>(step), kProprioWidth));
    judged = judged || decision.safety[0].judged();
  }
  CHECK(judged);
}

TEST_CASE("weights stay as they are while something that was made from an agent is left") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto jepa =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, 2));
  models::write_jepa(folder / "jepa", *jepa, models::jepa_bundle_config(*jepa));
  auto agent = Agent::load(folder / "jepa");
  auto copy = agent;
  agent.options = quick_planning();
  const auto refused = [&](Agent& which) {
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { which.to(at::kMeta); }, "Agent::to", "controller"));
    CHECK(fails_with(
        ErrorCategory::invalid_argument,
        [&] { which.compute_in(models::InferencePrecision::bfloat16); }, "Agent::compute_in"));
    CHECK_NOTHROW(which.to(at::kCPU));  // nothing changes
    CHECK_NOTHROW(which.compute_in(models::InferencePrecision::float32));
  };
  {
    const auto mpc = agent.controller();
    refused(agent);
    refused(copy);  // it shares the weights
    CHECK_NOTHROW(copy.compute_in(models::InferencePrecision::fixed16));
    CHECK_NOTHROW(copy.to(at::kCPU));
    refused(agent);
  }
  CHECK_NOTHROW(agent.to(at::kCPU));
  agent.compute_in(models::InferencePrecision::bfloat16);
  CHECK(agent.module().parameters().front().scalar_type() == at::kBFloat16);
  CHECK(jepa->parameters().front().scalar_type() == at::kFloat);
}

TEST_CASE("an agent that moves to a GPU leaves nothing laid out for the CPU behind", "[device]") {
  if (on_cpu()) return;
  if (anonymous_memory() < 0) {
    WARN("/proc/self/status tells no RssAnon here");
    return;
  }
  at::NoGradGuard no_grad;
  auto options = tiny_jepa_options(models::EncoderKind::vit, models::PredictorKind::adaln, 3);
  options.adaln = {.depth = 4, .width = 512, .heads = 8, .head_width = 64, .mlp_width = 2048};
  const TemporaryFolder folder;
  {
    const models::Jepa model(options, 1);
    models::write_jepa(folder / "jepa", model, models::jepa_bundle_config(model));
  }
  auto agent = Agent::load(folder / "jepa");
  auto& model = const_cast<models::Jepa&>(dynamic_cast<const models::Jepa&>(agent.model()));
  model.unpack();
  const auto before = anonymous_memory();
  model.pack();  // also where that does not pay
  if (nn::has_fast_packing()) CHECK(anonymous_memory() - before > 32);
  agent.to(test_device());
  // The device's memory is the process's own on a stand-in, and not on a GPU.
  CHECK(anonymous_memory() - before < 16);
  agent.to(at::kCPU);
  if (nn::packing_pays(at::kFloat)) model.unpack();
  CHECK(anonymous_memory() - before < 16);
}

TEST_CASE("without a calibration there is no monitor, and a broken one is named") {
  const TemporaryFolder folder;
  const auto model =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::cnn, models::PredictorKind::mlp, 1));
  auto config = models::jepa_bundle_config(*model);
  models::write_jepa(folder / "plain", *model, config);
  const auto agent = Agent::load(folder / "plain");
  CHECK_FALSE(agent.calibration().has_value());
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { agent.monitor(); }, "surprise", "calibrate_surprise"));

  config.heads[kSurpriseHead] = {{"median", 1.0}, {"spraed", 1.0}};
  models::write_jepa(folder / "misspelt", *model, config);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { Agent::load(folder / "misspelt"); }, "heads.surprise",
      "spraed", "spread"));
  config.heads[kSurpriseHead] = {{"median", 1.0}};
  models::write_jepa(folder / "empty", *model, config);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { Agent::load(folder / "empty"); }, "transitions"));
}

}  // namespace foresight::agent_test
