// SPDX-License-Identifier: Apache-2.0
// Every family learns on from its own bundle: what it starts from, what it keeps, what it reports,
// and what it refuses.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "brief_families.hpp"
#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "first_of_two.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::continued_families_test {
namespace {

// The same gripper under other light, with poses of another range.
std::shared_ptr<const data::Dataset> other_recordings() {
  auto recordings = moving_gripper(kBriefSide);
  recordings.name = "moving gripper by night";
  recordings.frames = 255 - recordings.frames;
  recordings.states = recordings.states + 0.5;
  recordings.actions =
      at::linspace(-2, 2, recordings.actions.numel(), at::kDouble).view(recordings.actions.sizes());
  return std::make_shared<TensorDataset>(std::move(recordings));
}

double loss_before(const std::vector<BeforeAfter>& losses) {
  REQUIRE_FALSE(losses.empty());
  REQUIRE(losses.front().term == "loss");
  CHECK(std::isfinite(losses.front().after));
  CHECK(losses.front().after != losses.front().before);
  return losses.front().before;
}

bool problem_named(const std::vector<std::string>& problems, const std::string& words) {
  return std::any_of(problems.begin(), problems.end(), [&](const std::string& problem) {
    return problem.find(words) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("every family learns on from its bundle, rehearses, and reports what it forgot") {
  const TemporaryFolder folder;
  for (const auto& family : brief_families(folder.path())) {
    INFO(family.name);
    const bool recorded = family.name != "eb_jepa";
    const auto first = family.learn(brief_recordings(), {folder / (family.name + "_1")}, {});
    REQUIRE(first.outcome == Outcome::finished);
    Continuation from{first.bundle, recorded ? brief_recordings() : nullptr, 0.5};
    LearnHooks hooks;
    hooks.continuation = &from;
    const auto on = family.learn(other_recordings(), {folder / (family.name + "_2")}, hooks);
    REQUIRE(on.outcome == Outcome::finished);

    const auto before = io::read_bundle(first.bundle), after = io::read_bundle(on.bundle);
    CHECK(after.config.options == before.config.options);  // statistics too
    CHECK(after.config.planner == before.config.planner);
    CHECK(after.config.action.mean == before.config.action.mean);
    CHECK(after.config.provenance["continued_from"] == before.config.provenance);
    bool moved = false;
    for (const auto& [name, tensor] : after.tensors.tensors())
      moved = moved || !at::equal(tensor, before.tensors.at(name));
    CHECK(moved);

    REQUIRE(on.continual);
    const auto told = io::read_json(folder / (family.name + "_2") / "continual.json");
    CHECK(told == to_json(*on.continual));
    loss_before(on.continual->new_data);
    if (recorded) {
      // The old recordings' held-out loss, by the model as it was: what its first run ended with.
      const bool same_noise = family.name == "dino_wm" || family.name == "vjepa2_ac" ||
                              family.name == "vjepa2_probe";
      if (same_noise)
        CHECK(loss_before(on.continual->old_data) ==
              Approx(first.world_model.validation_loss).epsilon(1e-5));
      CHECK(told["forgetting"].is_number());
      CHECK(on.continual->drift.latent_shift > 0.5);  // night is unlike day, whatever the encoder
      CHECK(after.config.provenance["replay"]["share"] == 0.5);
    }
    if (family.name == "dino_wm") {
      REQUIRE(on.continual->drift.states.size() == 7);
      REQUIRE(on.continual->drift.actions.size() == 1);
      CHECK(on.continual->drift.states[0].shift > 0.5);
      const auto warnings = on.continual->drift.warnings();
      CHECK(problem_named(warnings, "action_0: never varied in the training data"));
      CHECK(problem_named(warnings, "state_6: never varied in the training data"));
      CHECK_FALSE(problem_named(warnings, "state_0: never varied"));
    }
  }
}

TEST_CASE("a run that learns on starts from the bundle's weights, and again with another's help") {
  const TemporaryFolder folder;
  auto options = brief_vjepa2();
  options.encoder = models::EncoderWeights::online;
  const auto silently = [&](const char* name, const LearnHooks& hooks, bool resume = false) {
    return learn(brief_recordings(), options, {folder / name, resume}, at::kCPU,
                 ProgressStyle::silent, hooks);
  };
  const auto first = silently("first", {});
  Continuation from{first.bundle, nullptr};
  LearnHooks hooks;
  hooks.continuation = &from;
  options.training.steps = 0;
  const auto same = silently("same", hooks);
  const auto before = io::read_bundle(first.bundle), after = io::read_bundle(same.bundle);
  for (const auto& [name, tensor] : after.model_tensors()) {
    INFO(name);
    CHECK(at::equal(tensor, before.tensors.at(name)));
  }
  // Going on with a run that learns on needs the same origin.
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { silently("same", {}, true); }, "learn_on"));
}

TEST_CASE("what cannot be learned on is refused by name") {
  const TemporaryFolder folder;
  const auto families = brief_families(folder.path());
  Continuation from{folder / "video_encoder", brief_recordings()};
  LearnHooks hooks;
  hooks.continuation = &from;
  for (const auto& family : families) {
    INFO(family.name);
    if (family.name == "vjepa2" || family.name == "ijepa") continue;  // it is one of theirs
    if (family.name == "vjepa2_probe") continue;                      // learn_probe_test.cpp
    CHECK(fails_with(
        ErrorCategory::unsupported,
        [&] { family.learn(brief_recordings(), {folder / "run"}, hooks); },
        family.name == "eb_jepa" ? "no recordings to replay" : "model family 'vjepa2'"));
  }
  // A model of clips is no I-JEPA.
  for (const auto& family : families)
    if (family.name == "ijepa")
      CHECK(fails_with(
          ErrorCategory::invalid_option,
          [&] { family.learn(brief_recordings(), {folder / "run"}, hooks); },
          "model.encoder.frames"));
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("windows that are not as far apart as a DINO-WM's action blocks are refused") {
  const TemporaryFolder folder;
  const auto families = brief_families(folder.path());
  REQUIRE(families.front().name == "dino_wm");  // of blocks of two rows
  const auto first = families.front().learn(brief_recordings(), {folder / "first"}, {});
  const Continuation from{first.bundle, nullptr};
  LearnHooks hooks;
  hooks.continuation = &from;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        learn(brief_recordings(), briefly(DinoWmLearnOptions::small()), {folder / "on"}, at::kCPU,
              ProgressStyle::silent, hooks);
      },
      "windows.stride = 5", "action block of the bundle that learning goes on from, 2"));
  CHECK_FALSE(std::filesystem::exists(folder / "on"));
}

TEST_CASE(
    "a replay with other columns is rehearsed where they are not read, and refused elsewhere") {
  const TemporaryFolder folder;
  const auto with_columns = [](int64_t actions, int64_t states) {
    auto recordings = moving_gripper(kBriefSide);
    recordings.name = "another robot";
    recordings.actions = recordings.actions.repeat({1, 1, actions});
    recordings.states = recordings.states.narrow(2, 0, states);
    return std::make_shared<TensorDataset>(std::move(recordings));
  };
  for (const auto& family : brief_families(folder.path())) {
    if (family.name != "vjepa2" && family.name != "dino_wm" && family.name != "lejepa") continue;
    INFO(family.name);
    const auto first = family.learn(brief_recordings(), {folder / family.name}, {});
    REQUIRE(first.outcome == Outcome::finished);
    Continuation from{first.bundle, nullptr, 0.5};
    LearnHooks hooks;
    hooks.continuation = &from;
    const auto run = folder / (family.name + "_on");
    const auto refused = [&](const char* words) {
      CHECK(fails_with(
          ErrorCategory::invalid_option, [&] { family.learn(brief_recordings(), {run}, hooks); },
          "replay: another robot has", words));
      CHECK_FALSE(std::filesystem::exists(run));
    };
    if (family.name != "vjepa2") {
      from.replay = with_columns(1, 3);
      refused("3 state column(s)");
    }
    from.replay = with_columns(4, 7);
    if (family.name == "dino_wm") {
      refused("4 action column(s)");
      continue;
    }
    const auto on = family.learn(brief_recordings(), {run}, hooks);
    REQUIRE(on.outcome == Outcome::finished);
    loss_before(on.continual->old_data);
  }
}

TEST_CASE("a share of old windows that processes cannot make is warned about") {
  const TemporaryFolder folder;
  auto options = brief_vjepa2();
  options.training.steps = 1;
  const auto first =
      learn(brief_recordings(), options, {folder / "first"}, at::kCPU, ProgressStyle::silent);
  REQUIRE(first.outcome == Outcome::finished);
  const Continuation from{first.bundle, brief_recordings(), 0.3};  // of four windows
  FirstOfTwo processes;
  LearnHooks hooks;
  hooks.continuation = &from;
  const auto warned = [&](const char* run) {
    const CapturedLog log;
    const auto on =
        learn(brief_recordings(), options, {folder / run}, at::kCPU, ProgressStyle::silent, hooks);
    CHECK(on.outcome == Outcome::finished);
    return log.says("replay: 2 of a batch's 4 windows are old ones, a multiple of the 2 processes");
  };
  CHECK_FALSE(warned("alone"));
  hooks.reducer = &processes;
  CHECK(warned("first of two"));
}

TEST_CASE("a replay whose frames have another size is refused before a run begins") {
  const TemporaryFolder folder;
  auto recordings = moving_gripper(kBriefSide);
  recordings.name = "lower camera";
  recordings.frames = recordings.frames.narrow(2, 0, kBriefSide / 2).contiguous();
  for (const auto& family : brief_families(folder.path())) {
    if (family.name == "eb_jepa") continue;  // its data are made as needed
    INFO(family.name);
    const auto first = family.learn(brief_recordings(), {folder / family.name}, {});
    REQUIRE(first.outcome == Outcome::finished);
    const Continuation from{first.bundle, std::make_shared<TensorDataset>(recordings), 0.5};
    LearnHooks hooks;
    hooks.continuation = &from;
    const auto side = std::to_string(kBriefSide), half = std::to_string(kBriefSide / 2);
    CHECK(fails_with(
        ErrorCategory::invalid_option,
        [&] { family.learn(brief_recordings(), {folder / "on"}, hooks); },
        "replay: frames of lower camera are " + side + "x" + half, " are " + side + "x" + side));
    CHECK_FALSE(std::filesystem::exists(folder / "on"));
  }
}

TEST_CASE("families change training pictures where that makes sense, and say where it does not") {
  const TemporaryFolder folder;
  int runs = 0;
  const auto loss_with = [&](double brightness, double flip) {
    auto options = brief_vjepa2();
    options.training.steps = 1;
    options.augmentation.brightness = brightness;
    options.augmentation.flip = flip;
    if (flip > 0) options.augmentation.flip_signs = {1.0};
    return learn(brief_recordings(), options, {folder / std::to_string(++runs)}, at::kCPU,
                 ProgressStyle::silent)
        .world_model.loss;
  };
  CHECK(loss_with(0, 0) != loss_with(0.9, 0));
  CHECK(loss_with(0, 0) != loss_with(0, 1));  // always mirrored

  // On a frozen encoder, whose features change with the pictures: nothing is cached.
  const auto families = brief_families(folder.path());
  DinoWmLearnOptions dino_wm = briefly(DinoWmLearnOptions::small());
  dino_wm.backbone = (folder / "image_encoder").string();
  dino_wm.training.steps = 1;
  const auto plain =
      learn(brief_recordings(), dino_wm, {folder / "plain"}, at::kCPU, ProgressStyle::silent);
  dino_wm.augmentation.brightness = 0.9;
  const auto changed =
      learn(brief_recordings(), dino_wm, {folder / "changed"}, at::kCPU, ProgressStyle::silent);
  CHECK(plain.world_model.loss != changed.world_model.loss);

  dino_wm.augmentation = {.flip = 0.5, .flip_signs = {-1.0}};
  CHECK(dino_wm.validate().empty());
  dino_wm.model.proprio.dim = 7;
  CHECK(problem_named(dino_wm.validate(), "augmentation.flip"));
  auto vjepa2_ac = VJepa2AcLearnOptions::small();
  vjepa2_ac.backbone = "somewhere";
  vjepa2_ac.augmentation = {.flip = 0.5, .flip_signs = {-1.0}};
  CHECK(problem_named(vjepa2_ac.validate(), "augmentation.flip"));
  auto lejepa = LeJepaLearnOptions::tiny();
  lejepa.augmentation.hue = 0.1;
  CHECK(problem_named(lejepa.validate(), "task.views"));
}

}  // namespace foresight::train::continued_families_test
