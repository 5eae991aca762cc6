// SPDX-License-Identifier: Apache-2.0
// Checkpoints of other versions: earlier ones go on exactly, later ones are refused by name, and a
// run is never begun anew where there is one.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../../src/train/position.hpp"
#include "brief_learning.hpp"
#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/learn.hpp"
#include "metric_curve.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::checkpoint_format_test {
namespace {

namespace fs = std::filesystem;
using Metadata = std::map<std::string, std::string>;

// The same tensors under other metadata.
template <class Change>
void rewrite_metadata(const fs::path& path, Change&& change) {
  io::NamedTensors tensors;
  Metadata metadata;
  {
    const auto file = io::SafeTensors::open(path);
    metadata = file.metadata();
    for (const auto& [name, tensor] : file.tensors()) tensors.emplace_back(name, tensor.clone());
  }
  change(metadata);
  metadata.erase("crc32c");  // of what it was
  io::write_safetensors(path, tensors, metadata);
}

// As the first version wrote it: without what was measured, and before windows could be skipped.
void write_as_format_1(Metadata& metadata) {
  REQUIRE(metadata.at("format") == "foresight checkpoint 2");
  metadata["format"] = "foresight checkpoint 1";
  metadata.erase("measured");
  auto position = nlohmann::json::parse(metadata.at("position"));
  position.erase("skipped");
  position.erase("skipped_validation");
  metadata["position"] = position.dump();
}

LearnOptions learning_of_12_steps() {
  auto options = brief_learning();
  options.training.validate_every = 4;
  options.training.checkpoint_every = 4;
  options.training.keep = Keep::lowest_loss;
  options.critic_training.steps = 0;
  return options;
}

LearnResult learn_12_steps(const fs::path& folder, bool resume) {
  return learn(std::make_shared<TensorDataset>(pushed_square()), learning_of_12_steps(),
               {folder, resume}, at::kCPU, ProgressStyle::silent);
}

}  // namespace

TEST_CASE("a run of the first checkpoint format goes on exactly, also without later options") {
  const TemporaryFolder folder;
  REQUIRE(learn_12_steps(folder / "whole", false).outcome == Outcome::finished);
  REQUIRE(learn_12_steps(folder / "old", false).outcome == Outcome::finished);
  const auto checkpoints = folder / "old" / "checkpoints" / "jepa";
  fs::remove_all(folder / "old" / "bundle");
  REQUIRE(fs::remove(checkpoint_path(checkpoints, 12)));
  rewrite_metadata(checkpoint_path(checkpoints, 8), write_as_format_1);
  auto config = io::read_json(folder / "old" / "config.json");
  config["learn"]["loader"].erase("unreadable");
  config["learn"]["training"].erase("activations");
  io::write_json(folder / "old" / "config.json", config);

  const auto result = learn_12_steps(folder / "old", true);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(metric_curve(folder / "old") == metric_curve(folder / "whole"));
  CHECK(curve(folder / "old", "jepa/validation/loss").size() == 3);  // none of them twice
  CHECK(at::equal(models::read_jepa(result.bundle)->parameters().front(),
                  models::read_jepa(folder / "whole" / "bundle")->parameters().front()));
  // What the run does know must still be the same.
  config["learn"]["training"]["accumulate"] = 2;
  io::write_json(folder / "old" / "config.json", config);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learn_12_steps(folder / "old", true); },
      "training.accumulate: 1 here, 2 in the run"));
}

TEST_CASE("what a run measured before its last checkpoint of the first format is not repeated") {
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.success_every = 4;
  int measured = 0;
  TrainHooks hooks;
  hooks.success = [&] { return 0.25 * ++measured; };
  TableFit first(8);
  const auto told = train_table(first, options, folder.path(), hooks);
  REQUIRE(measured == 2);  // after steps 4 and 6
  const auto metrics = metric_curve(folder.path());
  rewrite_metadata(checkpoint_path(folder / "checkpoints" / "table", 6), [](Metadata& metadata) {
    metadata["format"] = "foresight checkpoint 1";
    metadata.erase("measured");
  });
  TableFit second(8);
  const auto again = train_table(second, options, folder.path(), hooks, /*resume=*/true);
  CHECK(measured == 2);
  CHECK(again.loss == told.loss);
  CHECK(again.validation_loss == told.validation_loss);
  CHECK(again.success == told.success);
  CHECK(curve(folder.path(), "table/validation/loss").size() == 1);
  CHECK(curve(folder.path(), "table/validation/success").size() == 2);

  // Where the metrics do not tell, it is measured.
  fs::remove(folder / "metrics.jsonl");
  TableFit third(8);
  const auto anew = train_table(third, options, folder.path(), hooks, /*resume=*/true);
  CHECK(measured == 3);
  CHECK(anew.validation_loss == told.validation_loss);
  CHECK(metric_curve(folder.path()).at("table/validation/loss@6") ==
        metrics.at("table/validation/loss@6"));
}

TEST_CASE("a checkpoint of a later version is refused, not passed over") {
  const TemporaryFolder folder;
  TableFit task(8);
  auto options = every_step_logged(6);
  options.checkpoint_every = 3;
  train_table(task, options, folder.path());
  const auto checkpoints = folder / "checkpoints" / "table";
  rewrite_metadata(checkpoint_path(checkpoints, 6),
                   [](Metadata& metadata) { metadata["format"] = "foresight checkpoint 3"; });
  const auto curve_before = curve(folder.path(), "table/train/loss");
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { train_table(task, options, folder.path(), {}, true); },
      "step_0000000006.safetensors: checkpoint format 3", "reads 1 and 2"));
  CHECK(curve(folder.path(), "table/train/loss") == curve_before);
  rewrite_metadata(checkpoint_path(checkpoints, 6),
                   [](Metadata& metadata) { metadata["format"] = "pt"; });
  CHECK(read_newest_checkpoint(checkpoints)->step == 3);  // that is no checkpoint at all
}

TEST_CASE("where all checkpoints are damaged the run is not begun anew unasked") {
  const TemporaryFolder folder;
  TableFit task(8);
  auto options = every_step_logged(6);
  options.checkpoint_every = 3;
  train_table(task, options, folder.path());
  const auto checkpoints = folder / "checkpoints" / "table";
  for (const int64_t step : {3, 6}) fs::resize_file(checkpoint_path(checkpoints, step), 100);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { train_table(task, options, folder.path(), {}, true); },
      checkpoints.string(), "none of the 2 checkpoints can be read"));
  CHECK(curve(folder.path(), "table/train/loss").size() == 6);
  fs::remove_all(checkpoints);
  TableFit anew(8);
  CHECK(train_table(anew, options, folder.path(), {}, true).step == 6);
}

TEST_CASE("a finished run that is resumed tells what it told and measures nothing again") {
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.success_every = 4;
  options.keep = Keep::highest_success;
  int measured = 0;
  TrainHooks hooks;
  hooks.success = [&] { return 0.25 * ++measured; };
  TableFit first(8);
  const auto told = train_table(first, options, folder.path(), hooks);
  REQUIRE(measured == 2);  // after steps 4 and 6
  TableFit second(8);
  const auto again = train_table(second, options, folder.path(), hooks, /*resume=*/true);
  CHECK(measured == 2);
  CHECK(again.step == 6);
  CHECK(again.loss == told.loss);
  CHECK(again.validation_loss == told.validation_loss);
  CHECK(again.success == told.success);
  CHECK(again.kept_step == told.kept_step);
  CHECK(again.kept_success == 0.5);
  CHECK(again.kept_validation_loss == told.validation_loss);
  CHECK(curve(folder.path(), "table/validation/loss").size() == 1);
  CHECK(curve(folder.path(), "table/validation/success").size() == 2);

  // Of the weights that are kept, earlier versions told but what they were kept for.
  rewrite_metadata(checkpoint_path(folder / "checkpoints" / "table", 6), [](Metadata& metadata) {
    auto values = nlohmann::json::parse(metadata.at("measured"));
    values.erase("kept_validation");
    values.erase("kept_success");
    metadata["measured"] = values.dump();
  });
  TableFit earlier(8);
  const auto less = train_table(earlier, options, folder.path(), hooks, /*resume=*/true);
  CHECK(less.kept_success == 0.5);
  CHECK(std::isnan(less.kept_validation_loss));

  // One that was stopped between its last checkpoint and its last validation has that to do.
  fs::remove(folder / "metrics.jsonl");
  rewrite_metadata(checkpoint_path(folder / "checkpoints" / "table", 6), [](Metadata& metadata) {
    auto values = nlohmann::json::parse(metadata.at("measured"));
    values["validation"]["step"] = 4;
    metadata["measured"] = values.dump();
  });
  TableFit third(8);
  train_table(third, options, folder.path(), hooks, /*resume=*/true);
  CHECK(measured == 2);
  CHECK(curve(folder.path(), "table/validation/loss").size() == 1);
}

TEST_CASE("a run killed before the checkpoint that knows of its last rows has each of them once") {
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.checkpoint_every = 3;
  options.success_every = 3;
  TrainHooks hooks;
  int measured = 0;
  hooks.success = [&] { return ++measured, 0.5; };
  TableFit first(8);
  train_table(first, options, folder.path(), hooks);
  const auto metrics = metric_curve(folder.path());
  const auto rows = read_metrics(folder / "metrics.jsonl").size();
  REQUIRE(measured == 2);
  for (const auto& unknown : {std::vector<std::string>{"validation"},
                              std::vector<std::string>{"validation", "success"}}) {
    rewrite_metadata(checkpoint_path(folder / "checkpoints" / "table", 6), [&](Metadata& metadata) {
      auto values = nlohmann::json::parse(metadata.at("measured"));
      for (const auto& name : unknown) values[name] = {{"step", 3}, {"value", 0.5}};
      metadata["measured"] = values.dump();
    });
    TableFit again(8);
    train_table(again, options, folder.path(), hooks, /*resume=*/true);
    CHECK(read_metrics(folder / "metrics.jsonl").size() == rows);
    CHECK(metric_curve(folder.path()) == metrics);
  }
  CHECK(measured == 3);
}

TEST_CASE("a measurement that fails is done by the run that goes on") {
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.success_every = 4;
  bool fails = true;
  TrainHooks hooks;
  hooks.success = [&]() -> double {
    if (fails) throw Error(ErrorCategory::io_failure, "no room for the candidate");
    return 0.5;
  };
  TableFit first(8);
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { train_table(first, options, folder.path(), hooks); },
      "no room"));
  fails = false;
  TableFit second(8);
  CHECK(train_table(second, options, folder.path(), hooks, true).outcome == Outcome::finished);
  CHECK(curve(folder.path(), "table/validation/success") == std::vector<double>{0.5, 0.5});
  CHECK(curve(folder.path(), "table/train/loss").size() == 6);
}

TEST_CASE("best weights that could not be written are kept by the run that goes on") {
  const TemporaryFolder folder;
  const auto best = folder / "checkpoints" / "table" / "best.safetensors", aside = folder / "aside";
  auto options = every_step_logged(6);
  options.success_every = 2;
  options.keep = Keep::highest_success;
  std::vector<double> script = {0.5, 0.9, 0.9, 0.7};  // after steps 2, 4, 4 again and 6
  std::size_t measured = 0;
  TrainHooks hooks;
  hooks.success = [&] {
    if (measured == 1) {  // a folder in the way of the weights of step 4
      fs::rename(best, aside);
      fs::create_directories(best / "in the way");
    }
    return script.at(measured++);
  };
  TableFit first(8);
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { train_table(first, options, folder.path(), hooks); },
      "best.safetensors"));
  REQUIRE(measured == 2);
  fs::remove_all(best);
  fs::rename(aside, best);
  TableFit second(8);
  const auto result = train_table(second, options, folder.path(), hooks, /*resume=*/true);
  CHECK(measured == 4);
  CHECK(result.kept_step == 4);
}

TEST_CASE("a position names what does not fit it") {
  const std::vector<PositionField> fields = {"epoch", {"skipped", 0}};
  CHECK(read_position(R"({"epoch":3,"skipped":7})", fields) == std::vector<int64_t>{3, 7});
  CHECK(read_position(R"({"epoch":3})", fields) == std::vector<int64_t>{3, 0});
  CHECK(read_position(write_position({{"epoch", 5}, {"skipped", 1}}), fields) ==
        std::vector<int64_t>{5, 1});
  const auto refused = [&](const char* text, const char* why) {
    return fails_with(
        ErrorCategory::bad_file, [&] { read_position(text, fields); }, text, why);
  };
  CHECK(refused(R"({"skipped":7})", "it lacks 'epoch'"));
  CHECK(refused(R"({"epoch":-3,"skipped":7})", "'epoch' is no integer >= 0"));
  CHECK(refused(R"({"epoch":3.5})", "'epoch' is no integer >= 0"));
  CHECK(refused(R"({"epoch":3,"updates":4})", R"(it has also {"updates":4})"));
  CHECK(refused("[3]", "it is no JSON object"));
  CHECK(refused("{", "it is no JSON object"));
}

TEST_CASE("a damaged checkpoint is passed over with one warning that names it once") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "steps");
  for (const int64_t step : {3, 6}) {
    Checkpoint checkpoint;
    checkpoint.step = step;
    write_checkpoint(folder / "steps", checkpoint, 2);
  }
  const auto damaged = checkpoint_path(folder / "steps", 6);
  fs::resize_file(damaged, 20);
  const CapturedLog log;
  const auto newest = read_newest_checkpoint(folder / "steps");
  REQUIRE(newest);
  CHECK(newest->step == 3);
  const auto text = log.text();
  const auto place = text.find("skipping " + damaged.string());
  REQUIRE(place != std::string::npos);
  CHECK(text.find(damaged.filename().string(), place) == text.rfind(damaged.filename().string()));
}

}  // namespace foresight::train::checkpoint_format_test
