// SPDX-License-Identifier: Apache-2.0
// Training on the test_device(): what it learns is what the CPU learns, and what it leaves behind
// is read where there is no such device.
#include <array>
#include <cmath>

#include "../../src/train/moved_together.hpp"
#include "brief_families.hpp"
#include "brief_learning.hpp"
#include "captured_log.hpp"
#include "catch.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/train/learn.hpp"
#include "metric_curve.hpp"
#include "temporary_folder.hpp"
#include "test_device.hpp"

namespace foresight::train::device_test {
namespace {

// Rounding apart: losses of the first steps, that is. Later ones depend on the rounding of earlier
// ones, as Adam divides by what is nearly zero at first.
constexpr int64_t kCompared = 3;
constexpr double kTolerance = 2e-3;

std::map<std::string, double> first_losses(const std::filesystem::path& run) {
  std::map<std::string, double> losses;
  for (const auto& [name, value] : metric_curve(run))
    for (int64_t step = 1; step <= kCompared; ++step)
      if (name.find("loss") != std::string::npos &&
          name.ends_with(std::string("@").append(std::to_string(step))))
        losses[name] = value;
  return losses;
}

void check_same_losses(const std::filesystem::path& there, const std::filesystem::path& here) {
  const auto actual = first_losses(there), expected = first_losses(here);
  REQUIRE_FALSE(expected.empty());
  REQUIRE(actual.size() == expected.size());
  for (const auto& [name, value] : expected) {
    INFO(name);
    REQUIRE(actual.contains(name));
    CHECK(actual.at(name) == Approx(value).epsilon(kTolerance).margin(1e-5));
  }
}

}  // namespace

TEST_CASE("tensors go to the device in one piece, or by themselves where one is there already",
          "[device]") {
  const std::vector<Tensor> rows{at::arange(6).view({2, 3}), at::arange(4).view({4, 1})};
  for (const bool there : {false, true}) {
    auto given = rows;
    if (there) given[1] = given[1].to(test_device());
    for (const auto& device : {test_device(), at::Device(at::kCPU)}) {
      INFO((there ? "one is on the device" : "from the CPU") << ", to " << device.str());
      const auto moved = moved_together(given, device);
      REQUIRE(moved.size() == rows.size());
      for (std::size_t i = 0; i < rows.size(); ++i) {
        CHECK(moved[i].device() == device);
        CHECK(at::equal(moved[i].to(at::kCPU), rows[i]));
      }
    }
  }
}

TEST_CASE("every family learns on the device what it learns on the CPU", "[device]") {
  const TemporaryFolder folder;
  const auto on_device = brief_families(folder.path(), test_device());
  const auto on_cpu = brief_families(folder.path());
  for (std::size_t i = 0; i < on_cpu.size(); ++i) {
    const auto& name = on_cpu[i].name;
    INFO(name);
    const auto there = folder / (name + "_there"), here = folder / (name + "_here");
    at::manual_seed(1);
    const auto result = on_device[i].learn(brief_recordings(), {there, false}, {});
    INFO(result.message);
    REQUIRE(result.outcome == Outcome::finished);
    CHECK(std::isfinite(result.world_model.validation_loss));
    at::manual_seed(1);
    REQUIRE(on_cpu[i].learn(brief_recordings(), {here, false}, {}).outcome == Outcome::finished);
    // A device's dropout draws from a generator of its own.
    if (name != "dino_wm") check_same_losses(there, here);
  }
}

TEST_CASE("a run of the device goes on where there is none, and its bundle plans there",
          "[device]") {
  const TemporaryFolder folder;
  LearnOptions options;
  options.model = models::JepaOptions::small();
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 1;
  options.training.steps = 6;
  options.training.log_every = 1;
  options.training.validate_every = 3;
  options.training.checkpoint_every = 3;
  options.critic_training.steps = 4;
  options.augmentation.shift = 2;
  const auto recordings = std::make_shared<TensorDataset>(pushed_square());
  const auto learned = [&](const std::filesystem::path& run, at::Device device, int64_t steps) {
    auto chosen = options;
    chosen.training.steps = steps;
    const auto result =
        learn(recordings, chosen, {run, /*resume=*/true}, device, ProgressStyle::silent);
    INFO(result.message);
    REQUIRE(result.outcome == Outcome::finished);
    return result;
  };
  const auto there = folder / "there", here = folder / "here";
  learned(there, test_device(), 6);
  learned(here, at::kCPU, 6);
  check_same_losses(there, here);

  auto agent = Agent::load(there / "bundle");
  for (const auto device : {c10::Device(at::kCPU), test_device()}) {
    agent.to(device);
    auto mpc = agent.controller();
    agent.to(device);  // to where it is: nothing changes under the controller
    const auto frames = recordings->read_frames(0, {0, 9});
    mpc.set_goal({kPixels, frames.narrow(0, 1, 1)});
    const auto decision = mpc.act({kPixels, frames.narrow(0, 0, 1)});
    INFO(decision.message);
    CHECK(decision.status == Status::ok);
    CHECK(decision.sources.front() == ActionSource::plan);
    CHECK(decision.action.is_cpu());
  }
}

// bfloat16 keeps 8 bits: a step's loss is off by up to 2^-8 of its terms, 3 % allow for sums of
// them, and 15 % for what 30 steps make of it.
TEST_CASE("bf16 autocast follows the fp32 curve with weights kept in fp32", "[device]") {
  if (!has_autocast()) FORESIGHT_SKIP("the stand-in device has no autocast");
  const TemporaryFolder folder;
  auto options = brief_learning();
  options.training.steps = 30;
  options.critic_training.steps = 0;
  const auto losses = [&](Precision precision, const char* name) {
    options.training.precision = precision;
    const auto run = folder / name;
    const auto result = learn(std::make_shared<TensorDataset>(pushed_square()), options, {run},
                              test_device(), ProgressStyle::silent);
    INFO(result.message);
    REQUIRE(result.outcome == Outcome::finished);
    for (const auto& parameter : models::read_jepa(run / "bundle")->parameters())
      CHECK(parameter.scalar_type() == at::kFloat);
    const auto numbers = metric_curve(run);
    return std::array{numbers.at("jepa/train/loss@1"), numbers.at("jepa/train/loss@30")};
  };
  const auto full = losses(Precision::fp32, "fp32");
  const CapturedLog log;
  const auto half = losses(Precision::bf16, "bf16");
#if defined(__x86_64__)
  CHECK(log.says("training.precision = bf16: this CPU has no instructions for it") ==
        (test_device().is_cpu() && !nn::cpu_multiplies_bfloat16()));
#endif
  CHECK(half[0] != full[0]);
  CHECK(half[0] == Approx(full[0]).epsilon(0.03));
  CHECK(half[1] == Approx(full[1]).epsilon(0.15));
}

}  // namespace foresight::train::device_test
