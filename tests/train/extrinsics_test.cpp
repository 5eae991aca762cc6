// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2-AC that is told where the camera stands, from recordings that say it.
#include <algorithm>

#include "brief_families.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::extrinsics_test {
namespace {

// A gripper's poses, and as DROID has it where the camera stands: no states, unless asked for.
class WithCamera final : public data::ForwardedDataset {
 public:
  explicit WithCamera(bool named = true)
      : ForwardedDataset(std::make_shared<TensorDataset>(recorded())), named_(named) {
    for (const auto& column : shown().state_columns())
      (poses_.size() < 7 ? poses_ : camera_).push_back(column);
  }
  const std::vector<std::string>& state_columns() const override { return poses_; }
  std::vector<data::ColumnGroup> groups() const override {
    return {{"state", poses_, {7}}, {named_ ? "camera_extrinsics" : "other", camera_, {6}}};
  }

 private:
  static TensorRecordings recorded() {
    auto recordings = moving_gripper(kBriefSide);
    auto sizes = recordings.states.sizes().vec();
    sizes[2] = 6;
    recordings.states = at::cat({recordings.states, at::full(sizes, 0.3, at::kDouble)}, 2);
    return recordings;
  }

  bool named_;
  std::vector<std::string> poses_, camera_;
};

VJepa2AcLearnOptions with_extrinsics(const std::filesystem::path& folder) {
  const models::VJepa2 backbone(brief_vjepa2().model, 1);
  models::write_vjepa2(folder / "encoder", backbone, models::vjepa2_bundle_config(backbone));
  auto options = briefly(VJepa2AcLearnOptions::small());
  options.backbone = (folder / "encoder").string();
  options.model.predictor.depth = 1;
  options.model.predictor.extrinsics = true;
  options.training.steps = 2;
  return options;
}

}  // namespace

TEST_CASE("V-JEPA 2-AC with extrinsics takes those of the recordings, and replays them") {
  const TemporaryFolder folder;
  auto options = with_extrinsics(folder.path());
  const auto recordings = std::make_shared<WithCamera>();
  const auto first = learn(recordings, options, {folder / "arm"}, at::kCPU, ProgressStyle::silent);
  REQUIRE(first.outcome == Outcome::finished);
  const auto bundle = io::read_bundle(first.bundle);
  CHECK(models::read_vjepa2_ac(bundle)->options().predictor.extrinsics);
  const auto& observed = bundle.config.provenance["observed_columns"];
  CHECK(observed.size() == 13);
  CHECK(observed[7] == "state_7");

  const Continuation from{first.bundle, recordings};
  options.backbone.clear();
  const auto on = learn(recordings, options, {folder / "on"}, at::kCPU, ProgressStyle::silent,
                        {.continuation = &from});
  CHECK(on.outcome == Outcome::finished);
  CHECK(recordings->state_columns().size() == 7);
}

TEST_CASE("V-JEPA 2-AC with extrinsics refuses recordings that have none") {
  const TemporaryFolder folder;
  const auto options = with_extrinsics(folder.path());
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        learn(std::make_shared<WithCamera>(/*named=*/false), options, {folder / "arm"}, at::kCPU,
              ProgressStyle::silent);
      },
      "learns from 13 state columns", "have 7"));
}

}  // namespace foresight::train::extrinsics_test
