// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's recipe: its schedule and clipping against the reference's, batches that go on exactly,
// and a small model that learns.
#include "foresight/train/eb_jepa_task.hpp"

#include <torch/nn/module.h>

#include <cmath>
#include <map>
#include <memory>

#include "catch.hpp"
#include "envs/eb_golden_options.hpp"
#include "error_message.hpp"
#include "foresight/train/adamw.hpp"
#include "foresight/train/gradient_norm.hpp"
#include "golden.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::eb_jepa_task_test {
namespace {

models::EbJepaOptions tiny_model() {
  auto options = models::EbJepaOptions::small();
  options.encoder.channels = {4, 4, 4};
  options.encoder.width = 16;
  options.inverse_dynamics_hidden = 16;
  options.predicted_steps = 3;
  return options;
}

envs::EbTrajectoryOptions short_windows() {
  envs::EbTrajectoryOptions options;
  options.geometry.wall = envs::WallPlacement::fixed;
  options.positions = 12;
  options.window = 4;
  return options;
}

EbJepaTaskOptions few_clips() { return {.batch = 8, .validation_clips = 12, .seed = 3}; }

EbJepaTask tiny_task(std::uint64_t seed = 0) {
  return {std::make_shared<models::EbJepa>(tiny_model(), seed), short_windows(), few_clips()};
}

}  // namespace

TEST_CASE("eb_jepa_training() has the learning rates of the reference", "[parity][device]") {
  for_each_golden("eb_jepa/ac_train", [](Golden& golden) {
    const auto& optim = golden.config().at("optim");
    const auto steps = optim.at("total_steps").get<int64_t>();
    const auto options = eb_jepa_training(steps);
    CHECK(options.optimizer.lr == optim.at("lr").get<double>());
    CHECK(options.optimizer.weight_decay == optim.at("weight_decay").get<double>());
    std::vector<double> rates;
    for (int64_t step = 0; step < steps; ++step)
      rates.push_back(options.optimizer.lr * learning_rate_factor(options.schedule, step, steps));
    golden.compare_within("outputs64/lr_schedule", at::tensor(rates, at::kDouble), {0, 1e-12, 0},
                          "learning rates span decades: relative");
  });
}

TEST_CASE("gradients are clipped group by group, a shared parameter in both groups") {
  // Two parameters of norm 6 and 8 in the first group (10 together), the second one shared.
  const auto parameter = [](double gradient) {
    auto p = at::zeros({1}, at::kDouble).requires_grad_(true);
    p.mutable_grad() = at::full({1}, gradient, at::kDouble);
    return p;
  };
  const auto own = parameter(6), shared = parameter(8), other = parameter(0.3);
  const auto untouched = at::zeros({1}, at::kDouble).requires_grad_(true);
  CHECK(clip_gradient_norm({own, shared, untouched}, 2.0).item<double>() == Approx(10));
  CHECK(own.grad().item<double>() == Approx(1.2).epsilon(1e-6));
  CHECK(shared.grad().item<double>() == Approx(1.6).epsilon(1e-6));
  // The shared one goes into the second norm as it is now: sqrt(1.6^2 + 0.3^2) = 1.628 < 2.
  CHECK(clip_gradient_norm({other, shared}, 2.0).item<double>() == Approx(std::hypot(1.6, 0.3)));
  CHECK(shared.grad().item<double>() == Approx(1.6).epsilon(1e-6));
  CHECK(clip_gradient_norm({other, shared}, 0.5).item<double>() == Approx(std::hypot(1.6, 0.3)));
  CHECK(shared.grad().item<double>() == Approx(1.6 * 0.5 / std::hypot(1.6, 0.3)).epsilon(1e-5));
  CHECK_FALSE(untouched.grad().defined());
}

TEST_CASE("an EbJepa task clips encoder, then predictor, and leaves the other heads alone") {
  auto task = tiny_task();
  task.loss().total().backward();
  auto& model = dynamic_cast<models::EbJepa&>(task.module());
  for (auto& p : model.parameters()) p.mutable_grad().fill_(1.0);
  const auto groups = model.clipping_groups();
  REQUIRE(groups.size() == 2);
  std::map<std::string, double> before;
  const auto first_number = [](const Tensor& p) { return p.detach().flatten()[0].item<double>(); };
  for (const auto& item : model.named_parameters()) before[item.key()] = first_number(item.value());
  // With such an epsilon the first update is the clipped gradient; AdamW's own limit plays no part.
  const AdamWOptions options{.lr = 1e6, .weight_decay = 0, .epsilon = 1e6, .clip = 1e-3};
  AdamW optimizer(task.module(), options, task.clipping_groups());
  optimizer.step(1.0);
  // All gradients are equal, so a group's norm is the root of its number of elements. The norm's
  // parameters come last in neither group: look for them by name.
  double first = 0;
  for (const auto& p : groups[0]) first += static_cast<double>(p.numel());
  const double after_first = 2 / (std::sqrt(first) + 1e-6);
  double squares = 0, shared_count = 0;
  for (const auto& p : groups[1]) {
    const bool shared = std::any_of(groups[0].begin(), groups[0].end(),
                                    [&](const Tensor& q) { return q.is_same(p); });
    shared_count += shared;
    squares += static_cast<double>(p.numel()) * (shared ? after_first * after_first : 1.0);
  }
  CHECK(shared_count == 2);  // weight and bias of the last layer norm
  const double second = 2 / (std::sqrt(squares) + 1e-6);
  REQUIRE((after_first < 1 && second < 1));
  for (const auto& item : model.named_parameters()) {
    INFO(item.key());
    const auto value = before.at(item.key()) - first_number(item.value());
    const bool in_first = item.key().starts_with("encoder."),
               shared = item.key().find("final_ln") != std::string::npos,
               in_second = shared || item.key().starts_with("predictor.");
    const double expected = (in_first ? after_first : 1.0) * (in_second ? second : 1.0);
    CHECK(value == Approx(expected).epsilon(1e-3));
  }
}

TEST_CASE("an EbJepa task goes on from a position with the clips that were left") {
  auto task = tiny_task();
  task.loss();
  const auto position = task.position();
  const auto next = task.loss().total().item<double>();
  CHECK(task.loss().total().item<double>() != next);
  auto resumed = tiny_task();
  resumed.seek(position);
  CHECK(resumed.loss().total().item<double>() == next);
  const auto held_out = task.validate().total().item<double>();
  CHECK(task.validate().total().item<double>() == held_out);
  CHECK(held_out != next);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { task.seek("{}"); }, "position"));
}

TEST_CASE("a trained EbJepa tells latents of different places apart and predicts them") {
  TemporaryFolder folder;
  auto task = tiny_task();
  const auto before = task.validate();
  auto options = eb_jepa_training(60);
  options.optimizer.lr = 5e-3;
  options.log_every = 20;
  options.validate_every = options.checkpoint_every = 0;
  EventWriter metrics(folder.path());
  const auto result = train(task, options, {folder.path()}, metrics, ProgressStyle::silent);
  CHECK(result.outcome == Outcome::finished);
  const auto after = task.validate();
  CHECK(after.total().item<double>() < 0.8 * before.total().item<double>());
  CHECK(after.at("std").value.item<double>() < 0.6 * before.at("std").value.item<double>());
}

TEST_CASE("a position probe learns along and changes nothing of what it watches") {
  const auto trained = [](EbJepaTask& task) {
    TemporaryFolder folder;
    auto options = eb_jepa_training(40);
    options.optimizer.lr = 5e-3;
    options.validate_every = options.checkpoint_every = 0;
    EventWriter metrics(folder.path());
    const auto result = train(task, options, {folder.path()}, metrics, ProgressStyle::silent);
    REQUIRE(result.outcome == Outcome::finished);
  };
  const auto model = std::make_shared<models::EbJepa>(tiny_model(), 0);
  auto options = few_clips();
  options.probe_hidden = 16;
  EbJepaTask watched(model, short_windows(), options);
  REQUIRE(watched.probe() != nullptr);
  const auto before = watched.validate();
  CHECK(before.at("probe_error").value.item<double>() > 5);  // pixels: it knows nothing yet
  trained(watched);
  const auto after = watched.validate();
  CHECK(after.at("probe").value.item<double>() < 0.7 * before.at("probe").value.item<double>());

  auto alone = tiny_task();
  trained(alone);
  CHECK(alone.probe() == nullptr);
  const auto expected = alone.module().named_parameters();
  for (const auto& item : model->named_parameters()) {
    INFO(item.key());
    CHECK(at::equal(item.value(), expected[item.key()]));
  }
  CHECK(after.total().item<double>() == alone.validate().total().item<double>());
}

TEST_CASE("planes are normalised by their own range, then by the recipe's statistics",
          "[parity][device]") {
  for_each_golden("eb_jepa/normalizer", [](Golden& golden) {
    const auto images = golden.input("images");  // whole grey levels
    REQUIRE(images.round().equal(images));
    const auto bytes = images.to(at::kByte);
    for (const auto type : {at::kFloat, at::kDouble}) {
      const auto prepared = [&](const models::EbJepaOptions& options, const Tensor& pictures) {
        models::EbJepa model(options);
        model.to(type);
        return model.preprocess(pictures);
      };
      const auto compare = [&](const std::string& key, const Tensor& actual) {
        if (type == at::kDouble)
          golden.compare_within("outputs64/" + key, actual, {1e-6, 1e-7, 0},
                                "the original's float64 run has its statistics in float32");
        else
          golden.compare("outputs/" + key, actual);
      };
      const auto recipe = models::EbJepaOptions::small();
      const auto states = prepared(recipe, bytes);
      compare("state", states);
      // Back to the range, as upstream does for its figures: without the guard of the division.
      const auto planes = [&](const std::vector<double>& values) {
        return at::tensor(values, states.options()).view({-1, 1, 1});
      };
      compare("unnormalized_state",
              states * planes(recipe.image_std) + planes(recipe.image_mean));
      // The range alone: statistics that change nothing but by the guard beside a deviation of 1.
      auto plain = recipe;
      plain.image_mean = {0, 0};
      plain.image_std = {1, 1};
      golden.compare_run("min_max", prepared(plain, bytes) * (1 + 1e-6));
      auto single = recipe;
      single.image_mean.resize(1);
      single.image_std.resize(1);
      compare("single_channel", prepared(single, bytes.narrow(2, 0, 1)));
      const models::PositionProbe probe(models::PositionProbeOptions{});
      compare("unnormalized_mse_of_one", probe.squared_units(at::ones({}, type)));
    }
    // Places are the environment's (tests/envs).
    CHECK(golden.uncompared("outputs") ==
          std::vector<std::string>{"outputs/location", "outputs/unnormalized_location"});
  });
}

TEST_CASE("the pictures that a model makes of trajectories are the reference's",
          "[parity][device]") {
  for_each_golden("eb_jepa/dataset", [](Golden& golden) {
    const auto kept = golden.config().at("keep_states").get<int64_t>();
    const auto options = envs::eb_trajectory_options_of(golden.config());
    const models::EbJepa model(models::EbJepaOptions::small());
    for (int64_t i = 0; i < kept; ++i) {
      const auto name = std::string("s").append(std::to_string(i));
      const auto positions =
          envs::eb_denormalise_positions(golden.output(name + ".locations_normalized").t());
      const envs::EbLayout layout{golden.output(name + ".wall_x").item<int64_t>(),
                                  golden.output(name + ".door_y").item<int64_t>()};
      std::vector<Tensor> pictures;
      for (int64_t t = 0; t < positions.size(0); ++t)
        pictures.push_back(envs::eb_two_rooms_picture(
            options.geometry, layout,
            {positions[t][0].item<float>(), positions[t][1].item<float>()}));
      const auto states = model.preprocess(at::stack(pictures)).movedim(1, 0);
      golden.compare_within(name + ".states", states, {1.01 / 240 / 0.0369, 0, 0},
                            "pictures that we draw may be one grey level off, which is scaled and "
                            "divided by the dot channel's deviation");
    }
  });
}

TEST_CASE("an EbJepa task refuses trajectories that do not fit its model") {
  const auto model = std::make_shared<models::EbJepa>(tiny_model());
  auto options = short_windows();
  options.window = 3;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { EbJepaTask task(model, options, few_clips()); },
      "window = 3", "predicted_steps = 3"));
  options = short_windows();
  options.geometry.image_size = 64;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { EbJepaTask task(model, options, few_clips()); },
      "image_size"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { EbJepaTask task(nullptr, options, few_clips()); },
      "model"));
}

}  // namespace foresight::train::eb_jepa_task_test
