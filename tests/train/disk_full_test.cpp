// SPDX-License-Identifier: Apache-2.0
// Training on a full disk: the error names the file, what was there stays valid, nothing
// half-written is left, and with room again the run goes on as if nothing had happened.
#include <filesystem>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "file_size_limit.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/learn.hpp"
#include "metric_curve.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::disk_full_test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::exists(folder)) return names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

Checkpoint checkpoint_of_step(int64_t step) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.position = "{}";
  checkpoint.tensors = {{"model/w", at::full({100, 100}, static_cast<double>(step))}};
  return checkpoint;
}

LearnOptions brief_learning_from_square() {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 1;
  options.validation = 0.2;
  options.training.steps = 8;
  options.training.log_every = 1;
  options.training.validate_every = 0;
  options.training.checkpoint_every = 3;
  options.critic_training.steps = 0;
  options.seed = 4;
  return options;
}

LearnResult learn_from_square(const fs::path& folder, bool resume) {
  return learn(std::make_shared<TensorDataset>(pushed_square()), brief_learning_from_square(),
               {folder, resume}, at::kCPU, ProgressStyle::silent);
}

}  // namespace

TEST_CASE("a checkpoint that does not fit leaves the one before it") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), checkpoint_of_step(1), 1);
  const auto before = names_in(folder.path());
  for (const std::uint64_t room : {0, 10, 20'000}) {
    INFO(room);
    const FileSizeLimit limit(room);
    CHECK(fails_with(
        ErrorCategory::io_failure,
        [&] { write_checkpoint(folder.path(), checkpoint_of_step(2), 1); },
        checkpoint_path(folder.path(), 2).string(), "File too large"));
    CHECK(names_in(folder.path()) == before);
  }
  CHECK(read_newest_checkpoint(folder.path())->step == 1);
  write_checkpoint(folder.path(), checkpoint_of_step(2), 1);
  CHECK(read_newest_checkpoint(folder.path())->step == 2);
}

TEST_CASE("metrics that do not fit are named, and a record is whole or absent") {
  const TemporaryFolder folder;
  {
    EventWriter metrics(folder.path());
    metrics.write(1, {{"loss", 0.5}});
    metrics.flush();
    const auto size = fs::file_size(folder / "metrics.jsonl");
    {
      const FileSizeLimit limit(size + 100);
      for (int64_t step = 2; step < 40; ++step)
        metrics.write(step, {{"loss", 1.0 / static_cast<double>(step)}});
      CHECK(fails_with(
          ErrorCategory::io_failure, [&] { metrics.flush(); }, "metrics.jsonl", "File too large"));
    }
    CHECK(fs::file_size(folder / "metrics.jsonl") == size);
    metrics.flush();  // room again: nothing is lost, nothing doubled
  }
  const auto rows = read_metrics(folder / "metrics.jsonl");
  REQUIRE(rows.size() == 39);
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i].step == static_cast<int64_t>(i) + 1);
}

TEST_CASE("a bundle that does not fit leaves the one before it") {
  const TemporaryFolder folder;
  auto options = models::JepaOptions::small();
  const models::Jepa model(options, 1), other(options, 2);
  const auto path = folder / "bundle";
  models::write_jepa(path, model, models::jepa_bundle_config(model), nullptr);
  const auto before = names_in(folder.path());
  for (const std::uint64_t room : {0, 50, 5'000}) {
    INFO(room);
    const FileSizeLimit limit(room);
    CHECK(fails_with(
        ErrorCategory::io_failure,
        [&] { models::write_jepa(path, other, models::jepa_bundle_config(other), nullptr); },
        folder.path().string()));
    CHECK(names_in(folder.path()) == before);
  }
  CHECK(at::equal(models::read_jepa(path)->parameters().front(), model.parameters().front()));
}

TEST_CASE("a training on a full disk stops by name and goes on exactly when there is room") {
  const TemporaryFolder folder;
  const auto whole = learn_from_square(folder / "whole", false);
  REQUIRE(whole.outcome == Outcome::finished);
  const auto numbers = metric_curve(folder / "whole");
  const auto bytes =
      fs::file_size(folder / "whole" / "checkpoints" / "jepa" / "step_0000000008.safetensors");
  REQUIRE(bytes > 50'000);
  {
    const CapturedLog log;
    const FileSizeLimit limit(bytes / 2);  // metrics fit, checkpoints do not
    CHECK(fails_with(
        ErrorCategory::io_failure, [&] { learn_from_square(folder / "full", false); },
        "step_0000000003.safetensors", "File too large"));
    CHECK_FALSE(log.says("no checkpoint either"));  // the same file on the same disk
  }
  CHECK(names_in(folder / "full" / "checkpoints").empty());
  CHECK_FALSE(fs::exists(folder / "full" / "bundle"));
  const auto resumed = learn_from_square(folder / "full", /*resume=*/true);
  REQUIRE(resumed.outcome == Outcome::finished);
  CHECK(metric_curve(folder / "full") == numbers);
  CHECK(at::equal(models::read_jepa(resumed.bundle)->parameters().front(),
                  models::read_jepa(whole.bundle)->parameters().front()));
}

}  // namespace foresight::train::disk_full_test
