// SPDX-License-Identifier: Apache-2.0
// From recordings to a bundle in one call: what it reads, what it writes, and what it leaves alone.
#include "foresight/train/learn.hpp"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "brief_learning.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/json_file.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::learn_test {
namespace {

// Training must do without states: reading one is an error.
std::shared_ptr<TensorDataset> square_without_states() {
  auto recordings = pushed_square();
  recordings.states_may_be_read = false;
  return std::make_shared<TensorDataset>(std::move(recordings));
}

LearnResult run(const LearnOptions& options, const std::filesystem::path& path,
                bool resume = false) {
  return learn(square_without_states(), options, {path, resume}, at::kCPU, ProgressStyle::silent);
}

}  // namespace

TEST_CASE("learn() makes a bundle that plans, from frames and actions alone") {
  const TemporaryFolder folder;
  const auto result = run(brief_learning(), folder.path() / "run");
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.world_model.step == 12);
  CHECK(result.critic.step == 8);
  CHECK(std::isfinite(result.world_model.validation_loss));

  const auto agent = Agent::load(result.bundle);
  REQUIRE(agent.critic() != nullptr);
  CHECK(agent.options.control.replan_steps == 2);
  // Two of ten episodes are held out, and only the others shape the statistics.
  const auto held = agent.config().provenance["validation_episodes"].get<std::vector<int64_t>>();
  REQUIRE(held.size() == 2);
  std::vector<int64_t> fitted;
  const auto dataset = square_without_states();
  for (int64_t e = 0; e < dataset->num_episodes(); ++e)
    if (e != held[0] && e != held[1]) fitted.push_back(e);
  // The last action of an episode leads nowhere and does not count.
  const auto rows = dataset->length(0);
  const auto pushes =
      pushed_square().actions.index_select(0, at::tensor(fitted)).narrow(1, 0, rows - 1).flatten();
  const auto& action = agent.model().spec().action;
  CHECK(action.block == 2);
  REQUIRE(action.mean.size() == 1);
  CHECK(action.mean[0] == Approx(pushes.mean().item<double>()));
  CHECK(action.std[0] == Approx(pushes.std(/*unbiased=*/false).item<double>()));
  CHECK(action.low[0] == Approx(pushes.min().item<double>()));
  CHECK(action.high[0] == Approx(pushes.max().item<double>()));

  auto mpc = agent.controller();
  const auto frames = dataset->read_frames(0, {0, 9});
  mpc.set_goal({kPixels, frames.narrow(0, 1, 1)});
  const auto decision = mpc.act({kPixels, frames.narrow(0, 0, 1)});
  CHECK(decision.status == Status::ok);
  CHECK(decision.sources.front() == ActionSource::plan);
}

TEST_CASE("learn() keeps how surprising the held-out episodes were") {
  const TemporaryFolder folder;
  auto options = brief_learning();
  options.windows.stride = GENERATE(2, 1);
  const auto result = run(options, folder.path() / "run");
  REQUIRE(result.outcome == Outcome::finished);
  const auto agent = Agent::load(result.bundle);
  REQUIRE(agent.calibration().has_value());
  CHECK_FALSE(agent.config().provenance.contains("surprise"));

  const auto held = agent.config().provenance["validation_episodes"].get<std::vector<int64_t>>();
  const auto dataset = square_without_states();
  const auto& action = agent.model().spec().action;
  PhiloxNoise noise(0);
  at::NoGradGuard no_grad;
  std::vector<Tensor> errors;  // one step ahead, by hand
  for (const auto episode : held)
    for (int64_t row = 0; row + action.block < dataset->length(episode); row += action.block) {
      const auto seen = [&](int64_t r) {
        return agent.model().observe(agent.model().initial(1), {},
                                     {kPixels, dataset->read_frames(episode, {r})}, noise);
      };
      const auto block = action.normalise(pushed_square()
                                              .actions[episode]
                                              .narrow(0, row, action.block)
                                              .to(at::kFloat)
                                              .reshape({1, -1}));
      errors.push_back(agent.model().step(seen(row), block, noise).next.at("latent") -
                       seen(row + action.block).at("latent"));
    }
  const auto expected = calibrate_surprise(at::cat(errors));
  CHECK(agent.calibration()->transitions == expected.transitions);
  CHECK(agent.calibration()->median == Approx(expected.median).epsilon(1e-4));
  REQUIRE(agent.calibration()->scale.size() == expected.scale.size());
  for (std::size_t i = 0; i < expected.scale.size(); ++i)
    CHECK(agent.calibration()->scale[i] == Approx(expected.scale[i]).epsilon(1e-4));
}

TEST_CASE("a finished run resumes to the same bundle, and never with other options") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "run";
  auto options = brief_learning();
  REQUIRE(run(options, path).outcome == Outcome::finished);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { run(options, path); }, "holds a run already"));
  const auto again = run(options, path, /*resume=*/true);
  CHECK(again.outcome == Outcome::finished);
  CHECK(again.world_model.step == 12);
  options.training.optimizer.lr *= 2;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { run(options, path, /*resume=*/true); },
      "training.optimizer.lr"));
}

TEST_CASE("a training that diverges writes no bundle and names the term") {
  const TemporaryFolder folder;
  auto options = brief_learning();
  options.training.optimizer.lr = 1e18;
  options.training.optimizer.clip = 0;
  options.training.schedule.warmup = 0;
  const auto result = run(options, folder.path() / "run");
  CHECK(result.outcome == Outcome::diverged);
  CHECK_THAT(result.message, Catch::Contains("world model") && Catch::Contains("loss"));
  CHECK(result.bundle.empty());
  CHECK_FALSE(std::filesystem::exists(folder.path() / "run" / "bundle"));
}

TEST_CASE("recordings that are too short for a window are refused by name") {
  const TemporaryFolder folder;
  auto options = brief_learning();
  options.windows.stride = 12;  // five frames need 48 rows
  CHECK_THROWS_AS(run(options, folder.path() / "run"), Error);
}

}  // namespace foresight::train::learn_test
