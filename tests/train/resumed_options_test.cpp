// SPDX-License-Identifier: Apache-2.0
// What a run that goes on may be given otherwise than when it was started.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/learn.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::resumed_options_test {
namespace {

namespace fs = std::filesystem;

LearnOptions four_steps() {
  auto options = tiny_learning(4);
  options.training.checkpoint_every = 2;
  return options;
}

LearnResult learned(const LearnOptions& options, const fs::path& run, bool resume = false) {
  return learn(std::make_shared<TensorDataset>(pushed_square()), options, {run, resume}, at::kCPU,
               ProgressStyle::silent);
}

fs::path checkpoint(const fs::path& run, int64_t step) {
  return checkpoint_path(run / "checkpoints" / "jepa", step);
}

void forget_all_after_step_2(const fs::path& run) {
  fs::remove_all(run / "bundle");
  REQUIRE(fs::remove(checkpoint(run, 4)));
  REQUIRE(fs::exists(checkpoint(run, 2)));
}

// Recordings of which no frame can be read.
class Unfilmed final : public TensorDataset {
 public:
  Unfilmed() : TensorDataset(pushed_square()) {}
  Tensor read_frames(int64_t, at::IntArrayRef) const override {
    throw Error(ErrorCategory::bad_file, "e0.mp4: gone");
  }
};

}  // namespace

TEST_CASE("a run goes on with other threads, caches and intervals, to the same numbers") {
  const TemporaryFolder folder;
  const auto run = folder / "run", whole = folder / "whole";
  learned(four_steps(), whole);
  learned(four_steps(), run);
  forget_all_after_step_2(run);
  const auto told = io::read_json(run / "config.json");
  auto options = four_steps();
  options.loader.threads = 2;
  options.loader.queue = 9;
  options.cache.budget_mb = 0;
  options.cache.threads = 1;
  options.cache.folder = (folder / "frames").string();
  options.training.log_every = 1;
  options.training.checkpoint_every = 1;
  options.training.keep_checkpoints = 9;
  options.critic_training.log_every = 7;
  CHECK(learned(options, run, true).outcome == Outcome::finished);
  CHECK(io::read_json(run / "config.json") == told);
  CHECK(fs::exists(checkpoint(run, 3)));
  const auto expected = read_checkpoint(checkpoint(whole, 4)).section("model/"),
             found = read_checkpoint(checkpoint(run, 4)).section("model/");
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(at::equal(found[i].second, expected[i].second));
}

TEST_CASE("a run may begin to skip what cannot be read, and tells it, but not cease to") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  learned(four_steps(), run);
  forget_all_after_step_2(run);
  auto options = four_steps();
  options.loader.unreadable = data::Unreadable::skip;
  {
    const CapturedLog log;
    CHECK(learned(options, run, true).outcome == Outcome::finished);
    CHECK(log.says("skipped from now on"));
  }
  CHECK(io::read_json(run / "config.json")["learn"]["loader"]["unreadable"] == "skip");
  const CapturedLog log;
  CHECK(learned(options, run, true).outcome == Outcome::finished);
  CHECK_FALSE(log.says("skipped from now on"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learned(four_steps(), run, true); },
      "loader.unreadable: \"fail\" here, \"skip\" in the run"));
}

TEST_CASE("a refusal of other options says where those of the run are") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  learned(four_steps(), run);
  auto options = four_steps();
  options.loader.batch = 9;
  const auto remedy = "`--config " + (run / "config.json").string() + "` takes those of the run";
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learned(options, run, true); },
      "loader.batch: 9 here, 8 in the run", remedy.c_str()));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { learned(four_steps(), run); },
      "holds a run already: resume it (`--resume`), or choose another folder (`--out`)"));
}

TEST_CASE("a run that ended before its first checkpoint starts anew, with any options") {
  for (const int64_t budget : {4096, 0}) {  // while decoding; while training
    const TemporaryFolder folder;
    const auto run = folder / "run";
    auto options = four_steps();
    options.cache.budget_mb = budget;
    CHECK(fails_with(
        ErrorCategory::bad_file,
        [&] {
          learn(std::make_shared<Unfilmed>(), options, {run}, at::kCPU, ProgressStyle::silent);
        },
        "gone"));
    // That one recorded nothing, and is not in the way.
    CHECK(learned(options, run).outcome == Outcome::finished);
    for (const auto* later : {"checkpoints", "bundle"}) std::filesystem::remove_all(run / later);
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { learned(options, run); }, "holds a run already",
        "no checkpoint yet"));
    options.loader.batch = 9;
    options.model.latent = 7;
    const CapturedLog log;
    CHECK(learned(options, run, true).outcome == Outcome::finished);
    CHECK(log.says("starts anew"));
    CHECK(io::read_json(run / "config.json")["learn"]["loader"]["batch"] == 9);
    CHECK(learned(options, run, true).outcome == Outcome::finished);
  }
}

}  // namespace foresight::train::resumed_options_test
