// SPDX-License-Identifier: Apache-2.0
// What a seed decides: with dropout too, a training depends on it and not on what the process drew
// before. And what is kept of a run's recordings and metrics when it learns on or goes on.
#include <torch/nn.h>

#include <set>

#include "brief_families.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/log.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::seeded_training_test {
namespace {

namespace fs = std::filesystem;

// Dropout is all that is random about it.
class Seeded final : public Task {
 public:
  explicit Seeded(std::uint64_t seed) : seed_(seed) {
    torch::manual_seed(1);
    net_->push_back(torch::nn::Linear(3, 64));
    net_->push_back(torch::nn::Dropout(0.5));
    net_->push_back(torch::nn::Linear(64, 1));
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  std::optional<std::uint64_t> seed() const override { return seed_; }
  int64_t samples() const override { return 4; }
  losses::Terms loss() override {
    losses::Terms terms;
    terms.add("fit", 1.0, (net_->forward(at::ones({4, 3})) - 1).square().mean());
    return terms;
  }
  std::string position() const override { return "0"; }
  void seek(const std::string&) override {}

 private:
  std::string name_ = "seeded";
  std::uint64_t seed_;
  torch::nn::Sequential net_;
};

std::vector<double> losses_with(std::uint64_t seed, std::uint64_t drawn_before) {
  const TemporaryFolder folder;
  Seeded task(seed);
  torch::manual_seed(drawn_before);
  train_table(task, every_step_logged(5), folder.path());
  return curve(folder.path(), "seeded/train/loss");
}

LearnOptions recorded_briefly(int64_t seed) {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 0;
  options.validation = 0.3;
  options.validation_batches = 100;  // all held-out windows
  options.training.steps = 6;
  options.training.log_every = 1;
  options.training.validate_every = 3;
  options.training.checkpoint_every = 2;
  options.training.schedule.warmup = 2;
  options.critic_training.steps = 4;
  options.critic_training.log_every = 1;
  options.critic_training.checkpoint_every = 2;
  options.seed = seed;
  return options;
}

LearnResult learned(const TensorRecordings& recordings, const LearnOptions& options,
                    const RunFolder& run, const LearnHooks& hooks = {}) {
  return learn(std::make_shared<TensorDataset>(recordings), options, run, at::kCPU,
               ProgressStyle::silent, hooks);
}

double held_out_prediction(const LearnResult& result) {
  REQUIRE(result.continual);
  for (const auto& loss : result.continual->old_data)
    if (loss.term == "prediction") return loss.before;
  FAIL("no term 'prediction'");
  return 0;
}

}  // namespace

TEST_CASE("what dropout drops follows from the seed, not from what the process drew before") {
  CHECK(losses_with(7, 1) == losses_with(7, 99));
  CHECK(losses_with(7, 1) != losses_with(8, 1));
}

TEST_CASE("a second training in one process is the same as one in a process of its own") {
  const TemporaryFolder folder;
  for (const auto& family : brief_families(folder.path())) {
    if (family.name != "dino_wm") continue;  // the one with dropout
    const auto first = family.learn(brief_recordings(), {folder / "first"}, {});
    const auto second = family.learn(brief_recordings(), {folder / "second"}, {});
    REQUIRE(first.outcome == Outcome::finished);
    CHECK(curve(folder / "first", "dino_wm/train/loss") ==
          curve(folder / "second", "dino_wm/train/loss"));
    CHECK(second.world_model.validation_loss == first.world_model.validation_loss);
  }
}

TEST_CASE("replayed recordings are measured on the episodes that the bundle never learned from") {
  const TemporaryFolder folder;
  const auto recordings = pushed_square();
  const auto first = learned(recordings, recorded_briefly(4), {folder / "first"});
  REQUIRE(first.outcome == Outcome::finished);
  Continuation from{first.bundle, std::make_shared<TensorDataset>(recordings), 0.5};
  auto fresh = pushed_square(1.5, 21);
  fresh.name = "new";
  const auto before = [&](int64_t seed, double validation, const char* name) {
    auto options = recorded_briefly(seed);
    options.validation = validation;
    options.training.steps = 1;
    options.critic_training.steps = 0;
    return held_out_prediction(learned(fresh, options, {folder / name}, {.continuation = &from}));
  };
  const auto kept = before(4, 0.3, "same");
  CHECK(before(11, 0.3, "seed") == Approx(kept).epsilon(1e-5));
  CHECK(before(4, 0.6, "part") == Approx(kept).epsilon(1e-5));
}

TEST_CASE("metrics tell every step once where an older world model is gone on from") {
  const TemporaryFolder folder;
  const auto options = recorded_briefly(4);
  const auto recordings = pushed_square();
  REQUIRE(learned(recordings, options, {folder.path()}).outcome == Outcome::finished);
  // The world model's newest checkpoint is damaged; the critic's are whole.
  fs::resize_file(checkpoint_path(folder.path() / "checkpoints" / "jepa", 6), 100);
  REQUIRE(learned(recordings, options, {folder.path(), /*resume=*/true}).outcome ==
          Outcome::finished);
  std::set<std::pair<int64_t, std::string>> told;
  int64_t last = 0;
  for (const auto& row : read_metrics(folder.path() / "metrics.jsonl")) {
    CHECK(row.step >= last);
    last = row.step;
    for (const auto& [name, value] : row.scalars) {
      INFO(name << " of step " << row.step);
      CHECK(told.emplace(row.step, name).second);
    }
  }
  CHECK(told.contains({5, "jepa/train/loss"}));
}

TEST_CASE("the lowest held-out loss cannot be kept where nothing is held out") {
  auto options = recorded_briefly(4);
  options.validation = 0;
  CHECK(options.validate().empty());
  options.training.keep = Keep::lowest_loss;
  CHECK_FALSE(options.validate().empty());
  auto encoder = LeJepaLearnOptions::tiny();
  encoder.training.keep = Keep::lowest_loss;
  CHECK(encoder.validate().empty());
  encoder.validation = 0;
  CHECK_FALSE(encoder.validate().empty());
}

}  // namespace foresight::train::seeded_training_test
