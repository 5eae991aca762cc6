// SPDX-License-Identifier: Apache-2.0
// A probe from recordings to a bundle: what is kept, in which units, what is told of held-out
// clips, and what is refused before anything is written.
#include <algorithm>
#include <csignal>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "brief_families.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "first_of_two.hpp"
#include "foresight/eval/probe.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/interrupt.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::learn_probe_test {
namespace {

namespace fs = std::filesystem;

std::string encoder_in(const TemporaryFolder& folder,
                       const models::VJepa2Options& options = brief_vjepa2().model) {
  const models::VJepa2 network(options, 1);
  models::write_vjepa2(folder / "encoder", network, models::vjepa2_bundle_config(network));
  return (folder / "encoder").string();
}

LearnResult probe_learned_of(std::shared_ptr<const data::Dataset> dataset,
                             const VJepa2ProbeLearnOptions& options, const fs::path& run,
                             const Continuation* from = nullptr,
                             GradientReducer* reducer = nullptr) {
  LearnHooks hooks;
  hooks.continuation = from;
  hooks.reducer = reducer;
  return learn(std::move(dataset), options, {run}, at::kCPU, ProgressStyle::silent, hooks);
}

LearnResult probe_learned(const VJepa2ProbeLearnOptions& options, const fs::path& run,
                          TensorRecordings recordings = moving_gripper(kBriefSide),
                          const Continuation* from = nullptr) {
  return probe_learned_of(std::make_shared<TensorDataset>(std::move(recordings)), options, run,
                          from);
}

// Recordings whose episode 3 lost its numbers and frames.
class LostEpisode final : public TensorDataset {
 public:
  static constexpr int64_t kLost = 3;
  explicit LostEpisode(TensorRecordings recordings) : TensorDataset(std::move(recordings)) {}
  std::map<int64_t, std::string> unreadable_episodes() const override {
    return {{kLost, "e3: is gone"}};
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (episode == kLost) throw Error(ErrorCategory::bad_file, "e3: is gone");
    return TensorDataset::read_frames(episode, rows);
  }
};

// Recordings that cannot be read any more once `sign` is there.
class GoneAfterwards final : public TensorDataset {
 public:
  GoneAfterwards(TensorRecordings recordings, fs::path sign)
      : TensorDataset(std::move(recordings)), sign_(std::move(sign)) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (fs::exists(sign_)) throw Error(ErrorCategory::bad_file, "the disk is gone");
    return TensorDataset::read_frames(episode, rows);
  }

 private:
  fs::path sign_;
};

// The same recordings, whose state columns come in the other order.
class OtherOrder final : public TensorDataset {
 public:
  explicit OtherOrder(TensorRecordings recordings)
      : TensorDataset(std::move(recordings)), order_(TensorDataset::state_columns()) {
    std::reverse(order_.begin(), order_.end());
  }
  const std::vector<std::string>& state_columns() const override { return order_; }

 private:
  std::vector<std::string> order_;
};

}  // namespace

TEST_CASE("a trained probe lies in its encoder's bundle and gives values in their own units") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  auto recordings = moving_gripper(kBriefSide);
  recordings.states = recordings.states * 100 + 40;  // in other units than a network's
  options.training.steps = 40;
  options.training.validate_every = 0;
  const auto result = probe_learned(options, folder / "run", recordings);
  REQUIRE(result.outcome == Outcome::finished);
  const auto bundle = io::read_bundle(result.bundle), before = io::read_bundle(options.backbone);
  for (const auto& [name, tensor] : before.model_tensors()) {
    INFO(name);
    CHECK(at::equal(bundle.tensors.at(name), tensor));  // frozen
  }
  const auto probe = models::read_attentive_probe(bundle);
  REQUIRE(probe != nullptr);
  CHECK(probe->options().reading == models::ProbeReading::values);
  CHECK(probe->options().names == std::vector<std::string>{"state_0", "state_1"});

  // What the bundle says of held-out clips is what it gives them.
  const auto network = models::read_vjepa2(bundle);
  const auto& told = bundle.config.provenance;
  c10::NoGradGuard no_grad;
  std::vector<Tensor> read, truth;
  for (const auto& episode : told["validation_episodes"]) {
    const auto e = episode.get<int64_t>();
    for (int64_t start = 0; start + 4 <= 20; ++start) {
      const auto clip = recordings.frames[e].narrow(0, start, 4).unsqueeze(0);
      read.push_back(probe->predict(network->encode(network->preprocess(clip))));
      truth.push_back(recordings.states[e][start + 3].narrow(0, 0, 2).unsqueeze(0));
    }
  }
  const auto report = eval::evaluate_predictions(at::cat(read), at::cat(truth));
  const auto usual = at::cat(read).mean().item<double>();  // places are between 40 and 139
  CHECK((usual > 40 && usual < 140));
  const auto& held_out = told["held_out"];
  REQUIRE(held_out["rows"] == report.rows);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(held_out["columns"][i]["r2"].get<double>() == Approx(report.columns[i].r2).margin(1e-4));
    CHECK(held_out["columns"][i]["rmse"].get<double>() ==
          Approx(report.columns[i].rmse).epsilon(1e-3));
  }
  CHECK_THAT(result.held_out, Catch::Contains("state_0 r2"));
  CHECK(told["backbone"]["family"] == "vjepa2");
}

TEST_CASE("a probe of classes keeps their names, and clips may be shorter than its encoder's") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  options.windows.frames = 2;
  options.target = {.classes = 2};
  options.labels = {"left", "right"};
  auto recordings = moving_gripper(kBriefSide);
  recordings.states = (recordings.states.narrow(2, 0, 1) > 0.5).to(at::kDouble);
  const auto result = probe_learned(options, folder / "run", recordings);
  REQUIRE(result.outcome == Outcome::finished);
  const auto bundle = io::read_bundle(result.bundle);
  CHECK(models::read_vjepa2(bundle)->options().encoder.frames == 2);
  CHECK(models::read_attentive_probe(bundle)->options().names == options.labels);
  const auto& held_out = bundle.config.provenance["held_out"];
  CHECK(held_out["commonest_class"].get<double>() >= 0.5);
  CHECK(held_out["accuracy"].get<double>() <= 1);
  CHECK_THAT(result.held_out, Catch::Contains("held-out clips are classed rightly"));

  // It goes on from its bundle, and a run of no steps only judges.
  const Continuation from{result.bundle, nullptr};
  auto on = brief_probe();
  on.windows.frames = 2;
  on.target = {};
  on.training.steps = 0;
  const auto again = probe_learned(on, folder / "again", recordings, &from);
  REQUIRE(again.outcome == Outcome::finished);
  const auto same = io::read_bundle(again.bundle);
  for (const auto& [name, tensor] : bundle.tensors.tensors()) {
    INFO(name);
    CHECK(at::equal(same.tensors.at(name), tensor));
  }
  CHECK(same.config.heads == bundle.config.heads);
  CHECK(again.held_out == result.held_out);
  on.target = {.classes = 3};
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { probe_learned(on, folder / "other", recordings, &from); }, "target.classes = 3",
      "leave it out"));
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("what a probe cannot learn is refused, and no run folder is left") {
  const TemporaryFolder folder;
  const auto encoder = encoder_in(folder);
  const auto refused = [&](ErrorCategory category, auto change, auto... words) {
    auto options = brief_probe();
    options.backbone = encoder;
    auto recordings = moving_gripper(kBriefSide);
    change(options, recordings);
    const bool threw = fails_with(
        category, [&] { probe_learned(options, folder / "run", recordings); }, words...);
    CHECK_FALSE(fs::exists(folder / "run"));
    return threw;
  };
  using enum ErrorCategory;
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.backbone.clear(); }, "backbone"));
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.target = {}; }, "target.classes", "target.columns"));
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.target.columns = 9; }, "columns = 9",
      "7 state columns"));
  CHECK(refused(
      invalid_option,
      [](auto& o, auto&) {
        o.labels = {"a", "b"};
      },
      "labels"));
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.pooler.heads = 5; }, "heads = 5"));
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.augmentation.flip = 0.5; }, "augmentation.flip"));
  CHECK(refused(
      bad_file,
      [](auto&, auto& r) { r.states[3][9][1] = std::numeric_limits<double>::quiet_NaN(); },
      "e3, row 9"));
  CHECK(refused(
      bad_file, [](auto& o, auto&) { o.target = {.classes = 2}; }, "class number"));
  CHECK(refused(
      invalid_option, [](auto& o, auto&) { o.windows.frames = 3; }, "tubelet"));

  auto fixed = brief_vjepa2().model;
  fixed.encoder.positions = fixed.predictor.positions = nn::PositionKind::sincos;
  const TemporaryFolder other;
  const auto table = encoder_in(other, fixed);
  CHECK(refused(
      invalid_option,
      [&](auto& o, auto&) {
        o.backbone = table;
        o.windows.frames = 2;
      },
      "windows.frames = 2", "= 4"));
  const Continuation from{encoder, nullptr};
  CHECK(fails_with(
      unsupported,
      [&] { probe_learned(brief_probe(), folder / "run", moving_gripper(kBriefSide), &from); },
      "no attentive probe"));
}

TEST_CASE("an episode that lost its numbers stands in no probe's way where it is left out") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  options.loader.unreadable = data::Unreadable::skip;
  auto recordings = moving_gripper(kBriefSide);
  recordings.states[LostEpisode::kLost].fill_(std::numeric_limits<double>::quiet_NaN());
  const auto left_out = std::make_shared<LostEpisode>(recordings);
  CHECK(probe_learned_of(left_out, options, folder / "values").outcome == Outcome::finished);
  options.target = {.classes = 2};
  recordings.states = (recordings.states > 0.5).to(at::kDouble);
  recordings.states[LostEpisode::kLost].fill_(std::numeric_limits<double>::quiet_NaN());
  const auto classes = std::make_shared<LostEpisode>(recordings);
  CHECK(probe_learned_of(classes, options, folder / "classes").outcome == Outcome::finished);
}

TEST_CASE("a probe goes on reading its columns, and is judged on the episodes it has not seen") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  options.validation = 0.5;
  options.seed = 3;
  const auto first = probe_learned(options, folder / "first");
  const auto before = io::read_bundle(first.bundle).config.provenance;
  REQUIRE(before["validation_episodes"].size() == 3);

  const Continuation from{first.bundle, nullptr};
  auto on = brief_probe();  // another seed and another part
  on.training.steps = 0;
  const auto judged = probe_learned(on, folder / "judged", moving_gripper(kBriefSide), &from);
  const auto after = io::read_bundle(judged.bundle).config.provenance;
  CHECK(after["validation_episodes"] == before["validation_episodes"]);
  CHECK(after["held_out"]["rows"] == before["held_out"]["rows"]);
  CHECK(after["held_out"]["windows"] == 3 * 17);
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(after["held_out"]["columns"][i]["rmse"].get<double>() ==
          Approx(before["held_out"]["columns"][i]["rmse"].get<double>()).epsilon(1e-4));

  const auto reordered = std::make_shared<OtherOrder>(moving_gripper(kBriefSide));
  const auto refused = [&](const char* words) {
    return fails_with(
        ErrorCategory::invalid_option,
        [&] { probe_learned_of(reordered, on, folder / "other", &from); },
        "state columns state_6, state_5 would be read", words);
  };
  CHECK(refused("was trained on state_0, state_1"));
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("the judgement of a probe is bounded, says of how many clips, and can be interrupted") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  options.training.steps = 0;
  options.validation = 0.25;  // two of six episodes
  auto recordings = moving_gripper(kBriefSide);
  const auto longer = [](const Tensor& rows) { return at::cat(std::vector<Tensor>(30, rows), 1); };
  recordings.frames = longer(recordings.frames);
  recordings.states = longer(recordings.states);
  recordings.actions = longer(recordings.actions);
  const auto batch = options.loader.batch;
  const auto result = probe_learned(options, folder / "run", recordings);
  const auto told = io::read_bundle(result.bundle).config.provenance["held_out"];
  CHECK(told["windows"] == 2 * 597);
  CHECK(told["rows"] == (1024 + batch - 1) / batch * batch);
  CHECK_THAT(result.held_out, Catch::Contains(" of 1194 held-out clips"));

  options.training.steps = 1;  // which a checkpoint says were validated
  REQUIRE_FALSE(probe_learned(options, folder / "stopped").held_out.empty());
  const InterruptGuard guard;
  std::raise(SIGINT);
  const auto recorded = std::make_shared<TensorDataset>(moving_gripper(kBriefSide));
  const auto stopped = learn(recorded, options, {folder / "stopped", /*resume=*/true}, at::kCPU,
                             ProgressStyle::silent);
  REQUIRE(stopped.outcome == Outcome::finished);
  CHECK(stopped.held_out.empty());
  CHECK_FALSE(io::read_bundle(stopped.bundle).config.provenance.contains("held_out"));
}

TEST_CASE("a probe that cannot be judged is in its bundle all the same") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  options.cache.budget_mb = 0;  // frames are read when they are looked at
  options.loader.threads = 0;
  const auto recordings =
      std::make_shared<GoneAfterwards>(moving_gripper(kBriefSide), folder / "run" / "bundle");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { probe_learned_of(recordings, options, folder / "run"); },
      "the disk is gone"));
  const auto bundle = io::read_bundle(folder / "run" / "bundle");
  CHECK_FALSE(bundle.config.provenance.contains("held_out"));
  CHECK(bundle.config.provenance.contains("world_model"));
  CHECK(models::read_attentive_probe(bundle) != nullptr);

  // What fails is the judgement alone: a resumed run makes up for it.
  fs::rename(folder / "run" / "bundle", folder / "kept");
  const auto again = learn(brief_recordings(), options, {folder / "run", /*resume=*/true}, at::kCPU,
                           ProgressStyle::silent);
  REQUIRE(again.outcome == Outcome::finished);
  const auto judged = io::read_bundle(again.bundle), kept = io::read_bundle(folder / "kept");
  const auto& told = judged.config.provenance;
  CHECK(told["held_out"]["rows"] == 17 * told["validation_episodes"].size());
  for (const auto& [name, tensor] : kept.tensors.tensors())
    CHECK(at::equal(judged.tensors.at(name), tensor));
}

TEST_CASE("the report of learning on comes before judgement, that of processes before the bundle") {
  const TemporaryFolder folder;
  auto options = brief_probe();
  options.backbone = encoder_in(folder);
  const auto first = probe_learned(options, folder / "first");
  const Continuation from{first.bundle, nullptr};
  auto on = brief_probe();
  on.training.steps = 2;
  on.cache.budget_mb = 0;
  on.loader.threads = 0;
  const auto told_before = [&](const fs::path& run, const char* last, GradientReducer* reducer) {
    const auto recordings =
        std::make_shared<GoneAfterwards>(moving_gripper(kBriefSide), run / last);
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { probe_learned_of(recordings, on, run, &from, reducer); },
        "the disk is gone"));
    CHECK(fs::exists(run / "bundle"));
    return fs::exists(run / "continual.json");
  };
  CHECK(told_before(folder / "alone", "continual.json", nullptr));
  CHECK_FALSE(told_before(folder / "early", "bundle", nullptr));  // the bundle comes first
  FirstOfTwo several;
  CHECK(told_before(folder / "several", "bundle", &several));
}

TEST_CASE("published probes have their sizes, rate and crops") {
  const auto options = VJepa2ProbeLearnOptions::published();
  CHECK(options.pooler.self_attention == 3);
  CHECK(options.pooler.heads == 16);
  CHECK(options.pooler.norm_epsilon == 1e-5);
  CHECK(options.augmentation.crop_scale == std::vector<double>{0.08, 1.0});
  const auto rate = [&](int64_t step) {
    return learning_rate_factor(options.training.schedule, step, options.training.steps);
  };
  CHECK(rate(0) == 1);
  CHECK(rate(options.training.steps / 2) == Approx(0.5));
  CHECK(rate(options.training.steps) == Approx(0).margin(1e-12));
}

}  // namespace foresight::train::learn_probe_test
