// SPDX-License-Identifier: Apache-2.0
// Training on recordings that go bad underway: fatal or skipped as chosen, named, counted, exact.
#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/learn.hpp"
#include "metric_curve.hpp"

namespace foresight::train::unreadable_video_test {
namespace {

namespace fs = std::filesystem;

LearnOptions learning_from_films(data::Unreadable unreadable) {
  LearnOptions options;
  options.windows = {.frames = 5, .stride = 1};
  options.loader.batch = 8;
  options.loader.threads = 2;
  options.loader.unreadable = unreadable;
  options.cache.budget_mb = 0;
  options.validation = 0.2;
  options.training.steps = 10;
  options.training.log_every = 1;
  options.training.validate_every = 5;
  options.training.checkpoint_every = 4;
  options.critic_training.steps = 4;
  options.critic_training.log_every = 1;
  options.augmentation.shift = 2;
  options.augmentation.brightness = 0.2;
  options.seed = 3;
  return options;
}

// The films that are trained on, not those held out for validation.
std::vector<int64_t> training_films(int64_t count, const LearnOptions& options) {
  return data::split_episodes(count, options.validation, static_cast<std::uint64_t>(options.seed))
      .train;
}

LearnResult run(const std::shared_ptr<const data::Dataset>& films, const LearnOptions& options,
                const fs::path& folder, bool resume = false) {
  return learn(films, options, {folder, resume}, at::kCPU, ProgressStyle::silent);
}

}  // namespace

TEST_CASE("training stops at a film that cannot be read, by name, with a checkpoint") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder folder(5, 12, 32);
  const TemporaryFolder runs;
  const auto options = learning_from_films(data::Unreadable::fail);
  const auto films = data::open_dataset(folder.path());
  const auto bad = training_films(5, options).front();
  folder.remove(bad);
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { run(films, options, runs / "run"); },
      folder.film(bad).string() + ": no such file", "episode_000" + std::to_string(bad)));
  CHECK_FALSE(fs::exists(runs / "run" / "bundle"));
}

TEST_CASE("training goes on without the films that cannot be read, counts them, resumes exactly") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder folder(6, 12, 32);
  const TemporaryFolder runs;
  const auto options = learning_from_films(data::Unreadable::skip);
  const auto films = data::open_dataset(folder.path());
  const auto trained_on = training_films(6, options);
  folder.remove(trained_on[0]);
  folder.spoil(trained_on[1]);

  const auto whole = run(films, options, runs / "whole");
  REQUIRE(whole.outcome == Outcome::finished);
  CHECK(whole.skipped_windows > 0);
  REQUIRE(whole.unreadable_episodes.size() == 2);
  const auto name = "episode_000" + std::to_string(trained_on[0]);
  REQUIRE(whole.unreadable_episodes.contains(name));
  CHECK(whole.unreadable_episodes.at(name).find("no such file") != std::string::npos);
  const auto curve = metric_curve(runs / "whole");
  CHECK(curve.at("jepa/skipped_windows@10") == static_cast<double>(whole.skipped_windows));
  const auto bundle = io::read_bundle(whole.bundle);
  CHECK(bundle.config.provenance["skipped_windows"] == whole.skipped_windows);
  CHECK(bundle.config.provenance["unreadable_episodes"].contains(name));

  // The decoded-frame cache changes nothing.
  auto cached = options;
  cached.cache.budget_mb = 100;
  REQUIRE(run(films, cached, runs / "cached").outcome == Outcome::finished);
  CHECK(metric_curve(runs / "cached") == curve);

  // Neither does an interruption: as if killed after the checkpoint of step 8 was written.
  fs::copy(runs / "whole", runs / "killed", fs::copy_options::recursive);
  fs::remove_all(runs / "killed" / "bundle");
  fs::remove_all(runs / "killed" / "checkpoints" / "critic");
  fs::remove(runs / "killed" / "checkpoints" / "jepa" / "step_0000000010.safetensors");
  const auto resumed = run(films, options, runs / "killed", /*resume=*/true);
  REQUIRE(resumed.outcome == Outcome::finished);
  CHECK(resumed.skipped_windows == whole.skipped_windows);
  CHECK(metric_curve(runs / "killed") == curve);
}

}  // namespace foresight::train::unreadable_video_test
