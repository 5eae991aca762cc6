// SPDX-License-Identifier: Apache-2.0
// What a run's folder tells of the processes that wrote it: how many they were, and nothing
// half-written of those that were killed. It is one training's at a time.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "first_of_two.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/learn.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::run_folder_test {
namespace {

namespace fs = std::filesystem;

class SecondOfTwo final : public GradientReducer {
 public:
  int64_t rank() const override { return 1; }
  int64_t world_size() const override { return 2; }
  void reduce(const std::vector<Tensor>&) override {}
  void average(std::vector<double>&) override {}
};

void learn_4_steps(const fs::path& run, GradientReducer* reducer = nullptr) {
  auto options = tiny_learning(4);
  options.training.log_every = 1;
  options.training.checkpoint_every = 2;
  const auto result =
      learn(std::make_shared<TensorDataset>(pushed_square()), options, {run, fs::exists(run)},
            at::kCPU, ProgressStyle::silent, {.reducer = reducer});
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
}

void forget_all_after_step_2(const fs::path& run) {
  fs::remove_all(run / "bundle");
  REQUIRE(fs::remove(checkpoint_path(run / "checkpoints" / "jepa", 4)));
  REQUIRE(fs::exists(checkpoint_path(run / "checkpoints" / "jepa", 2)));
}

void write(const fs::path& file) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << "half";
}

}  // namespace

TEST_CASE("a run that goes on removes what a killed process left half-written, and nothing else") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  learn_4_steps(run);
  const auto checkpoints = run / "checkpoints" / "jepa";
  const std::vector<fs::path> left = {
      checkpoints / "step_0000000003.safetensors.tmp-abandoned012",
      checkpoints / "best.safetensors.tmp-abandoned012",
      run / "metrics.jsonl.tmp-abandoned012",
      run / "candidate.tmp-abandoned012" / "model.safetensors",
  };
  const std::vector<fs::path> kept = {
      checkpoints / "step_0000000003.safetensors.tmp-inuse6789012",
      checkpoints / "step_0000000003.safetensors.tmp-mine",
      run / "notes.tmp-of-mine",
      run / "films" / "film.mp4.tmp-abandoned012",  // of nothing that a training writes
  };
  for (const auto& files : {left, kept})
    for (const auto& file : files) write(file);
  const int writer = ::open(kept[0].c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(::flock(writer, LOCK_EX | LOCK_NB) == 0);  // as one that lives has it
  const auto are_there = [](const std::vector<fs::path>& files) {
    return std::count_if(files.begin(), files.end(), [](const auto& f) { return fs::exists(f); });
  };

  SecondOfTwo second;  // leaves the run's folder to the first
  learn_4_steps(run, &second);
  CHECK(are_there(left) == std::ssize(left));
  learn_4_steps(run);
  CHECK(are_there(left) == 0);
  CHECK_FALSE(fs::exists(run / "candidate.tmp-abandoned012"));
  CHECK(are_there(kept) == std::ssize(kept));
  CHECK(fs::exists(checkpoint_path(checkpoints, 4)));
  ::close(writer);
  learn_4_steps(run);
  CHECK_FALSE(fs::exists(kept[0]));  // whose writer is gone by now
}

TEST_CASE("a run's folder is one training's at a time, and the second names the first") {
  const TemporaryFolder folder;
  const auto run = folder / "run", lock = run / "run.lock";
  write(lock);  // of a process that was killed
  auto options = tiny_learning(4);
  options.training.success_every = 2;
  using Success = std::function<double(const fs::path&)>;
  const auto learn_there = [&](bool resume, const Success& success) {
    return learn(std::make_shared<TensorDataset>(pushed_square()), options, {run, resume}, at::kCPU,
                 ProgressStyle::silent, {.success = success});
  };
  int asked = 0, refused = 0;
  const auto result = learn_there(/*resume=*/true, [&](const fs::path&) {
    for (const bool resume : {false, true}) {
      ++asked;
      refused += fails_with(
          ErrorCategory::invalid_argument, [&] { learn_there(resume, nullptr); },
          run.string() + ": another training is at work here",
          ". It is process " + std::to_string(::getpid()) + " on ");
    }
    return 0.5;
  });
  CHECK(result.outcome == Outcome::finished);
  CHECK(asked >= 4);
  CHECK(refused == asked);
  CHECK_FALSE(fs::exists(lock));
  CHECK(learn_there(/*resume=*/true, [](const fs::path&) { return 0.5; }).outcome ==
        Outcome::finished);
}

TEST_CASE("a run that is refused before its first step is not in the way of the next") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  const auto learn_there = [&](const LearnOptions& options, GradientReducer* reducer) {
    return learn(std::make_shared<TensorDataset>(pushed_square()), options, {run}, at::kCPU,
                 ProgressStyle::silent, {.reducer = reducer});
  };
  auto options = tiny_learning(2);
  FirstOfTwo first;
  options.loader.batch = 7;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learn_there(options, &first); }, "batch = 7",
      "multiple of Shard.count = 2"));
  CHECK_FALSE(fs::exists(run / "config.json"));
  options.training.freeze = {"nothing.*"};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learn_there(options, nullptr); }, "fits none"));
  CHECK_FALSE(fs::exists(run / "config.json"));
  options.training.freeze = {};
  CHECK(learn_there(options, nullptr).outcome == Outcome::finished);
  CHECK(fs::exists(run / "config.json"));
}

TEST_CASE("a folder whose config.json is a bundle's, or another project's, becomes no run") {
  const TemporaryFolder folder;
  learn_4_steps(folder / "run");
  fs::create_directory(folder / "hub");
  io::write_json(folder / "hub" / "config.json", {{"model_type", "vit"}});
  for (const auto& other : {folder / "run" / "bundle", folder / "hub"}) {
    const auto told = io::read_json(other / "config.json");
    for (const bool resume : {false, true})
      CHECK(fails_with(
          ErrorCategory::invalid_argument,
          [&] {
            learn(std::make_shared<TensorDataset>(pushed_square()), tiny_learning(1),
                  {other, resume}, at::kCPU, ProgressStyle::silent);
          },
          (other / "config.json").string(), "choose another folder"));
    CHECK(io::read_json(other / "config.json") == told);
    CHECK_FALSE(fs::exists(other / "checkpoints"));
  }
}

TEST_CASE("a training whose folder was made anew leaves the lock of the one that is there now") {
  const TemporaryFolder folder;
  const auto run = folder / "run", lock = run / "run.lock";
  auto options = tiny_learning(2);
  options.training.success_every = 2;
  learn(std::make_shared<TensorDataset>(pushed_square()), options, {run, /*resume=*/false},
        at::kCPU, ProgressStyle::silent, {.success = [&](const fs::path&) {
          fs::remove(lock);
          write(lock);
          return 0.5;
        }});
  CHECK(fs::exists(lock));
}

TEST_CASE("a run tells the number of its processes, also when it goes on with another") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  const auto told = [&] { return io::read_json(run / "config.json").at("processes"); };
  FirstOfTwo first;
  learn_4_steps(run, &first);
  CHECK(told() == nlohmann::json::array({2}));
  CHECK(curve(run, "jepa/processes") == std::vector<double>{2, 2, 2, 2});

  forget_all_after_step_2(run);
  learn_4_steps(run);
  CHECK(told() == nlohmann::json::array({2, 1}));
  CHECK(curve(run, "jepa/processes") == std::vector<double>{2, 2, 1, 1});
  learn_4_steps(run);
  CHECK(told() == nlohmann::json::array({2, 1}));

  // A run of an earlier version does not tell with how many it began.
  auto config = io::read_json(run / "config.json");
  config.erase("processes");
  io::write_json(run / "config.json", config);
  learn_4_steps(run);
  CHECK(told() == nlohmann::json::array({nullptr, 1}));
}

}  // namespace foresight::train::run_folder_test
