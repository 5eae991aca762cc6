// SPDX-License-Identifier: Apache-2.0
// Checkpoints that are no longer what was written: every byte counts, and the run goes on from the
// one before.
#include <fstream>
#include <iterator>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/train/checkpoint.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::checkpoint_checksum_test {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Another value in the middle of the last tensor, as a bad sector or a hole in a copy leaves it.
void damage(const fs::path& path) {
  auto bytes = bytes_of(path);
  bytes.at(bytes.size() - 5) ^= 0x10;
  write_bytes(path, bytes);
}

Checkpoint small_checkpoint() {
  Checkpoint checkpoint;
  checkpoint.step = 7;
  checkpoint.position = R"({"epoch":3})";
  checkpoint.seconds = 1.5;
  checkpoint.tensors = {{"average/weight", at::ones({3}, at::kFloat)},
                        {"model/weight", at::arange(6, at::kDouble).reshape({2, 3})},
                        {"random/cpu", at::arange(9, at::kByte)}};
  return checkpoint;
}

bool same(const Checkpoint& a, const Checkpoint& b) {
  bool equal = a.step == b.step && a.position == b.position && a.seconds == b.seconds &&
               a.tensors.size() == b.tensors.size();
  for (std::size_t i = 0; equal && i < a.tensors.size(); ++i)
    equal = a.tensors[i].first == b.tensors[i].first &&
            a.tensors[i].second.scalar_type() == b.tensors[i].second.scalar_type() &&
            at::equal(a.tensors[i].second, b.tensors[i].second);
  return equal;
}

TrainOptions options_of_6_steps() {
  auto options = every_step_logged(6);
  options.checkpoint_every = 3;
  return options;
}

}  // namespace

TEST_CASE("a flipped bit anywhere in a checkpoint is found, or changes nothing that is read") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), small_checkpoint(), 1);
  const auto path = checkpoint_path(folder.path(), 7);
  const auto whole = bytes_of(path);
  std::size_t unnoticed = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    auto flipped = whole;
    flipped[i] ^= static_cast<char>(1 << (i % 7));
    write_bytes(path, flipped);
    try {
      const auto read = read_checkpoint(path);
      INFO("byte " << i);
      CHECK(same(read, small_checkpoint()));
      ++unnoticed;
    } catch (const Error& problem) {
      INFO(problem.what());
      CHECK(std::string(problem.what()).find(path.filename().string()) != std::string::npos);
    }
  }
  CHECK(unnoticed <= 16);  // the name of the checksum itself, and a space for another
}

TEST_CASE("a checkpoint whose content is not what was written is named") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), small_checkpoint(), 1);
  const auto path = checkpoint_path(folder.path(), 7);
  damage(path);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { read_checkpoint(path); },
      path.string() + ": is damaged or was not copied whole", "checksum"));
  // Of a copy that stopped half-way, the rest is zeros.
  write_checkpoint(folder.path(), small_checkpoint(), 1);
  auto bytes = bytes_of(path);
  bytes.replace(bytes.size() - 40, 40, 40, '\0');
  write_bytes(path, bytes);
  CHECK(fails_with(ErrorCategory::bad_file, [&] { read_checkpoint(path); }, path.string()));
}

TEST_CASE("a checkpoint of a version without checksums is read as it is") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), small_checkpoint(), 1);
  const auto path = checkpoint_path(folder.path(), 7);
  auto metadata = io::SafeTensors::open(path).metadata();
  REQUIRE(metadata.erase("crc32c") == 1);
  metadata["position"] = "another";
  io::write_safetensors(path, small_checkpoint().tensors, metadata);
  CHECK(read_checkpoint(path).position == "another");
}

TEST_CASE("a run whose newest checkpoint has changed goes on from the one before, and says so") {
  const TemporaryFolder folder;
  const auto options = options_of_6_steps();
  TableFit task(8);
  const auto told = train_table(task, options, folder.path());
  const auto weight = task.module().parameters()[0].detach().clone();
  const auto newest = checkpoint_path(folder / "checkpoints" / "table", 6);
  damage(newest);
  const CapturedLog log;
  CHECK(resume_step({folder.path(), /*resume=*/true}, "table") == 3);
  CHECK_FALSE(log.says("skipping"));  // said once, by the training
  TableFit again(8);
  const auto result = train_table(again, options, folder.path(), {}, /*resume=*/true);
  CHECK(log.says("skipping " + newest.string() + ": is damaged"));
  CHECK(again.calls == 3);  // from step 3 on
  CHECK(result.loss == told.loss);
  CHECK(at::equal(again.module().parameters()[0].detach(), weight));
  CHECK(curve(folder.path(), "table/train/loss").size() == 6);
}

TEST_CASE("best weights that have changed are not ended with") {
  const TemporaryFolder folder;
  auto options = options_of_6_steps();
  options.success_every = 2;
  options.keep = Keep::highest_success;
  std::vector<double> script = {0.9, 0.5, 0.4, 0.7};  // after steps 2, 4 and 6; then again
  std::size_t measured = 0;
  TrainHooks hooks;
  hooks.success = [&] { return script.at(measured++); };
  TableFit first(8);
  REQUIRE(train_table(first, options, folder.path(), hooks).kept_step == 2);
  const auto best = folder / "checkpoints" / "table" / "best.safetensors";
  damage(best);
  const CapturedLog log;
  TableFit second(8);
  const auto result = train_table(second, options, folder.path(), hooks, /*resume=*/true);
  CHECK(log.says(best.string() + ": is damaged"));
  CHECK(log.says("the best of the validations to come is kept"));
  CHECK(measured == 4);
  CHECK(result.kept_step == 6);
}

TEST_CASE("what a run measures is measured after its checkpoint was written") {
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.success_every = options.checkpoint_every = 3;
  options.validate_every = 3;
  TrainHooks hooks;
  const auto checkpoints = folder / "run" / "checkpoints" / "table";
  std::vector<int64_t> saved;
  hooks.success = [&] {
    saved.push_back(read_newest_checkpoint(checkpoints).value_or(Checkpoint{}).step);
    if (saved.size() == 1)  // a process that is killed now leaves this
      fs::copy(folder / "run", folder / "killed", fs::copy_options::recursive);
    return 0.5;
  };
  TableFit first(8);
  const auto told = train_table(first, options, folder / "run", hooks);
  CHECK(saved == std::vector<int64_t>{3, 6});
  CHECK(read_newest_checkpoint(checkpoints)->success.step == 6);  // and again, with what it was
  int measured = 0;
  hooks.success = [&] { return ++measured, 0.5; };
  TableFit second(8);
  const auto result = train_table(second, options, folder / "killed", hooks, /*resume=*/true);
  CHECK(second.calls == 3);
  CHECK(measured == 2);  // that of step 3 was not finished
  CHECK(result.loss == told.loss);
  CHECK(result.validation_loss == told.validation_loss);
  for (const auto* name : {"train/loss", "validation/loss", "validation/success"})
    CHECK(curve(folder / "killed", std::string("table/") + name) ==
          curve(folder / "run", std::string("table/") + name));
}

}  // namespace foresight::train::checkpoint_checksum_test
