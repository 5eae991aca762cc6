// SPDX-License-Identifier: Apache-2.0
// Pre-training on clips: what it learns from, how the target follows, and that it goes on exactly.
#include "foresight/train/masked_video_task.hpp"

#include <cmath>

#include "catch.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/trainer.hpp"
#include "temporary_folder.hpp"

namespace foresight::train {
namespace {

constexpr int64_t kEpisodes = 6, kRows = 20, kSide = 16;

// A bright bar that moves at its own speed in every episode. Actions are there because data sets
// have some; nothing reads them.
class MovingBar final : public data::Dataset {
 public:
  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return kEpisodes; }
  int64_t length(int64_t) const override { return kRows; }
  std::string episode_name(int64_t episode) const override {
    return std::string("e").append(std::to_string(episode));
  }
  data::ImageSize image_size() const override { return {kSide, kSide}; }
  double fps() const override { return 10; }
  const std::vector<std::string>& columns() const override { return actions_; }
  const std::vector<std::string>& action_columns() const override { return actions_; }
  const std::vector<std::string>& state_columns() const override { return none_; }
  data::LastAction last_action() const override { return data::LastAction::applied; }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    check_rows(episode, first, count);
    return at::zeros({count, static_cast<int64_t>(columns.size())}, at::kDouble);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    auto frames = at::full({static_cast<int64_t>(indices.size()), kSide, kSide, 3}, 40, at::kByte);
    for (std::size_t i = 0; i < indices.size(); ++i)
      frames[static_cast<int64_t>(i)]
          .narrow(1, (indices[i] * (episode + 1)) % (kSide - 4), 4)
          .fill_(220);
    return frames;
  }

 private:
  std::string name_ = "moving bar";
  std::vector<std::string> actions_ = {"none"}, none_;
};

models::VJepa2Options tiny() {
  auto options = models::VJepa2Options::tiny();
  options.image.size = kSide;
  options.encoder.image_height = options.encoder.image_width = kSide;
  options.encoder.patch = 4;
  options.encoder.frames = 4;
  options.encoder.width = 24;
  options.encoder.depth = 2;
  options.encoder.heads = 2;
  options.encoder.mlp_width = 48;
  options.predictor.width = 24;
  options.predictor.depth = 1;
  options.predictor.mlp_width = 48;
  return options;
}

std::unique_ptr<data::Loader> loader() {
  const auto dataset = std::make_shared<MovingBar>();
  const auto frames = std::make_shared<const data::FrameCache>(dataset);
  const data::WindowIndex windows(*dataset, {.frames = 4, .stride = 1});
  return std::make_unique<data::Loader>(frames, windows, ActionSpace(),
                                        data::LoaderOptions{.batch = 8, .threads = 0});
}

MaskedVideoTask make_task(std::shared_ptr<models::VJepa2> model, double momentum = 0.9) {
  return {std::move(model), loader(), loader(), 2, {.momentum = momentum}, 5};
}

TEST_CASE("the loss falls, in training and on held-out masks, and the target does not collapse") {
  const TemporaryFolder folder;
  auto model = std::make_shared<models::VJepa2>(tiny(), 1);
  auto task = make_task(model, 0.98);
  const auto before = task.validate().total().item<double>();
  CHECK(task.validate().total().item<double>() == before);  // the same masks every time
  EventWriter metrics(folder.path());
  const auto result = train(task,
                            {.steps = 60,
                             .log_every = 20,
                             .validate_every = 0,
                             .checkpoint_every = 0,
                             .optimizer = {.lr = 2e-3, .decay = Decay::matrices, .clip = 0},
                             .schedule = {.warmup = 10}},
                            {folder.path()}, metrics, ProgressStyle::silent);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.validation_loss < 0.9 * before);
  const auto batch = loader()->next();
  const auto targets = models::masked_targets(task.target(), model->preprocess(batch->pixels));
  CHECK(eval::measure_collapse(targets.flatten(0, 1)).effective_rank > 2);
}

TEST_CASE("the target follows the encoder and takes no gradient") {
  auto model = std::make_shared<models::VJepa2>(tiny(), 1);
  auto task = make_task(model, 0.75);
  const auto terms = task.loss();
  CHECK(terms.terms().size() == 1);
  terms.total().backward();
  for (const auto& parameter : task.target().parameters()) CHECK_FALSE(parameter.grad().defined());
  CHECK(model->encoder().parameters().front().grad().abs().sum().item<double>() > 0);

  const auto start = task.target().parameters().back().clone();
  {
    at::NoGradGuard no_grad;
    model->encoder().parameters().back().add_(1.0);
  }
  task.updated();
  CHECK(at::allclose(task.target().parameters().back(), start + 0.25));
}

TEST_CASE("a task that seeks goes on with the same batches and masks") {
  auto first = make_task(std::make_shared<models::VJepa2>(tiny(), 1));
  first.loss();
  const auto position = first.position();
  const auto expected = first.loss().total().item<double>();
  auto second = make_task(std::make_shared<models::VJepa2>(tiny(), 1));
  second.seek(position);
  CHECK(second.loss().total().item<double>() == expected);
  CHECK(first.extra_tensors().size() == nn::state_dict(first.target()).size());
  CHECK_THROWS_AS(second.seek("{}"), Error);
}

}  // namespace
}  // namespace foresight::train
