// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 really learns from videos alone, some of them damaged, and from recorded episodes: the
// loss on held-out clips falls, and neither encoder nor target collapses.
#include "catch.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/learn_family.hpp"
#include "recordings_folder.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::pretraining_on_videos_test {
namespace {

constexpr int64_t kFilmSide = 32;

VJepa2LearnOptions few_small_steps(int64_t steps) {
  auto options = VJepa2LearnOptions::tiny();
  options.model.image.size = kFilmSide;
  auto& encoder = options.model.encoder;
  encoder.image_height = encoder.image_width = kFilmSide;
  encoder.patch = 8;
  encoder.frames = 4;
  encoder.depth = 2;
  options.windows = {.frames = 4, .stride = 2};
  options.loader.batch = 8;
  options.loader.unreadable = data::Unreadable::skip;
  options.validation = 0.2;
  options.task.momentum = 0.98;
  options.training.steps = steps;
  options.training.optimizer.lr = 2e-3;
  options.training.schedule.warmup = 10;
  options.training.validate_every = options.training.checkpoint_every = 0;
  return options;
}

}  // namespace

TEST_CASE("pre-training on films alone and on episodes lowers the held-out loss without collapse") {
  for (const auto* name : {"camera", "tworoom/folder"}) {
    const auto path = test::recordings() / name;
    if (!std::filesystem::exists(path)) continue;
    INFO(name);
    const auto recorded = data::open_dataset(
        path,
        {.video = {.height = kFilmSide, .width = kFilmSide}, .unreadable = data::Unreadable::skip});
    REQUIRE(recorded->num_episodes() >= 10);
    const TemporaryFolder folder;
    const auto result_of = [&](const char* run, int64_t steps) {
      return learn(recorded, few_small_steps(steps), {folder / run}, at::kCPU,
                   ProgressStyle::silent);
    };
    const auto before = result_of("untrained", 0).world_model.validation_loss;
    const auto after = result_of("trained", 60);
    REQUIRE(after.outcome == Outcome::finished);
    CHECK(after.world_model.validation_loss < 0.7 * before);

    // The bundle holds the target encoder.
    const auto model = models::read_vjepa2(io::read_bundle(after.bundle));
    std::vector<Tensor> clips;
    for (int64_t episode = 0; clips.size() < 8 && episode < recorded->num_episodes(); ++episode) {
      if (recorded->length(episode) < 8) continue;
      try {
        clips.push_back(recorded->read_frames(episode, {0, 2, 4, 6}));
      } catch (const Error&) {  // damaged inside
      }
    }
    const auto tokens = model->encode(model->preprocess(at::stack(clips)));
    CHECK(eval::measure_collapse(tokens.flatten(0, 1)).effective_rank > 3);
  }
}

}  // namespace foresight::train::pretraining_on_videos_test
