// SPDX-License-Identifier: Apache-2.0
// I-JEPA and LeJEPA learn image encoders from pictures: what they learn, that they do not collapse,
// and that one step is the one written by hand.
#include <cmath>
#include <set>

#include "catch.hpp"
#include "copies_made.hpp"
#include "error_message.hpp"
#include "first_step.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/models/vjepa2_pretraining.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "foresight/train/lejepa_task.hpp"
#include "tensor_dataset.hpp"
#include "test_device.hpp"

namespace foresight::train::image_tasks_test {
namespace {

constexpr int64_t kPictureSide = 32;
constexpr std::uint64_t kTaskSeed = 5, kTrainingDraws = 1;  // stream from which a task draws

TaskData pictures(int64_t batch = 32) {
  return {.training = windows_of(scattered_squares(kPictureSide), 1, batch, {}, {0, 1, 2, 3, 4}),
          .validation = windows_of(scattered_squares(kPictureSide), 1, 32, {}, {5}),
          .validation_batches = 1,
          .seed = kTaskSeed};
}

TaskData tints(int64_t batch) {
  return {.training = windows_of(tinted_pictures(kPictureSide), 1, batch, {}, {0, 1, 2, 3, 4}),
          .validation = windows_of(tinted_pictures(kPictureSide), 1, 32, {}, {5}),
          .validation_batches = 1,
          .seed = kTaskSeed};
}

models::VJepa2Options small_ijepa() {
  auto options = ijepa_tiny();
  options.image.size = options.encoder.image_height = options.encoder.image_width = kPictureSide;
  options.encoder.patch = 4;
  options.encoder.width = 24;
  options.encoder.depth = 2;
  options.encoder.heads = 2;
  options.encoder.mlp_width = 48;
  options.predictor.width = 16;
  options.predictor.depth = 1;
  options.predictor.mlp_width = 32;
  return options;
}

LeJepaTaskOptions two_views() {
  LeJepaTaskOptions options;
  options.views.global_size = kPictureSide;
  options.views.global_scale = {0.6, 1.0};
  options.views.local_views = 1;
  options.views.local_size = kPictureSide / 2;
  options.views.brightness = options.views.contrast = options.views.saturation = 0.1;
  options.views.grey = 0;  // what the probe reads is a colour
  options.probe.columns = 2;
  options.probe.mean = {0.5, 0.5};
  options.probe.std = {0.29, 0.29};
  return options;
}

// As probes want it: a clip would be by the norm of both gradients.
TrainResult unclipped_training(Task& task, int64_t steps, double rate) {
  return brief_training(task, steps, rate, /*clip=*/0);
}

}  // namespace

TEST_CASE("I-JEPA's blocks have the sizes asked for, and the context holds none of the targets") {
  const nn::TokenGrid grid{1, 14, 14};
  const models::ImageBlockMasks masks({}, grid);
  PhiloxNoise noise(3);
  std::set<int64_t> sizes;
  for (int round = 0; round < 20; ++round) {
    const auto blocks = masks.sample(3, noise);
    REQUIRE(blocks.targets.size(0) == 4 * 3);
    REQUIRE(blocks.context.size(0) == 3);
    // 15 to 20 % of 196 patches, up to the rounding of two sides.
    const auto size = blocks.targets.size(1);
    sizes.insert(size);
    CHECK(size >= 0.15 * 196 * 0.8);
    CHECK(size <= 0.20 * 196 * 1.2);
    for (int64_t picture = 0; picture < 3; ++picture) {
      auto hidden = at::zeros({196}, at::kBool);
      for (int64_t m = 0; m < 4; ++m) {
        const auto ids = blocks.targets[m * 3 + picture];
        hidden.index_fill_(0, ids, true);
        // A block is a rectangle: as many rows times columns as patches.
        const auto rows = ids.floor_divide(14), columns = ids.remainder(14);
        CHECK(
            ((rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)).item<int64_t>() ==
            size);
      }
      CHECK_FALSE(hidden.index_select(0, blocks.context[picture]).any().item<bool>());
    }
  }
  CHECK(sizes.size() > 1);
  models::ImageBlockMaskOptions all;
  all.target_scale = {1.0, 1.0};
  all.target_aspect = {1.0, 1.0};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { models::ImageBlockMasks(all, grid).sample(1, noise); },
      "leave no context"));
}

TEST_CASE("I-JEPA's loss falls on held-out pictures and its target does not collapse") {
  const auto model = std::make_shared<models::VJepa2>(small_ijepa(), 1);
  IJepaTask task(model, pictures(), {.momentum = 0.98});
  const auto before = task.validate().total().item<double>();
  const auto result = brief_training(task, 60, 2e-3);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.validation_loss < 0.8 * before);
  const auto batch = pictures().validation->next();
  const auto tokens = models::masked_targets(task.target(), model->preprocess(batch->pixels));
  CHECK(eval::measure_collapse(tokens.flatten(0, 1)).effective_rank > 2);
}

TEST_CASE("one step of I-JEPA is the one written by hand, and its target follows by its schedule") {
  const auto model = std::make_shared<models::VJepa2>(small_ijepa(), 1);
  IJepaTask task(model, pictures(4), {.momentum = 0.5, .final_momentum = 1.0, .momentum_steps = 4});
  const auto images = model->preprocess(pictures(4).training->next()->pixels);
  PhiloxNoise noise(kTaskSeed, kTrainingDraws);
  const auto blocks = models::ImageBlockMasks({}, model->options().encoder.grid()).sample(4, noise);
  const auto start = nn::state_dict(task.target());
  std::vector<Tensor> first;
  for (const auto& [name, tensor] : start) first.push_back(tensor.clone());
  check_first_step(
      task,
      [&] {
        Tensor wanted;
        {
          at::NoGradGuard no_grad;  // at first the target is the encoder itself
          const auto tokens = model->encode(images);
          wanted = at::layer_norm(tokens, {tokens.size(2)});
        }
        const auto context = model->encode_context(images, blocks.context);
        Tensor sum = at::zeros({});
        int64_t values = 0;
        for (int64_t m = 0; m < 4; ++m)
          for (int64_t b = 0; b < 4; ++b) {
            const auto ids = blocks.targets.narrow(0, m * 4 + b, 1);
            const auto predicted = model->predict_targets(context.narrow(0, b, 1),
                                                          blocks.context.narrow(0, b, 1), ids);
            const auto difference = predicted - wanted[b].index_select(0, ids[0]).unsqueeze(0);
            sum = sum + difference.square().sum();
            values += difference.numel();
          }
        return sum / static_cast<double>(values);
      },
      1e-6);
  const auto online = nn::state_dict(model->encoder());
  const auto target = nn::state_dict(task.target());
  for (std::size_t i = 0; i < target.size(); ++i) {
    INFO(target[i].first);
    CHECK(at::allclose(target[i].second, 0.5 * first[i] + 0.5 * online[i].second, 1e-5, 1e-7));
  }
  CHECK(task.momentum() == Approx(0.625));  // one of four updates from 0.5 to 1
  task.seek(R"({"batch":0,"epoch":0,"noise":0,"replay_batch":0,"replay_epoch":0,"skipped":0,"updates":9})");
  CHECK(task.momentum() == 1.0);
}

TEST_CASE("I-JEPA's probe reads the target's mean token, and teaches neither encoder anything") {
  const auto model = std::make_shared<models::VJepa2>(small_ijepa(), 1);
  IJepaOptions options{.momentum = 0.5};
  options.probe = {.columns = 2, .mean = {0.4, 0.4}, .std = {0.2, 0.2}};
  IJepaTask task(model, pictures(4), options);
  const auto batch = pictures(4).training->next();
  const auto images = model->preprocess(batch->pixels);
  PhiloxNoise noise(kTaskSeed, kTrainingDraws);
  const auto blocks = models::ImageBlockMasks({}, model->options().encoder.grid()).sample(4, noise);
  const auto probe = task.module().named_parameters();
  check_first_step(
      task,
      [&] {
        // Its tokens after the last norm, with no gradient: at first it is the encoder itself.
        const auto token = task.target().forward(images).detach().mean(1);
        const auto seen =
            (token - token.mean(1, true)) / (token.var(1, /*unbiased=*/false, true) + 1e-5).sqrt();
        const auto read = at::mm(seen, probe["probe.weight"].t()) + probe["probe.bias"];
        const auto truth = (batch->states.select(1, 0) - 0.4) / 0.2;
        return task.loss_of_blocks(images, blocks).total() + (read - truth).square().mean();
      },
      1e-6);
  // The same training without a probe makes the same model, bit by bit, under the names that
  // checkpoints without a probe have.
  const auto train = [&](const ProbeTargetOptions& watched) {
    auto trained = std::make_shared<models::VJepa2>(small_ijepa(), 1);
    IJepaTask alone(trained, pictures(4), {.momentum = 0.9, .probe = watched});
    CHECK(unclipped_training(alone, 3, 1e-3).outcome == Outcome::finished);
    CHECK(alone.module().named_parameters().contains("encoder.norm.weight") ==
          (watched.outputs() == 0));
    return nn::state_dict(*trained);
  };
  const auto with = train(options.probe), without = train({});
  for (std::size_t i = 0; i < with.size(); ++i) {
    INFO(with[i].first);
    CHECK(at::equal(with[i].second, without[i].second));
  }
}

TEST_CASE("I-JEPA's probe learns to read its features, and refuses labels that are no class") {
  IJepaOptions options{.momentum = 0.98};
  options.probe = {.columns = 2, .mean = {0.5, 0.5}, .std = {0.29, 0.29}};
  IJepaTask task(std::make_shared<models::VJepa2>(small_ijepa(), 1), tints(16), options);
  const auto before = task.validate();
  CHECK(before.total().item<double>() ==
        before.at("masked_prediction").value.item<double>());  // no weights are chosen by the probe
  REQUIRE(unclipped_training(task, 200, 1e-2).outcome == Outcome::finished);
  const auto after = task.validate().at("probe_error").value.item<double>();
  CHECK(after < 0.87 * before.at("probe_error").value.item<double>());
  options.probe = {.classes = 2};
  auto labelled = tinted_pictures(kPictureSide);
  labelled.states = at::full_like(labelled.states, 2);
  IJepaTask wrong(std::make_shared<models::VJepa2>(small_ijepa(), 1),
                  {.training = windows_of(labelled, 1, 16)}, options);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { wrong.loss(); }, "IJepaTask: class number 2 is outside 0..1"));
}

TEST_CASE("a step's blocks of I-JEPA travel to the device in one piece", "[device]") {
  const auto model = std::make_shared<models::VJepa2>(small_ijepa(), 1);
  const auto expected = IJepaTask(model, pictures(4)).loss().total().item<double>();
  model->to(test_device());
  IJepaTask task(model, pictures(4));
  const CopiesMade copies;
  const auto loss = task.loss().total();
  CHECK(ids_brought_to(test_device(), copies) == (on_cpu() ? 0 : 1));
  CHECK(loss.item<double>() == Approx(expected).epsilon(1e-4));
}

TEST_CASE("I-JEPA refuses a model of clips, and windows of several frames") {
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [] {
        IJepaTask(std::make_shared<models::VJepa2>(models::VJepa2Options::tiny(), 1), pictures());
      },
      "learns from pictures"));
  IJepaTask task(std::make_shared<models::VJepa2>(small_ijepa(), 1),
                 {.training = windows_of(scattered_squares(kPictureSide), 2, 4)});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { task.loss(); }, "WindowOptions.frames = 1"));
}

TEST_CASE("views are crops of the picture, in [0,1], and nothing random leaves them unchanged") {
  PhiloxNoise noise(1);
  const auto pixels = noise.integers(256, {3, 20, 20, 3}).to(at::kByte);
  const auto views =
      image_views(pixels, {.global_size = 16, .local_views = 2, .local_size = 8}, noise);
  REQUIRE(views.size() == 4);
  CHECK(views[1].sizes() == at::IntArrayRef({3, 3, 16, 16}));
  CHECK(views[3].sizes() == at::IntArrayRef({3, 3, 8, 8}));
  for (const auto& view : views) {
    CHECK(view.min().item<float>() >= 0.0F);
    CHECK(view.max().item<float>() <= 1.0F);
  }
  ImageViewOptions still{.global_size = 20,
                         .global_scale = {1.0, 1.0},
                         .local_views = 0,
                         .aspect = {1.0, 1.0},
                         .flip = 0,
                         .brightness = 0,
                         .contrast = 0,
                         .saturation = 0,
                         .grey = 0};
  const auto as_they_are = pixels.permute({0, 3, 1, 2}).to(at::kFloat) / 255;
  for (const auto& view : image_views(pixels, still, noise))
    CHECK(at::allclose(view, as_they_are, 1e-5, 1e-5));
  still.flip = 1;
  CHECK(at::allclose(image_views(pixels, still, noise)[0], as_they_are.flip({3}), 1e-5, 1e-5));
  still.grey = 1;
  const auto grey = image_views(pixels, still, noise)[0];
  CHECK(at::equal(grey.select(1, 0), grey.select(1, 2)));
  still.global_views = 1;
  CHECK_THROWS_WITH(require_valid(still), Catch::Contains("at least 2 together"));
}

TEST_CASE("LeJEPA's loss falls, its features do not collapse, and the probe learns to read them") {
  const auto model = std::make_shared<models::LeJepa>(models::LeJepaOptions::tiny(), 1);
  LeJepaTask task(model, tints(16), two_views());
  const auto before = task.validate();
  const auto result = brief_training(task, 80, 3e-3);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  const auto after = task.validate();
  const auto value = [](const losses::Terms& terms, const char* name) {
    return terms.at(name).value.item<double>();
  };
  CHECK(value(after, "sigreg") < value(before, "sigreg"));
  CHECK(value(after, "probe_error") < 0.7 * value(before, "probe_error"));
  CHECK(value(after, "probe_error") == Approx(std::sqrt(value(after, "probe"))).epsilon(1e-3));
  c10::NoGradGuard no_grad;
  const auto batch = tints(16).validation->next();
  const auto features =
      model->encode(model->normalise(centre_view(batch->pixels.squeeze(1), kPictureSide)));
  CHECK(eval::measure_collapse(features).effective_rank > 2);
}

TEST_CASE("one step of LeJEPA is the one written by hand, and the probe teaches it nothing") {
  auto options = models::LeJepaOptions::tiny();
  options.sigreg.projections = 8;
  const auto model = std::make_shared<models::LeJepa>(options, 1);
  LeJepaTask task(model, tints(8), two_views());
  const auto batch = tints(8).training->next();
  const auto pixels = batch->pixels.squeeze(1);
  const auto probe = task.module().named_parameters();
  check_first_step(
      task,
      [&] {
        PhiloxNoise noise(kTaskSeed, kTrainingDraws);
        const auto views = image_views(pixels, two_views().views, noise);
        std::vector<Tensor> features;
        for (const auto& view : views) features.push_back(model->encode(model->normalise(view)));
        const auto projected = model->project(at::cat(features), nn::Mode::train).view({3, 8, -1});
        // The large views' mean is what every view should give; all 16 projections are Gaussian.
        const auto centre = (projected[0] + projected[1]) / 2;
        const auto invariance = (projected - centre).square().mean();
        const auto directions = noise.normal({16, 8});
        Tensor statistic = at::zeros({});
        for (int64_t v = 0; v < 3; ++v)
          for (int64_t m = 0; m < 8; ++m) {
            const auto direction = directions.select(1, m);
            const auto h = at::mv(projected[v], direction / direction.norm());
            for (int knot = 0; knot < 17; ++knot) {
              const double t = 3.0 * knot / 16, dt = 3.0 / 16;
              const double weight = (knot == 0 || knot == 16 ? dt : 2 * dt) * std::exp(-t * t / 2);
              const auto real = (h * t).cos().mean() - std::exp(-t * t / 2);
              statistic = statistic + weight * 8 * (real.square() + (h * t).sin().mean().square());
            }
          }
        // What the probe reads: standardised places from normalised, detached features.
        Tensor seen;
        {
          at::NoGradGuard no_grad;
          seen = model->encode(model->normalise(centre_view(pixels, kPictureSide)));
          seen =
              (seen - seen.mean(1, true)) / (seen.var(1, /*unbiased=*/false, true) + 1e-5).sqrt();
        }
        const auto read = at::mm(seen, probe["probe.weight"].t()) + probe["probe.bias"];
        const auto truth = (batch->states.select(1, 0) - 0.5) / 0.29;
        return 0.98 * invariance + 0.02 * statistic / 24 + (read - truth).square().mean();
      },
      1e-4);
}

TEST_CASE("the probe classes pictures, and refuses labels that are no class") {
  auto labelled = tinted_pictures(kPictureSide);
  labelled.states = (labelled.states.narrow(2, 0, 1) > 0.5).to(at::kDouble);  // reddish or not
  LeJepaTaskOptions options = two_views();
  options.probe = {.classes = 2};
  LeJepaTask task(std::make_shared<models::LeJepa>(models::LeJepaOptions::tiny(), 1),
                  {.training = windows_of(labelled, 1, 16),
                   .validation = windows_of(labelled, 1, 32),
                   .validation_batches = 4},
                  options);
  const auto before = task.validate().at("probe").value.item<double>();
  CHECK(before == Approx(std::log(2.0)).epsilon(0.2));  // it knows nothing yet
  brief_training(task, 80, 3e-3);
  const auto after = task.validate();
  CHECK(after.at("probe").value.item<double>() < 0.8 * before);
  CHECK(after.at("probe_error").value.item<double>() < 0.25);
  labelled.states = labelled.states + 1;
  LeJepaTask wrong(std::make_shared<models::LeJepa>(models::LeJepaOptions::tiny(), 1),
                   {.training = windows_of(labelled, 1, 32)}, options);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { wrong.loss(); }, "outside 0..1"));
  options.views.local_size = 12;
  CHECK_THROWS_AS(LeJepaTask(std::make_shared<models::LeJepa>(models::LeJepaOptions::tiny(), 1),
                             pictures(), options),
                  Error);
}

}  // namespace foresight::train::image_tasks_test
