// SPDX-License-Identifier: Apache-2.0
// Windows that cannot be read, counted over all processes, while training and while validating.
#include <ATen/Parallel.h>
#include <torch/nn.h>

#include "brief_families.hpp"
#include "catch.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/loader_task.hpp"
#include "foresight/train/trainer.hpp"
#include "metric_curve.hpp"
#include "processes.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::skipped_windows_test {
namespace {

namespace fs = std::filesystem;

bool is_damaged(int64_t episode, int64_t row) { return (7 * episode + row) % 5 == 0; }

class DamagedRecordings final : public TensorDataset {
 public:
  DamagedRecordings() : TensorDataset(moving_bar()) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    for (const auto row : rows)
      if (is_damaged(episode, row)) throw Error(ErrorCategory::bad_file, "a damaged frame");
    return TensorDataset::read_frames(episode, rows);
  }
};

// Fits a line to how bright windows are.
class Brightness final : public LoaderTask {
 public:
  explicit Brightness(TaskData data) : LoaderTask("brightness", std::move(data)) {
    torch::manual_seed(1);
    line_->push_back(torch::nn::Linear(1, 1));
  }
  torch::nn::Module& module() override { return *line_; }

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise&) override {
    const auto mean = batch.pixels.to(at::kFloat).flatten(1).mean(1, true) / 255;
    losses::Terms terms;
    terms.add("fit", 1.0, (line_->forward(mean) - 1).square().mean());
    return terms;
  }
  torch::nn::Sequential line_;
};

constexpr int64_t kSteps = 6, kBatch = 8, kHeldOutBatches = 3;
const data::WindowOptions kPairs{.frames = 2, .stride = 1};

std::unique_ptr<data::Loader> windows_of(const std::vector<int64_t>& episodes, int64_t batch,
                                         const data::Shard& shard) {
  const auto recordings = std::make_shared<DamagedRecordings>();
  return std::make_unique<data::Loader>(
      std::make_shared<data::FrameCache>(recordings, data::FrameCacheOptions{.budget_mb = 0}),
      data::WindowIndex(*recordings, kPairs, episodes), ActionSpace{},
      data::LoaderOptions{
          .batch = batch, .threads = 0, .seed = 2, .unreadable = data::Unreadable::skip},
      shard);
}

// Returns the episodes that could not be read.
std::map<std::string, std::string> train_brightness(const fs::path& folder,
                                                    const data::Shard& shard,
                                                    GradientReducer* reducer,
                                                    int64_t steps = kSteps) {
  TaskData data;
  data.training = windows_of({0, 1, 2, 3}, kBatch, shard);
  data.validation = windows_of({4, 5}, 4, {});
  data.validation_batches = kHeldOutBatches;
  Brightness task(std::move(data));
  TrainOptions options;
  options.steps = steps;
  options.log_every = 1;
  options.validate_every = 2;
  options.checkpoint_every = 3;
  EventWriter metrics(shard.index == 0 ? folder
                                       : folder / "other_ranks" / std::to_string(shard.index));
  const auto result = train(task, options, {folder, /*resume=*/true}, metrics,
                            ProgressStyle::silent, {.reducer = reducer});
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(task.skipped_windows() > 0);  // the total, in every process
  CHECK(task.skipped_validation_windows() > 0);
  return task.unreadable_episodes();
}

// Windows of the first batches of an order that show a damaged frame, and what was drawn in their
// place and showed another, as the loader says.
double skipped_in_order(const std::vector<int64_t>& episodes, int64_t batch, int64_t batches) {
  const auto loader = windows_of(episodes, batch, {});
  double skipped = 0;
  for (int64_t b = 0; b < batches; ++b) {
    const auto made = loader->next();
    REQUIRE(made);
    skipped += static_cast<double>(made->skipped.size());
  }
  return skipped;
}

}  // namespace

TEST_CASE("part: train on damaged recordings", "[.]") {
  at::set_num_threads(1);
  const auto group = ProcessGroup::connect(Launch::from_environment(), {.timeout = 60});
  DataParallel parallel(group);
  train_brightness(processes_folder(), {group->rank(), group->world_size()}, &parallel);
}

TEST_CASE("skipped windows of all processes are counted, while training and while validating") {
  const TemporaryFolder one;
  const auto named = train_brightness(one.path(), {}, nullptr);
  const auto expected = metric_curve(one.path());
  for (int64_t step = 1; step <= kSteps; ++step) {
    const auto at = "@" + std::to_string(step);
    CHECK(expected.at("brightness/skipped_windows" + at) ==
          skipped_in_order({0, 1, 2, 3}, kBatch, step));
    if (step > 2)  // validated after step 2 for the first time
      CHECK(expected.at("brightness/skipped_validation_windows" + at) ==
            skipped_in_order({4, 5}, 4, kHeldOutBatches));
  }

  // A run that goes on counts on, and one that has nothing left to do still names them.
  CHECK(named.size() == 6);
  CHECK(train_brightness(one.path(), {}, nullptr) == named);
  const TemporaryFolder two_parts;
  train_brightness(two_parts.path(), {}, nullptr, 3);
  train_brightness(two_parts.path(), {}, nullptr);
  const auto counts = [](const std::map<std::string, double>& numbers) {
    std::map<std::string, double> found;
    for (const auto& [name, value] : numbers)
      if (name.find("skipped") != std::string::npos) found[name] = value;
    return found;
  };
  CHECK(counts(metric_curve(two_parts.path())) == counts(expected));

  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  for (const int world : {2, 4}) {  // of four, one has no batch of its own to validate
    INFO(world << " processes");
    const TemporaryFolder folder;
    Processes processes(world, "part: train on damaged recordings", folder.path());
    REQUIRE(processes.failures() == "");
    const auto counted = metric_curve(folder.path());
    int compared = 0;
    for (const auto& [name, value] : expected)
      if (name.find("skipped") != std::string::npos) {
        INFO(name);
        CHECK(counted.at(name) == value);
        ++compared;
      }
    CHECK(compared == 6 + 4);
  }
}

namespace {

// Recordings of a gripper of which one episode cannot be read.
class DamagedGripper final : public TensorDataset {
 public:
  DamagedGripper() : TensorDataset(moving_gripper(kBriefSide)) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (episode == 1) throw Error(ErrorCategory::bad_file, "a damaged film");
    return TensorDataset::read_frames(episode, rows);
  }
};

template <class Options>
void check_told(Options options) {
  options.loader.unreadable = data::Unreadable::skip;
  options.cache.budget_mb = 0;
  options.validation = 0;
  const TemporaryFolder folder;
  const auto result = learn(std::make_shared<DamagedGripper>(), options, {folder / "run"}, at::kCPU,
                            ProgressStyle::silent, {});
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.skipped_windows > 0);
  CHECK(result.unreadable_episodes.size() == 1);
  const auto told = io::read_bundle(result.bundle).config.provenance;
  REQUIRE(told.contains("skipped_windows"));
  CHECK(told["skipped_windows"] == result.skipped_windows);
  CHECK(told["unreadable_episodes"].size() == 1);
}

}  // namespace

TEST_CASE("bundles of families other than LeWM tell the windows that were skipped, too") {
  check_told(brief_vjepa2());
  check_told(briefly(IJepaLearnOptions::tiny()));
  auto lejepa = briefly(LeJepaLearnOptions::tiny());
  lejepa.task.probe.columns = 2;
  check_told(lejepa);
}

}  // namespace foresight::train::skipped_windows_test
