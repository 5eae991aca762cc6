// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/critic_task.hpp"

#include <torch/nn.h>

#include <cmath>

#include "catch.hpp"
#include "foresight/train/trainer.hpp"

namespace foresight::train::critic_task_test {


namespace {

// Two episodes on a line: rows 0..9 have latents 0..9, rows 10..14 have 20..24.
EpisodeLatents line() {
  EpisodeLatents episodes;
  episodes.latents =
      at::cat({at::arange(10, at::kFloat), at::arange(20, 25, at::kFloat)}).unsqueeze(1);
  episodes.first = {0, 10, 15};
  return episodes;
}

std::shared_ptr<models::ValueCritic> critic() {
  models::ValueCriticOptions options;
  options.latent = 1;
  options.mlp.hidden = {16};
  return std::make_shared<models::ValueCritic>(options, 1);
}

}  // namespace

TEST_CASE("the expectile loss is minimised by the expectile") {
  // Targets 0, 1, 5: the e-expectile v solves e * sum(y > v)(y - v) = (1 - e) * sum(y < v)(v - y).
  const auto targets = at::tensor({0.0, 1.0, 5.0});
  for (const double e : {0.1, 0.5, 0.9}) {
    double best = 0, lowest = INFINITY;
    for (double v = 0; v <= 5; v += 0.001) {
      const auto loss =
          expectile_loss(at::full({3}, v, at::kDouble), targets.to(at::kDouble), e).item<double>();
      if (loss < lowest) {
        lowest = loss;
        best = v;
      }
    }
    double up = 0, down = 0;
    for (const double y : {0.0, 1.0, 5.0}) (y > best ? up : down) += std::abs(y - best);
    CHECK(e * up == Approx((1 - e) * down).margin(2e-3));
  }
}

TEST_CASE("pairs never cross an episode on the way and their steps are counted in model steps") {
  CriticTaskOptions options;
  options.reach = 3;
  options.future = 0.5;
  options.random = 0.3;
  CriticTask task(critic(), line(), {}, 2, options, 1);
  PhiloxNoise noise(2);
  const auto pairs = task.draw(PairSource(line()), 4000, noise);
  const auto from = pairs.from.squeeze(1), later = pairs.later.squeeze(1),
             goal = pairs.goal.squeeze(1);
  const auto rows = later - from;  // latents are row numbers (plus 10 in the second episode)
  CHECK((rows >= 1).all().item<bool>());
  CHECK((rows <= 3).all().item<bool>());
  CHECK(at::allclose(pairs.steps, rows / 2));
  CHECK(((from < 10) == (later < 10)).all().item<bool>());
  // Arrived exactly where the later row is the goal of a future pair.
  CHECK(at::equal(later.masked_select(pairs.arrived), goal.masked_select(pairs.arrived)));
  CHECK(at::equal(from.masked_select(pairs.same), goal.masked_select(pairs.same)));
  CHECK(pairs.same.to(at::kFloat).mean().item<float>() == Approx(0.2).margin(0.03));
  CHECK(from.max().item<float>() < 24.0F);  // the last row of an episode starts nothing
}

TEST_CASE("targets are steps plus the discounted rest, and end at the goal") {
  CriticTaskOptions options;
  options.discount = 0.9;
  auto network = critic();
  CriticTask task(network, line(), {}, 5, options, 1);
  CriticTask::Pairs pairs;
  pairs.from = at::tensor({0.0F, 1.0F, 2.0F}).unsqueeze(1);
  pairs.goal = at::tensor({9.0F, 3.0F, 2.0F}).unsqueeze(1);
  pairs.later = at::tensor({5.0F, 3.0F, 4.0F}).unsqueeze(1);
  pairs.steps = at::tensor({1.0F, 0.4F, 0.4F});
  pairs.arrived = at::tensor({0, 1, 0}).to(at::kBool);
  pairs.same = at::tensor({0, 0, 1}).to(at::kBool);
  const auto y = task.targets(pairs);
  const auto rest = network->forward(pairs.later, pairs.goal)[0].item<double>();
  CHECK(y[0].item<double>() == Approx(1.0 + 0.9 * rest));
  CHECK(y[1].item<double>() == Approx(0.4));
  CHECK(y[2].item<double>() == 0.0);
  CHECK_FALSE(y.requires_grad());
}

TEST_CASE("the target network follows, is saved, and the position resumes the draws") {
  CriticTask task(critic(), line(), line(), 5, {.target_rate = 0.25}, 1);
  const auto target = task.extra_tensors();
  const auto before = target[0].second.clone();
  {
    at::NoGradGuard no_grad;
    for (auto& parameter : task.module().parameters()) parameter.add_(1.0);
  }
  task.updated();
  CHECK(at::allclose(target[0].second, before + 0.25));
  task.loss();
  const auto position = task.position();
  const auto next = task.loss().total().item<double>();
  task.seek(position);
  CHECK(task.loss().total().item<double>() == next);
  CHECK_THROWS_AS(task.seek("{}"), Error);
  CHECK(task.validate().total().item<double>() > 0.0);
}

TEST_CASE("a line that is walked with detours is judged by its short ways") {
  // From 0 to 9 in steps of one row, once directly and once pausing at every place for three rows.
  EpisodeLatents episodes;
  const auto direct = at::arange(10, at::kFloat);
  episodes.latents = (at::cat({direct, direct.repeat_interleave(4)}) / 10).unsqueeze(1);
  episodes.first = {0, 10, 50};
  auto network = critic();
  CriticTask task(
      network, episodes, {}, 1,
      {.batch = 256, .discount = 1.0, .expectile = 0.05, .reach = 5, .future = 0.9, .random = 0.0},
      1);
  TrainOptions options;
  options.steps = 1500;
  options.validate_every = 0;
  options.checkpoint_every = 0;
  options.optimizer.lr = 5e-3;
  const auto folder = std::filesystem::temp_directory_path() / "foresight_critic_line";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EventWriter metrics(folder);
  train::train(task, options, {folder}, metrics, ProgressStyle::silent);
  std::filesystem::remove_all(folder);
  at::NoGradGuard no_grad;
  const auto steps = network->forward(at::tensor({0.0F}), at::tensor({0.9F})).item<double>();
  CHECK(steps > 7.0);   // nine rows are the shortest way
  CHECK(steps < 16.0);  // the slow walk takes 36
}

TEST_CASE("too little data and bad options are refused") {
  EpisodeLatents single;
  single.latents = at::zeros({2, 1});
  single.first = {0, 1, 2};
  CHECK_THROWS_WITH(CriticTask(critic(), single, {}, 1, {}, 1), Catch::Contains("two rows"));
  CHECK_THROWS_WITH(CriticTask(critic(), line(), {}, 1, {.expectile = 1.0}, 1),
                    Catch::Contains("expectile = 1"));
}

}  // namespace foresight::train::critic_task_test
