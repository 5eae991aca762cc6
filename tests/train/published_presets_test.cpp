// SPDX-License-Identifier: Apache-2.0
// The presets of published recipes: what they make of pictures, how their rates run, and that the
// later phase of one goes on from the earlier.
#include <algorithm>

#include "brief_families.hpp"
#include "catch.hpp"
#include "parameters_at_depth.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::published_presets_test {

namespace {

// How a family was trained where it was published: numbers of its paper and code, none of ours.
struct Published {
  int64_t batch, steps;
  std::vector<std::pair<int64_t, double>> rates;  // learning rates by step
  double decay, last_decay;                       // of weights: at first, at the end
  Decay decays;
  Precision precision = Precision::bf16;
};

void check_recipe(const char* family, const TrainOptions& ours, int64_t batch,
                  const Published& published) {
  INFO(family);
  CHECK(batch == published.batch);
  CHECK(ours.accumulate == 1);
  CHECK(ours.steps == published.steps);
  for (const auto& [step, rate] : published.rates) {
    INFO("step " << step);
    CHECK(ours.optimizer.lr * learning_rate_factor(ours.schedule, step, ours.steps) ==
          Approx(rate).epsilon(1e-6).margin(1e-15));
  }
  CHECK(ours.optimizer.weight_decay == published.decay);
  CHECK(ours.optimizer.weight_decay * ours.final_decay == Approx(published.last_decay));
  CHECK(ours.optimizer.decay == published.decays);
  CHECK(ours.optimizer.beta1 == 0.9);
  CHECK(ours.optimizer.beta2 == 0.999);
  CHECK(ours.optimizer.epsilon == 1e-8);
  CHECK(ours.optimizer.clip == 0);  // none clips all gradients together
  CHECK(ours.precision == published.precision);
}

}  // namespace

TEST_CASE("recipes have the published rates, decays, batches and lengths") {
  const auto dino_wm = DinoWmLearnOptions::dino_wm();
  check_recipe("DINO-WM", dino_wm.training, dino_wm.loader.batch,
               {.batch = 32,
                .steps = dino_wm.training.steps,  // 100 epochs of any data
                .rates = {{0, 5e-4}, {30'000, 5e-4}, {60'000, 5e-4}},
                .decay = 1e-2,  // torch's: its code names none
                .last_decay = 1e-2,
                .decays = Decay::all,
                .precision = Precision::fp32});
  const auto vjepa2 = VJepa2LearnOptions::giant(), cool_down = VJepa2LearnOptions::cool_down();
  check_recipe("V-JEPA 2", vjepa2.training, vjepa2.loader.batch,
               {.batch = 3072,
                .steps = 800 * 300,  // 40 of the 800 epochs warm up
                .rates = {{0, 1e-4}, {6'000, 3.125e-4}, {12'000, 5.25e-4}, {240'000, 5.25e-4}},
                .decay = 0.04,
                .last_decay = 0.04,
                .decays = Decay::matrices});
  check_recipe("its cool-down", cool_down.training, cool_down.loader.batch,
               {.batch = 3072,
                .steps = 40 * 300,
                .rates = {{0, 5.25e-4}, {12'000, 1.058e-4}},
                .decay = 0.04,
                .last_decay = 0.04,
                .decays = Decay::matrices});
  const auto arm = VJepa2AcLearnOptions::vjepa2_ac();
  check_recipe("V-JEPA 2-AC", arm.training, arm.loader.batch,
               {.batch = 256,
                .steps = 315 * 300,  // 15 epochs up, 15 down
                .rates = {{0, 7.5e-5}, {4'500, 4.25e-4}, {90'000, 4.25e-4}, {94'500, 0.0}},
                .decay = 0.04,
                .last_decay = 0.04,
                .decays = Decay::matrices});
  const auto ijepa = IJepaLearnOptions::huge();
  check_recipe("I-JEPA", ijepa.training, ijepa.loader.batch,
               {.batch = 2048,
                .steps = 300 * 625,  // of 1,281,167 pictures; 15 epochs up
                .rates = {{0, 1e-4}, {9'375, 1e-3}, {187'500, 1e-6}},
                .decay = 0.04,
                .last_decay = 0.4,
                .decays = Decay::matrices});
  const auto rooms = EbJepaLearnOptions::two_rooms();
  check_recipe("EB-JEPA", rooms.training, rooms.task.batch,
               {.batch = 384,
                .steps = 12 * 260,  // a tenth of them up
                .rates = {{0, 1e-11}, {312, 1e-3}, {3'120, 1e-5}},
                .decay = 1e-5,
                .last_decay = 1e-5,
                .decays = Decay::all});
  CHECK(vjepa2.task.momentum == 0.99925);
  CHECK(cool_down.task.momentum == 0.99925);
  CHECK(ijepa.task.momentum == 0.996);
  CHECK(ijepa.task.final_momentum == 1.0);
  CHECK(ijepa.task.momentum_steps == 0);  // all steps of the run
  CHECK(rooms.task.clip == 2.0);          // of encoder and of predictor
  CHECK(rooms.task.seed == 1);
  CHECK(rooms.walks.window == 17);
}

TEST_CASE("presets compute in the precision that was published, small ones in float32") {
  const auto precision = [](const auto& options) { return options.training.precision; };
  CHECK(precision(LearnOptions::lewm()) == Precision::bf16);
  CHECK(precision(LearnOptions::pldm()) == Precision::bf16);
  CHECK(precision(VJepa2LearnOptions::large()) == Precision::bf16);
  CHECK(precision(VJepa2LearnOptions::huge()) == Precision::bf16);
  CHECK(precision(VJepa2ProbeLearnOptions::published()) == Precision::bf16);
  CHECK(precision(LeJepaLearnOptions::small()) == Precision::bf16);  // ViT-S, as its authors start
  CHECK(precision(LeJepaLearnOptions::minimal()) == Precision::bf16);
  CHECK(precision(IJepaLearnOptions::huge_448()) == Precision::bf16);
  CHECK(precision(IJepaLearnOptions::giant()) == Precision::bf16);
  // DINO-WM's own code and its variant here, which is that recipe with AdaLN.
  CHECK(precision(DinoWmLearnOptions::dino_wm()) == Precision::fp32);
  CHECK(precision(DinoWmLearnOptions::adaln()) == Precision::fp32);
  // What is meant for two cores.
  CHECK(precision(LearnOptions::small()) == Precision::fp32);
  CHECK(precision(DinoWmLearnOptions::small()) == Precision::fp32);
  CHECK(precision(VJepa2LearnOptions::tiny()) == Precision::fp32);
  CHECK(precision(VJepa2ProbeLearnOptions::small()) == Precision::fp32);
  CHECK(precision(VJepa2AcLearnOptions::small()) == Precision::fp32);
  CHECK(precision(IJepaLearnOptions::tiny()) == Precision::fp32);
  CHECK(precision(LeJepaLearnOptions::tiny()) == Precision::fp32);
  CHECK(precision(EbJepaLearnOptions::small()) == Precision::fp32);
}

TEST_CASE("LeJEPA is trained with the settings that its authors start from") {
  // They leave open how long to warm up and how large batches are.
  const auto options = LeJepaLearnOptions::small();
  const auto& training = options.training;
  CHECK(training.optimizer.lr == 5e-4);
  CHECK(training.optimizer.weight_decay == 5e-2);
  CHECK(training.final_decay == 1);
  CHECK(training.optimizer.decay == Decay::all);
  CHECK(training.optimizer.beta1 == 0.9);
  CHECK(training.optimizer.beta2 == 0.999);
  CHECK(training.optimizer.clip == 0);
  CHECK(training.schedule.kind == ScheduleKind::cosine);
  CHECK(learning_rate_factor(training.schedule, training.steps, training.steps) == Approx(1e-3));
  const auto& views = options.task.views;
  CHECK(views.global_views == 2);
  CHECK(views.global_size == 224);
  CHECK(views.global_scale == std::vector<double>{0.3, 1.0});
  CHECK(views.local_views == 6);
  CHECK(views.local_size == 98);
  CHECK(views.local_scale == std::vector<double>{0.05, 0.3});
  CHECK(options.model.image.size == 224);
  CHECK(options.model.encoder.patch == 14);
  CHECK(options.model.sigreg.projections == 1024);
}

TEST_CASE("LeJEPA's minimal recipe is whole, on the same ViT-S") {
  const auto options = LeJepaLearnOptions::minimal();
  CHECK(options.validate().empty());
  const auto &model = options.model, small = LeJepaLearnOptions::small().model;
  CHECK(model.encoder.patch == 8);
  for (const auto& vit : {model.encoder, small.encoder}) {
    CHECK(vit.width == 384);
    CHECK(vit.depth == 12);
    CHECK(vit.heads == 6);
    CHECK(vit.mlp_width == 1536);
  }
  CHECK(model.image.size % model.encoder.patch == 0);
  CHECK(model.projection == 16);
  CHECK(model.regularisation == 0.02);
  CHECK(model.sigreg.projections == 256);
  CHECK(options.training.optimizer.lr == 2e-3);
  CHECK(options.loader.batch == 256);
  CHECK(options.training.steps == 800 * 37);  // batches of 9469 pictures
  CHECK(options.task.views.global_views == 4);
  CHECK(options.task.views.local_views == 0);
  CHECK(options.task.views.global_size == model.image.size);
  // Small views that there are none of need fill no patches.
  CHECK_NOTHROW(LeJepaTask(std::make_shared<models::LeJepa>(model, std::nullopt),
                           {.training = windows_of(tinted_pictures(32), 1, 2)}, options.task));
}

TEST_CASE("I-JEPA's published presets have the published sizes") {
  const auto check = [](const IJepaLearnOptions& options, int64_t side, int64_t patch,
                        int64_t width, int64_t depth, int64_t mlp, double millions) {
    INFO(millions << " million parameters");
    CHECK(options.validate().empty());
    auto encoder = options.model.encoder;
    CHECK(options.model.image.size == side);
    CHECK(encoder.image_height == side);
    CHECK(encoder.image_width == side);
    CHECK(encoder.frames == 1);
    CHECK(encoder.patch == patch);
    CHECK(encoder.width == width);
    CHECK(encoder.depth == depth);
    CHECK(encoder.heads == 16);
    CHECK(encoder.mlp_width == mlp);
    CHECK(encoder.positions == nn::PositionKind::sincos);
    CHECK(options.model.predictor.positions == nn::PositionKind::sincos);
    CHECK(options.model.predictor.width == 384);
    CHECK(options.model.predictor.heads == 16);
    CHECK(options.model.predictor.mask_tokens == 1);
    const auto parameters = parameters_at_depth(depth, [&](int64_t blocks) {
      encoder.depth = blocks;
      return std::make_shared<nn::VideoVit>(encoder);
    });
    // The table of positions is fixed.
    CHECK(1e-6 * static_cast<double>(parameters) == Approx(millions).epsilon(1e-6));
    CHECK(options.loader.batch == 2048);
    CHECK(options.augmentation.crops());
    CHECK(options.task.momentum == 0.996);
  };
  check(IJepaLearnOptions::huge(), 224, 14, 1280, 32, 5120, 630.435);
  check(IJepaLearnOptions::huge_448(), 448, 16, 1280, 32, 5120, 630.665);
  check(IJepaLearnOptions::giant(), 224, 16, 1408, 40, 6144, 1011.093);
  CHECK(IJepaLearnOptions::huge().model.predictor.depth == 12);
  CHECK(IJepaLearnOptions::huge_448().model.predictor.depth == 12);
  CHECK(IJepaLearnOptions::giant().model.predictor.depth == 16);
  CHECK(IJepaLearnOptions::huge_448().training.steps == 187'500);
  // 44 epochs of 14,197,122 pictures.
  CHECK(static_cast<double>(IJepaLearnOptions::giant().training.steps) ==
        Approx(44 * 14'197'122.0 / 2048).epsilon(1e-3));
}

TEST_CASE("clips of V-JEPA 2 have at most 4 frames a second of recordings at any rate") {
  for (const auto& [fps, stride] : std::vector<std::pair<double, int64_t>>{{0.0, 1},
                                                                           {2.0, 1},
                                                                           {4.0, 1},
                                                                           {5.0, 2},
                                                                           {10.0, 3},
                                                                           {12.0 + 1e-9, 3},
                                                                           {15.0, 4},
                                                                           {29.97, 8},
                                                                           {30.0, 8},
                                                                           {60.0, 15}}) {
    INFO(fps << " rows a second");
    CHECK(vjepa2_clip_stride(fps) == stride);
  }
}

TEST_CASE("published presets of masked training have their crops and mirror images") {
  for (const auto& options : {VJepa2LearnOptions::large(), VJepa2LearnOptions::huge(),
                              VJepa2LearnOptions::giant(), VJepa2LearnOptions::cool_down()}) {
    CHECK(options.validate().empty());
    CHECK(options.augmentation.crop_scale == std::vector<double>{0.3, 1.0});
    CHECK(options.augmentation.crop_aspect == std::vector<double>{0.75, 1.35});
    CHECK(options.augmentation.flip == 0.5);
    CHECK(options.windows.frames == options.model.encoder.frames);
  }
  CHECK(VJepa2LearnOptions::large().model.encoder.width == 1024);
  CHECK(VJepa2LearnOptions::huge().model.encoder.width == 1280);
  CHECK(VJepa2LearnOptions::giant().model.encoder.width == 1408);
  const auto ijepa = IJepaLearnOptions::huge();
  CHECK(ijepa.validate().empty());
  CHECK(ijepa.augmentation.crops());
  CHECK(ijepa.augmentation.flip == 0);
}

TEST_CASE("LeWM and PLDM are trained as published, PLDM by its own loss") {
  const auto lewm = LearnOptions::lewm(), pldm = LearnOptions::pldm();
  for (const auto& options : {lewm, pldm}) {
    CHECK(options.validate().empty());
    CHECK(options.windows.frames == 4);
    CHECK(options.windows.stride == 5);
    CHECK(options.loader.batch == 128);
    CHECK(options.training.optimizer.lr == 5e-5);
    CHECK(options.training.optimizer.weight_decay == 1e-3);
    CHECK(options.training.optimizer.decay == Decay::all);
    CHECK(options.training.optimizer.clip == 1);
    CHECK(options.training.schedule.warmup == options.training.steps / 100);
    CHECK(options.critic_training.steps == 0);
    CHECK(options.model.vit.width == 192);
    CHECK(options.model.image.size == 224);
  }
  CHECK(lewm.model.loss.sigreg == 0.09);
  CHECK(lewm.model.inverse_dynamics_hidden == 0);
  CHECK(pldm.model.loss.sigreg == 0);
  CHECK(pldm.model.loss.std == 18);
  CHECK(pldm.model.loss.cov == 12);
  CHECK(pldm.model.inverse_dynamics_hidden == 512);
}

TEST_CASE("a probe and a clip of the joint gradient norm do not go together") {
  auto blocks = IJepaLearnOptions::tiny();
  blocks.training.optimizer.clip = 1;
  CHECK(blocks.validate().empty());
  blocks.task.probe.columns = 2;
  CHECK_FALSE(blocks.validate().empty());
  blocks.training.optimizer.clip = 0;
  CHECK(blocks.validate().empty());
  blocks.augmentation.flip = 0.5;  // where is what the columns tell in a mirrored picture?
  CHECK_FALSE(blocks.validate().empty());
  auto options = LeJepaLearnOptions::tiny();
  options.training.optimizer.clip = 1;
  CHECK(options.validate().empty());
  options.task.probe.columns = 2;
  CHECK_FALSE(options.validate().empty());
  options.training.optimizer.clip = 0;
  CHECK(options.validate().empty());
  auto rooms = EbJepaLearnOptions::two_rooms();  // whose recipe has a probe
  CHECK(rooms.task.probe_hidden == 512);
  CHECK(rooms.validate().empty());
  rooms.training.optimizer.clip = 1;
  CHECK_FALSE(rooms.validate().empty());
}

TEST_CASE("V-JEPA 2's cool-down falls linearly from the main phase's rate and stops at 80 %") {
  const auto options = VJepa2LearnOptions::cool_down();
  CHECK(options.windows.frames == 64);
  const auto rate = [&](int64_t step) {
    return options.training.optimizer.lr *
           learning_rate_factor(options.training.schedule, step, options.training.steps);
  };
  const auto steps = options.training.steps;
  CHECK(steps == 12'000);
  CHECK(rate(0) == Approx(5.25e-4));
  CHECK(rate(steps) == Approx(1.058e-4).epsilon(1e-3));  // 1.06e-4, as published files give it
  // Half of the way to there: a straight line.
  CHECK(rate(steps / 2) == Approx((rate(0) + rate(steps)) / 2));
  CHECK(options.training.optimizer.lr == VJepa2LearnOptions::giant().training.optimizer.lr);
}

TEST_CASE("a V-JEPA 2 goes on from a bundle with longer clips") {
  const TemporaryFolder folder;
  auto options = brief_vjepa2();
  options.training.steps = 4;
  const auto first =
      learn(brief_recordings(), options, {folder / "first"}, at::kCPU, ProgressStyle::silent);
  REQUIRE(first.outcome == Outcome::finished);
  const Continuation from{first.bundle, nullptr};
  LearnHooks hooks;
  hooks.continuation = &from;
  options.windows.frames = 8;
  const auto on =
      learn(brief_recordings(), options, {folder / "on"}, at::kCPU, ProgressStyle::silent, hooks);
  REQUIRE(on.outcome == Outcome::finished);
  const auto model = models::read_vjepa2(io::read_bundle(on.bundle));
  CHECK(model->options().encoder.frames == 8);
  CHECK(model->options().encoder.width == options.model.encoder.width);
}

TEST_CASE("V-JEPA 2-AC looks at the middle of wide pictures, however its encoder was evaluated") {
  const TemporaryFolder folder;
  auto encoder = brief_vjepa2().model;
  encoder.image.resize = models::ResizeRule::crop;
  encoder.image.resize_edge = 36;
  encoder.image.mean = {0.4, 0.5, 0.6};
  const models::VJepa2 backbone(encoder, 1);
  models::write_vjepa2(folder / "encoder", backbone, models::vjepa2_bundle_config(backbone));
  // Twice as wide as high: only the middle moves.
  auto recordings = moving_gripper(kBriefSide);
  const auto margin = at::zeros_like(recordings.frames.narrow(3, 0, kBriefSide / 2));
  recordings.frames = at::cat({margin, recordings.frames, margin}, 3);
  auto options = briefly(VJepa2AcLearnOptions::small());
  options.backbone = (folder / "encoder").string();
  options.model.predictor.depth = 1;
  options.training.steps = 2;
  const auto result = learn(std::make_shared<TensorDataset>(recordings), options, {folder / "arm"},
                            at::kCPU, ProgressStyle::silent);
  REQUIRE(result.outcome == Outcome::finished);
  const auto arm = models::read_vjepa2_ac(io::read_bundle(result.bundle));
  const auto& image = arm->options().image;
  CHECK(image.resize == models::ResizeRule::stretch);
  CHECK(image.max_aspect == 1.35);
  CHECK(image.mean == encoder.image.mean);
  CHECK(image.size == kBriefSide);
  // What lies beyond the middle does not count.
  const auto picture = recordings.frames[0].narrow(0, 0, 1);
  auto other = picture.clone();
  other.narrow(2, 0, 10).fill_(200);
  other.narrow(2, 2 * kBriefSide - 10, 10).fill_(200);
  CHECK(at::equal(arm->preprocess(picture), arm->preprocess(other)));
}

}  // namespace foresight::train::published_presets_test
