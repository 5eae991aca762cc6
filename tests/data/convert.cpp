// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/convert.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/lerobot_writer.hpp"
#include "foresight/io/json_file.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::convert_test {
namespace {

namespace fs = std::filesystem;

bool parquet_missing() {
  TemporaryFolder folder;
  try {
    const LeRobotWriter probe(folder / "probe",
                              {.cameras = {"c"}, .features = {{"action", {"a"}}}});
    return false;
  } catch (const Error& error) {
    return error.category() == ErrorCategory::unsupported;
  }
}

double mean_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

TEST_CASE("a converted data set holds the same episodes, numbers and pictures") {
  TemporaryFolder folder;
  const auto source = open_dataset(recordings() / "tworoom" / "native224");
  std::vector<TargetFormat> formats = {TargetFormat::folder};
  if (parquet_missing())
    WARN("SKIPPED: LeRobot, this build has no Parquet");
  else
    formats.push_back(TargetFormat::lerobot);
  for (const auto format : formats) {
    const auto target = folder / std::string(enum_name(format));
    int64_t calls = 0;
    const Conversion done =
        convert_dataset(recordings() / "tworoom" / "native224", target,
                        {.format = format, .task = "reach"}, [&](int64_t, int64_t all) {
                          CHECK(all == 3);
                          ++calls;
                        });
    CHECK(calls == 3);
    CHECK(done.episodes == 3);
    const auto copy = open_dataset(target);
    REQUIRE(copy->num_episodes() == 3);
    CHECK(copy->fps() == Approx(source->fps()));
    CHECK(copy->image_size() == source->image_size());
    for (int64_t e = 0; e < 3; ++e) {
      REQUIRE(copy->length(e) == source->length(e));
      for (const auto kind : {&Dataset::action_columns, &Dataset::state_columns})
        CHECK(at::equal(copy->read_all_rows((*copy.*kind)(), e).to(at::kFloat),
                        source->read_all_rows((*source.*kind)(), e).to(at::kFloat)));
      CHECK(at::equal(copy->read_all_rows({"distance"}, e).to(at::kFloat),
                      source->read_all_rows({"distance"}, e).to(at::kFloat)));
      const std::vector<int64_t> rows = {0, source->length(e) - 1};
      CHECK(mean_difference(copy->read_frames(e, rows), source->read_frames(e, rows)) < 1.5);
    }
    if (format == TargetFormat::lerobot) CHECK(copy->read_text("task", 1, 0, 1)[0] == "reach");
    CHECK(fails_with(
        ErrorCategory::invalid_argument,
        [&] {
          convert_dataset(recordings() / "tworoom" / "native224", target, {.format = format});
        },
        "exists already"));
  }
}

TEST_CASE("a LeRobot writer fills several files, and their statistics are those of the rows") {
  if (parquet_missing()) FORESIGHT_SKIP("this build has no Parquet");
  TemporaryFolder folder;
  const fs::path path = folder / "set";
  Tensor frames = at::zeros({4, 16, 24, 3}, at::kByte);
  for (int64_t t = 0; t < 4; ++t) frames[t].fill_(40 * t);
  const Tensor values =
      at::tensor({0.5, 1.0, 2.0, 0.5, 3.0, 4.0, 0.5, 5.0, 6.0, 0.5, 7.0, 8.0}).view({4, 3});
  {
    LeRobotWriter writer(path,
                         {.video = {.fps = 5, .key_interval = 2},
                          .cameras = {"observation.images.front"},
                          .features = {{"action", {"grip"}}, {"observation.state", {"x", "y"}}},
                          .frames_per_file = 6});
    for (int e = 0; e < 5; ++e)
      writer.write_episode({{"observation.images.front", frames}}, values + e,
                           e % 2 == 0 ? "even" : "odd");
    CHECK_FALSE(fs::exists(path / "meta" / "info.json"));  // no data set before it is whole
    writer.finish();
  }
  CHECK(fs::exists(path / "data" / "chunk-000" / "file-002.parquet"));
  const auto dataset = open_dataset(path);
  REQUIRE(dataset->num_episodes() == 5);
  CHECK(dataset->action_columns() == std::vector<std::string>{"action"});
  for (int64_t e = 0; e < 5; ++e) {
    CHECK(dataset->read_text("task", e, 3, 1)[0] == (e % 2 == 0 ? "even" : "odd"));
    CHECK(at::equal(
        dataset->read_all_rows({"action", "observation.state_0", "observation.state_1"}, e),
        (values + e).to(at::kDouble)));
    for (int64_t t = 0; t < 4; ++t)
      CHECK(std::abs(dataset->read_frames(e, {t}).to(at::kDouble).mean().item<double>() -
                     40.0 * static_cast<double>(t)) <= 2);
  }
  const auto stats = io::read_json(path / "meta" / "stats.json");
  CHECK(stats["action"]["mean"][0].get<double>() == Approx(2.5));
  CHECK(stats["action"]["std"][0].get<double>() == Approx(std::sqrt(2.0)));  // of 0.5 ... 4.5
  CHECK(stats["observation.state"]["max"][1].get<double>() == Approx(12));
  CHECK(stats["action"]["count"][0] == 20);
  {
    LeRobotWriter unfinished(folder / "other", {.cameras = {"c"}, .features = {{"action", {"a"}}}});
    unfinished.write_episode({{"c", frames}}, values.narrow(1, 0, 1), "x");
  }
  CHECK_FALSE(fs::exists(folder / "other"));
}

}  // namespace
}  // namespace foresight::data::convert_test
