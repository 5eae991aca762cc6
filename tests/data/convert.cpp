// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/convert.hpp"

#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/lerobot_writer.hpp"
#include "foresight/data/png.hpp"
#include "foresight/io/files.hpp"
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
    std::ofstream(target.string() + ".unfinished");  // a recorder's rows, which are not ours
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
    auto notes = source->notes();
    CHECK(notes.at("environment") == "swm/TwoRoom-v1");
    notes["converted_from"] = source->name();
    CHECK(copy->notes() == notes);
    CHECK_FALSE(fs::exists(target.string() + ".converting"));
    CHECK(fs::exists(target.string() + ".unfinished"));
    CHECK(fails_with(
        ErrorCategory::invalid_argument,
        [&] {
          convert_dataset(recordings() / "tworoom" / "native224", target, {.format = format});
        },
        "exists already"));
  }
}

TEST_CASE("a recording whose path is not UTF-8 is converted, and opens without its notes") {
  TemporaryFolder folder;
  const auto source = folder / "set\xff";
  fs::copy(recordings() / "tworoom" / "native224", source, fs::copy_options::recursive);
  convert_dataset(source, folder / "folder", {.format = TargetFormat::folder});
  const std::string noted = (folder / "set\xef\xbf\xbd").string();
  CHECK(open_dataset(folder / "folder")->notes().at("converted_from") == noted);
  if (parquet_missing()) {
    WARN("SKIPPED: LeRobot, this build has no Parquet");
    return;
  }
  convert_dataset(source, folder / "lerobot", {.format = TargetFormat::lerobot});
  CHECK(open_dataset(folder / "lerobot")->notes().at("converted_from") == noted);
  for (const char* text : {"{\"environment\": ", "[1, 2]"}) {
    io::write_text(folder / "lerobot" / "meta" / "foresight.json", text);
    const auto data = open_dataset(folder / "lerobot");
    CHECK(data->notes().empty());
    REQUIRE(data->remarks().size() == 1);
    CHECK_THAT(data->remarks().front(), Catch::Contains("foresight.json: "));
    CHECK(data->num_episodes() == 3);
  }
}

TEST_CASE("pictures alone are no recording to convert") {
  TemporaryFolder folder;
  const auto png = encode_png(at::zeros({8, 8, 3}, at::kByte));
  fs::create_directories(folder / "photos");
  std::ofstream(folder / "photos" / "one.png", std::ios::binary)
      .write(reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { convert_dataset(folder / "photos", folder / "set", {}); },
      "without actions"));
  CHECK_FALSE(fs::exists(folder / "set"));
}

}  // namespace
}  // namespace foresight::data::convert_test
