// SPDX-License-Identifier: Apache-2.0
// What a run was trained on: told in config.json and provenance, the same for a run that goes on,
// and told apart from changed, grown and other recordings.
#include "foresight/data/identity.hpp"

#include <nlohmann/json.hpp>

#include "brief_families.hpp"
#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/first_episodes.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/learn.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::data_identity_test {
namespace {

// Recordings of two cameras, by one of them.
class SeenBy final : public TensorDataset {
 public:
  SeenBy(TensorRecordings recordings, std::string camera)
      : TensorDataset(std::move(recordings)), camera_(std::move(camera)) {}
  std::vector<std::string> cameras() const override { return {"front", "wrist"}; }
  std::string camera() const override { return camera_; }

 private:
  std::string camera_;
};

std::shared_ptr<const data::Dataset> seen_by(const std::string& camera,
                                             TensorRecordings recordings = pushed_square()) {
  return std::make_shared<SeenBy>(std::move(recordings), camera);
}

TensorRecordings shortened(TensorRecordings recordings, int64_t episodes, int64_t rows) {
  for (auto* values : {&recordings.frames, &recordings.actions, &recordings.states})
    if (values->defined()) *values = values->narrow(0, 0, episodes).narrow(1, 0, rows);
  return recordings;
}

LearnOptions brief_learning() { return tiny_learning(3); }

LearnResult learned(std::shared_ptr<const data::Dataset> dataset,
                    const std::filesystem::path& folder, bool resume = false,
                    const LearnHooks& hooks = {}) {
  return learn(std::move(dataset), brief_learning(), {folder, resume}, at::kCPU,
               ProgressStyle::silent, hooks);
}

}  // namespace

TEST_CASE("config.json and provenance tell the camera, the columns and the recordings") {
  const TemporaryFolder folder;
  const auto result = learned(seen_by("wrist"), folder / "run");
  REQUIRE(result.outcome == Outcome::finished);
  const auto bundle = io::read_bundle(result.bundle);
  for (const auto& told :
       {io::read_json(folder / "run" / "config.json"), bundle.config.provenance}) {
    const auto identity = data::identity_told(told);
    CHECK(identity.data == "pushed square");
    CHECK(identity.camera == "wrist");
    CHECK(identity.action_columns == std::vector<std::string>{"action_0"});
    CHECK(identity.observed_columns.empty());
    CHECK(identity.episodes == 10);
    CHECK(identity.frames == 240);
    CHECK(data::holds(*seen_by("front"), identity));
    auto moved = pushed_square();
    moved.name = "elsewhere";
    CHECK(data::holds(*seen_by("wrist", moved), identity));
    CHECK_FALSE(data::holds(*seen_by("wrist", pushed_square(0.1)), identity));
  }
}

TEST_CASE("a run does not go on with another camera, or with grown or changed recordings") {
  const TemporaryFolder folder;
  learned(seen_by("wrist", shortened(pushed_square(), 9, 24)), folder / "run");
  const auto refused = [&](std::shared_ptr<const data::Dataset> dataset, const char* words) {
    return fails_with(
        ErrorCategory::invalid_option, [&] { learned(dataset, folder / "run", true); },
        "was started with other options or recordings", words);
  };
  CHECK(refused(seen_by("front", shortened(pushed_square(), 9, 24)), "camera: \"front\" here"));
  CHECK(refused(seen_by("wrist"), "episodes: 10 here, 9 then"));
  CHECK(refused(seen_by("wrist", shortened(pushed_square(), 9, 23)), "frames: 207 here, 216 then"));
  CHECK(refused(seen_by("wrist", shortened(pushed_square(0.1), 9, 24)), "fingerprint"));
  auto other = pushed_square(), moved = shortened(pushed_square(), 9, 24);
  other.name = moved.name = "elsewhere";
  const CapturedLog log;
  CHECK(refused(seen_by("wrist", other), "elsewhere: episodes: 10 here, 9 then"));
  CHECK_FALSE(log.says("holds the same"));
  CHECK(learned(seen_by("wrist", moved), folder / "run", true).outcome == Outcome::finished);
  CHECK(log.says("as far as can be told, elsewhere holds the same"));
}

TEST_CASE("a run goes on with the episodes that it had where others were appended") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  learned(seen_by("wrist", shortened(pushed_square(), 9, 24)), run);
  const auto then = data::identity_told(io::read_json(run / "config.json"));
  {
    const CapturedLog log;
    const auto grown = data::without_appended(seen_by("wrist"), then);
    CHECK(grown->num_episodes() == 9);
    CHECK(grown->total_rows() == then.frames);
    CHECK(log.says("pushed square has 10 episodes by now: the first 9, which are those of then"));
    CHECK(learned(grown, run, true).outcome == Outcome::finished);
  }
  const CapturedLog log;
  // Others, those that were told less of, and fewer stay as they are.
  CHECK(data::without_appended(seen_by("wrist", pushed_square(0.1)), then)->num_episodes() == 10);
  CHECK(log.says("the first 9 are not those of then: fingerprint"));
  CHECK(data::without_appended(seen_by("front"), then)->num_episodes() == 10);
  CHECK(data::without_appended(seen_by("wrist"), {.episodes = 9})->num_episodes() == 10);
  const auto fewer = seen_by("wrist", shortened(pushed_square(), 8, 24));
  CHECK(data::without_appended(fewer, then) == fewer);
  CHECK_THROWS_AS(data::FirstEpisodes(fewer, 9), Error);
}

TEST_CASE("a run of a version that told the name alone goes on") {
  const TemporaryFolder folder;
  learned(seen_by("wrist"), folder / "run");
  auto config = io::read_json(folder / "run" / "config.json");
  const auto told = write_options(data::DataIdentity());
  for (const auto& [name, unused] : told.items())
    if (name != "data") config.erase(name);
  io::write_json(folder / "run" / "config.json", config);
  CHECK(learned(seen_by("front"), folder / "run", true).outcome == Outcome::finished);
}

TEST_CASE("a run does not go on with another measure of success than it was started with") {
  const TemporaryFolder folder;
  auto options = brief_learning();
  options.training.success_every = 3;
  const auto learned_by = [&](const char* setting, bool resume) {
    LearnHooks hooks;
    hooks.success = [](const std::filesystem::path&) { return 0.5; };
    hooks.success_setting = setting;
    return learn(seen_by("wrist"), options, {folder / "run", resume}, at::kCPU,
                 ProgressStyle::silent, hooks);
  };
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { learned_by("25/50", false); }, "JSON object"));
  learned_by(R"({"protocol": "25/50", "seed": 7})", false);
  CHECK(io::read_json(folder / "run" / "config.json")["success"]["seed"] == 7);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learned_by(R"({"protocol": "5/10", "seed": 7})", true); },
      "success.protocol: \"5/10\" here, \"25/50\" in the run"));
  CHECK(learned_by(R"({"protocol": "25/50", "seed": 7})", true).outcome == Outcome::finished);
  // One of an earlier version told nothing.
  auto config = io::read_json(folder / "run" / "config.json");
  config.erase("success");
  io::write_json(folder / "run" / "config.json", config);
  CHECK(learned_by(R"({"protocol": "5/10"})", true).outcome == Outcome::finished);
}

TEST_CASE("every family refuses to go on with recordings that have grown") {
  const TemporaryFolder folder;
  for (const auto& family : brief_families(folder.path())) {
    INFO(family.name);
    const auto run = folder / family.name;
    if (family.name == "eb_jepa") continue;  // nothing was recorded
    family.learn(brief_recordings(), {run}, {});
    auto config = io::read_json(run / "config.json");
    CHECK(config["episodes"] == brief_recordings()->num_episodes());
    config["episodes"] = brief_recordings()->num_episodes() - 2;
    io::write_json(run / "config.json", config);
    CHECK(fails_with(
        ErrorCategory::invalid_option,
        [&] {
          family.learn(brief_recordings(), {run, /*resume=*/true}, {});
        },
        "episodes"));
  }
}

TEST_CASE("statistics of a DINO-WM are those that its run was started with") {
  const TemporaryFolder folder;
  const auto families = brief_families(folder.path());
  REQUIRE(families.front().name == "dino_wm");
  families.front().learn(brief_recordings(), {folder / "run"}, {});
  auto config = io::read_json(folder / "run" / "config.json");
  REQUIRE(config["measured"]["action"]["mean"].size() > 0);
  config["measured"]["action"]["mean"][0] = 0.125;
  io::write_json(folder / "run" / "config.json", config);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        families.front().learn(brief_recordings(), {folder / "run", true}, {});
      },
      "measured.action.mean"));
}

TEST_CASE("paths that are spelled differently are one place") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "recordings");
  const auto path = (folder / "recordings").string();
  CHECK(data::same_place(path, path + "/"));
  CHECK(data::same_place(path, folder.path().string() + "/./x/../recordings"));
  CHECK_FALSE(data::same_place(path, folder.path().string()));
}

}  // namespace foresight::train::data_identity_test
