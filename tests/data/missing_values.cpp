// SPDX-License-Identifier: Apache-2.0
// Values that are missing (null) in Parquet files: gaps like others where a number may be NaN,
// named where they are read elsewhere (recordings/make_nulls.py).
#include <algorithm>
#include <filesystem>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/inspection.hpp"
#include "opened_recording.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::missing_values_test {
namespace {

namespace fs = std::filesystem;

// A LeRobot set of 6 episodes, number 1 of which is the file.
class SetWithNulls {
 public:
  explicit SetWithNulls(const char* file) {
    const auto recordings = fs::path(FORESIGHT_TEST_DATA) / "recordings";
    fs::copy(recordings / "tworoom" / "lerobot_v21", path(), fs::copy_options::recursive);
    fs::copy_file(recordings / "layouts" / "lerobot_nulls" / file,
                  path() / "data/chunk-000/episode_000001.parquet",
                  fs::copy_options::overwrite_existing);
  }
  fs::path path() const { return folder_ / "set"; }

 private:
  TemporaryFolder folder_;
};

// There alone.
bool is_missing(const Dataset& dataset, const std::string& column, int64_t row) {
  const Tensor missing = at::isnan(dataset.read_all_rows({column}, 1)).flatten();
  return missing.sum().item<int64_t>() == 1 && missing[row].item<bool>();
}

bool any_contains(const std::vector<std::string>& texts, const std::string& words) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const auto& text) { return text.find(words) != std::string::npos; });
}

}  // namespace

TEST_CASE("missing floating point numbers of Parquet are NaN, and inspect tells them as gaps") {
  const SetWithNulls set("numbers.parquet");
  const auto dataset = opened_or_skipped(set.path(), {.missing_states = NanPolicy::accept});
  if (!dataset) return;
  CHECK(is_missing(*dataset, "next.reward", 3));
  CHECK(is_missing(*dataset, "action_0", 4));
  CHECK(is_missing(*dataset, "action_1", 4));
  CHECK(is_missing(*dataset, "observation.goal_1", 5));
  CHECK(dataset->read_rows({"observation.goal_0"}, 1, 5, 1).item<double>() > 0);
  CHECK(dataset->column_type("action_0") == at::kFloat);
  const auto found = inspect(*dataset);
  CHECK(found.usable());
  CHECK(found.unread.empty());
  CHECK(found.missing_actions == 1);
  CHECK(any_contains(found.warnings,
                     "column 'next.reward' has no value in 1 row(s) of episode(s) 1"));
}

TEST_CASE("a missing state or flag of Parquet is named by training, and by inspect's verdict") {
  const SetWithNulls set("needed.parquet");
  const auto training = opened_or_skipped(set.path());
  if (!training) return;
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { training->read_all_rows(training->state_columns(), 1); },
      "episode 1 row 2", "'observation.state_0' has no value"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { training->read_all_rows({"next.done"}, 0); },
      "episode_000001.parquet", "column 'next.done'", "is missing"));
  CHECK(training->read_all_rows(training->action_columns(), 1).size(0) == 7);
  const auto dataset = open_dataset(set.path(), {.missing_states = NanPolicy::accept});
  const auto found = inspect(*dataset);
  CHECK_FALSE(found.usable());
  REQUIRE(found.unread.size() == 1);
  CHECK(found.unread.begin()->first == "next.done");
  CHECK(any_contains(found.faults, "state 'observation.state_0' has no value in 1 row(s)"));
  CHECK(any_contains(found.warnings, "column 'next.done': value 6 after row 0 is missing"));
  const auto flags =
      open_dataset(set.path(), {.states = {"next.done"}, .missing_states = NanPolicy::accept});
  CHECK(any_contains(inspect(*flags).faults, "column 'next.done'"));
}

}  // namespace foresight::data::missing_values_test
