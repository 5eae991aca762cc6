// SPDX-License-Identifier: Apache-2.0
// The parts that recordings tell of themselves, converted and gone on with: by the files that are
// written, and as open_dataset() reads them.
#include <nlohmann/json.hpp>

#include "captured_log.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/io/json_file.hpp"
#include "hdf5_recordings.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::convert_splits_test {
namespace {

namespace fs = std::filesystem;
using Episodes = std::vector<int64_t>;
using Json = nlohmann::json;

constexpr auto kLerobot = TargetFormat::lerobot, kFolder = TargetFormat::folder;

bool both_formats() { return has_video_encoder() && writable_formats().size() == 2; }

Json told_splits(const fs::path& set) {
  const auto info = set / "meta" / "info.json";
  const auto settings = io::read_json(fs::exists(info) ? info : set / "dataset.json");
  return settings.value("splits", Json());
}

// Six films of four rows.
class SplitFilms : public FilmFolder {
 public:
  explicit SplitFilms(const Json& splits) : FilmFolder(6, 4) { tell(splits); }
  void tell(const Json& splits) const {
    io::write_json(path() / "dataset.json", {{"fps", 10}, {"splits", splits}});
  }
};

// The film that an episode was made of: its grey level is 20 times its number.
int64_t film_of(const Dataset& data, int64_t episode) {
  const double mean = data.read_frames(episode, {0}).to(at::kDouble).mean().item<double>();
  return std::lround((mean - 15) / 20);
}

Episodes films_of(const fs::path& set) {
  const auto data = open_dataset(set);
  Episodes films;
  for (int64_t e = 0; e < data->num_episodes(); ++e) films.push_back(film_of(*data, e));
  return films;
}

Episodes films_of_split(const fs::path& set, const std::string& split) {
  const auto data = open_dataset(set);
  Episodes films;
  for (const auto e : data->episodes_of_split(split)) films.push_back(film_of(*data, e));
  return films;
}

TEST_CASE("a folder tells its splits by the numbers of its files") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const SplitFilms films({{"train", "0-1,3"},
                          {"valid", "4-"},
                          {"late", "4-7"},
                          {"odd", "4:6"},
                          {"no", ""},
                          {"list", {0, 1}}});
  const auto data = open_dataset(films.path());
  CHECK(data->splits() == std::vector<std::string>{"late", "list", "no", "odd", "train", "valid"});
  CHECK(data->notes().empty());
  CHECK(data->episodes_of_split("train") == Episodes{0, 1, 3});
  CHECK(data->episodes_of_split("valid") == Episodes{4, 5});
  const auto file = (films.path() / "dataset.json").string();
  const auto refused = [&](const char* split, const char* words) {
    return fails_with(
        ErrorCategory::bad_file, [&] { data->episodes_of_split(split); },
        file + ": split '" + split + "'", words);
  };
  CHECK(refused("late", "names episode 7, which does not exist, accepted: 0..5"));
  CHECK(refused("odd", "must be numbers and ranges of episodes"));
  CHECK(refused("list", "must be numbers and ranges of episodes"));
  CHECK(refused("no", "names no episode"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { data->episodes_of_split("test"); }, "has no split 'test'"));
  // A file less: the others stay in their splits.
  fs::remove(films.film(1));
  fs::remove(films.path() / "episode_0001.csv");
  const auto fewer = open_dataset(films.path());
  CHECK(fewer->episodes_of_split("train") == Episodes{0, 2});
  CHECK(fewer->episodes_of_split("valid") == Episodes{3, 4});
}

TEST_CASE("splits go from a folder to LeRobot, to LeRobot and back") {
  if (!both_formats()) FORESIGHT_SKIP("this build has no Parquet, or its FFmpeg no H.264 encoder");
  const SplitFilms films({{"train", "0-3"}, {"valid", "4-5"}});
  const TemporaryFolder folder;
  for (const bool first : {true, false}) {
    const auto source = first ? films.path() : folder / "first";
    const auto target = folder / (first ? "first" : "second");
    const CapturedLog log;
    CHECK(convert_dataset(source, target, {.format = kLerobot}).written ==
          Episodes{0, 1, 2, 3, 4, 5});
    CHECK(log.text().empty());
    CHECK(told_splits(target) == Json{{"train", "0:4"}, {"valid", "4:6"}});
    CHECK(open_dataset(target)->splits() == std::vector<std::string>{"train", "valid"});
    CHECK(films_of_split(target, "valid") == Episodes{4, 5});
  }
  convert_dataset(folder / "second", folder / "back", {.format = kFolder});
  CHECK(told_splits(folder / "back") == Json{{"train", "0-3"}, {"valid", "4-5"}});
  CHECK(films_of_split(folder / "back", "train") == Episodes{0, 1, 2, 3});
}

TEST_CASE("a conversion of some episodes keeps the splits of these") {
  if (!both_formats()) FORESIGHT_SKIP("this build has no Parquet, or its FFmpeg no H.264 encoder");
  const SplitFilms films({{"train", "0-3"}, {"valid", "4"}, {"test", "5"}});
  films.remove(2);
  const TemporaryFolder folder;
  ConvertOptions options{.format = kLerobot, .episodes = "1-4"};
  options.reading.unreadable = Unreadable::skip;  // of 1, 2, 3, 4 the second is left out
  CHECK(convert_dataset(films.path(), folder / "lerobot", options).written == Episodes{1, 3, 4});
  CHECK(told_splits(folder / "lerobot") == Json{{"train", "0:2"}, {"valid", "2:3"}});
  CHECK(films_of_split(folder / "lerobot", "train") == Episodes{1, 3});
  options.format = kFolder;
  convert_dataset(films.path(), folder / "folder", options);
  CHECK(told_splits(folder / "folder") == Json{{"train", "0-1"}, {"valid", "2"}});
  // Of none: as of a recording that tells no splits.
  films.tell({{"valid", "4"}});
  options.episodes = "0-1";
  convert_dataset(films.path(), folder / "without", options);
  CHECK(told_splits(folder / "without").is_null());
  options.format = kLerobot;
  convert_dataset(films.path(), folder / "all", options);
  CHECK(told_splits(folder / "all") == Json{{"train", "0:2"}});
}

TEST_CASE("splits that are no ranges make LeRobot's episodes follow split by split") {
  if (!both_formats()) FORESIGHT_SKIP("this build has no Parquet, or its FFmpeg no H.264 encoder");
  const TemporaryFolder folder;
  const auto converted = [&](const Json& splits, const std::string& name, TargetFormat format) {
    const SplitFilms films(splits);
    return convert_dataset(films.path(), folder / name, {.format = format});
  };
  const Json shared = {{"all", "0-"}, {"half", "0-2"}, {"train", "0,2,4"}, {"valid", "1,3"}};
  {
    const CapturedLog log;
    CHECK(converted(shared, "lerobot", kLerobot).written == Episodes{0, 2, 4, 1, 3, 5});
    CHECK(log.says("split by split (train, valid)"));
    CHECK(log.says("would be none and are not written: half"));
  }
  CHECK(films_of(folder / "lerobot") == Episodes{0, 2, 4, 1, 3, 5});
  CHECK(told_splits(folder / "lerobot") ==
        Json{{"all", "0:6"}, {"train", "0:3"}, {"valid", "3:5"}});
  CHECK(films_of_split(folder / "lerobot", "valid") == Episodes{1, 3});
  {  // a folder can tell them all
    const CapturedLog log;
    CHECK(converted(shared, "folder", kFolder).written == Episodes{0, 1, 2, 3, 4, 5});
    CHECK(log.text().empty());
  }
  auto same = shared;
  same["all"] = "0-5";
  CHECK(told_splits(folder / "folder") == same);
  // Without "train" the largest counts, and of two the first by name.
  const CapturedLog log;
  const Json sizes = {{"b", "2,4"}, {"big", "1,3,5"}, {"small", "1-2"}};
  CHECK(converted(sizes, "sizes", kLerobot).written == Episodes{1, 3, 5, 2, 4, 0});
  CHECK(told_splits(folder / "sizes") == Json{{"b", "3:5"}, {"big", "0:3"}});
  CHECK(log.says("would be none and are not written: small"));
}

TEST_CASE("robomimic's filter keys become splits of LeRobot") {
  const auto layout = layout_of("robomimic_split");
  if (!opened_or_skipped(layout)) return;
  if (writable_formats().size() < 2) FORESIGHT_SKIP("this build has no Parquet");
  const TemporaryFolder folder;
  const CapturedLog log;
  ConvertOptions options{.format = kLerobot, .storage = FrameStorage::pictures};
  const auto done = convert_dataset(layout, folder / "set", options);
  CHECK(done.written == Episodes{0, 2, 10, 1, 3, 4, 5, 6, 7, 8, 9});
  CHECK(log.says("split 'lost' cannot be read and is not written"));
  CHECK(told_splits(folder / "set") == Json{{"train", "0:3"}, {"valid", "3:4"}});
  const auto copy = open_dataset(folder / "set");
  const auto demo = [&](int64_t e) {  // whose number all its actions are
    return copy->read_rows(copy->action_columns(), e, 0, 1)[0][0].item<double>();
  };
  CHECK(copy->episodes_of_split("train") == Episodes{0, 1, 2});
  CHECK(demo(2) == 10);
  CHECK(demo(copy->episodes_of_split("valid").front()) == 1);
  const auto source = open_dataset(layout);
  CHECK(at::equal(copy->read_frames(2, {0, 2}), source->read_frames(10, {0, 2})));
  options.reading.split = "train";
  convert_dataset(layout, folder / "train", options);
  CHECK(told_splits(folder / "train") == Json{{"train", "0:3"}});
}

RecordingOptions recording() {
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  return options;
}

void record(const fs::path& set, TargetFormat format, int64_t episodes) {
  const auto writer = open_episode_writer(set, format, recording());
  for (int64_t e = 0; e < episodes; ++e) {
    for (int64_t t = 0; t < 2; ++t) writer->append(kept_row(e, t));
    writer->finish_episode("push");
  }
  writer->finish();
}

void tell_splits(const fs::path& set, const Json& splits, int64_t episodes = -1) {
  const auto info = set / "meta" / "info.json";
  const bool lerobot = fs::exists(info);
  const auto file = lerobot ? info : set / "dataset.json";
  auto settings = io::read_json(file);
  settings["splits"] = splits;
  if (episodes >= 0) settings[lerobot ? "total_episodes" : "episodes"] = episodes;
  io::write_json(file, settings);
}

TEST_CASE("a recording that is gone on with keeps its splits") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const bool lerobot = format == kLerobot;
    const TemporaryFolder folder;
    const auto set = folder / "set";
    record(set, format, 3);
    CHECK(told_splits(set) == (lerobot ? Json{{"train", "0:3"}} : Json()));
    tell_splits(set, {{"train", lerobot ? "1:3" : "1-2"}, {"valid", lerobot ? "0:1" : "0"}});
    for (int64_t end = 5; end <= 6; ++end) {  // two episodes, and another day one more
      const CapturedLog log;
      record(set, format, end == 5 ? 2 : 1);
      CHECK(log.text().empty());
      const auto train = lerobot ? "1:" + std::to_string(end) : "1-" + std::to_string(end - 1);
      CHECK(told_splits(set) == Json{{"train", train}, {"valid", lerobot ? "0:1" : "0"}});
      CHECK(std::ssize(open_dataset(set)->episodes_of_split("train")) == end - 1);
    }
    // A writer that was killed before it counted its last one, 5.
    tell_splits(set, {{"train", lerobot ? "0:5" : "0-4"}}, 5);
    record(set, format, 1);
    CHECK(told_splits(set) == Json{{"train", lerobot ? "0:7" : "0-6"}});
    const Json first = {{"train", lerobot ? "0:4" : "0-3"}, {"valid", lerobot ? "4:6" : "4-5"}};
    const Json odd = {{"train", {0, 1}}, {"valid", lerobot ? "5:4" : "5-4"}};
    for (const auto& splits : {first, odd, Json{0, 1}, Json("0-2")}) {
      INFO(splits);
      tell_splits(set, splits);
      const CapturedLog log;
      record(set, format, 1);
      CHECK(log.says("episodes that are added will be in none of its splits"));
      CHECK(told_splits(set) == splits);
    }
    CHECK(open_dataset(set)->num_episodes() == 11);
  }
}

TEST_CASE("added episodes fall into no split that named them before they were there") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const bool lerobot = format == kLerobot;
    const TemporaryFolder folder;
    const auto set = folder / "set";
    record(set, format, 3);
    tell_splits(set, lerobot ? Json{{"late", "4:9"}, {"test", "1:9"}}
                             : Json{{"late", "4-8"}, {"test", "1-8"}, {"valid", "2-"}});
    const CapturedLog log;
    record(set, format, 2);
    CHECK(told_splits(set) == (lerobot ? Json{{"late", ""}, {"test", "1:3"}}
                                       : Json{{"late", ""}, {"test", "1-2"}, {"valid", "2"}}));
    CHECK(log.says(lerobot ? "split 'test' = '1:9' names episodes behind the last one, 2: it "
                             "becomes '1:3'"
                           : "split 'test' = '1-8' names episodes behind the last one, 2: it "
                             "becomes '1-2'"));
    CHECK(log.says("split 'late'"));
    CHECK_FALSE(log.says("split 'valid'"));
    CHECK(log.says("episodes that are added will be in none of its splits"));
    CHECK(open_dataset(set)->episodes_of_split("test") == Episodes{1, 2});
    tell_splits(set, {{"train", lerobot ? "1:9" : "1-8"}});  // which ends with the last one
    record(set, format, 1);
    CHECK(told_splits(set) == Json{{"train", lerobot ? "1:6" : "1-5"}});
  }
}

void remove_episode(const fs::path& set, int64_t episode) {
  const auto name = "episode_000" + std::to_string(episode);
  for (const auto* ending : {".front.mp4", ".wrist.mp4", ".jsonl"})
    fs::remove(set / (name + ending));
}

TEST_CASE("a number that is used again leaves its split") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  record(folder.path(), kFolder, 6);
  tell_splits(folder.path(), {{"train", "0-3"}, {"valid", "4-5"}});
  remove_episode(folder.path(), 5);
  const CapturedLog log;
  record(folder.path(), kFolder, 1);
  CHECK(told_splits(folder.path()) == Json{{"train", "0-3"}, {"valid", "4"}});
  CHECK(log.says("it becomes '4'"));
  CHECK(open_dataset(folder.path())->episodes_of_split("valid") == Episodes{4});
}

TEST_CASE("a folder whose episodes are counted wrongly keeps its splits apart") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  record(folder.path(), kFolder, 6);
  const auto none = "episodes that are added will be in none of its splits";
  for (const int64_t told : {4, 5}) {  // of 6, and of 7
    const Json splits = {{"train", "0-3"}, {"valid", "4-" + std::to_string(told + 1)}};
    tell_splits(folder.path(), splits, told);
    const CapturedLog log;
    record(folder.path(), kFolder, 1);
    CHECK(told_splits(folder.path()) == splits);
    CHECK(log.says(none));
  }
  // As far as it is counted train ends with the last one, which is another's.
  tell_splits(folder.path(), {{"train", "0-6"}, {"valid", "7"}}, 7);
  record(folder.path(), kFolder, 1);
  CHECK(told_splits(folder.path()) == Json{{"train", "0-6"}, {"valid", "7"}});
  tell_splits(folder.path(), {{"train", "0-8"}}, 4);
  const CapturedLog log;
  record(folder.path(), kFolder, 1);
  CHECK(told_splits(folder.path()) == Json{{"train", "0-9"}});
  CHECK(log.text().empty());
}

TEST_CASE("notes that would be read as settings are refused") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  auto options = recording();
  options.notes = {{"splits", "0-3"}};
  for (const auto format : writable_formats())
    CHECK(fails_with(
        ErrorCategory::invalid_option,
        [&] { open_episode_writer(folder / "set", format, options); }, "notes = 'splits'"));
  FolderWriterOptions plain{.actions = {"a"}, .notes = {{"shapes", "square"}}};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { FolderWriter(folder / "set", plain); },
      "notes = 'shapes'"));
}

TEST_CASE("train of a folder with gaps grows by the numbers of new files") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto set = folder / "set";
  record(set, kFolder, 4);
  remove_episode(set, 1);
  tell_splits(set, {{"train", "0-1,3-"}, {"valid", "2"}});
  record(set, kFolder, 1);
  CHECK(told_splits(set) == Json{{"train", "0,3-4"}, {"valid", "2"}});
  CHECK(open_dataset(set)->episodes_of_split("train") == Episodes{0, 2, 3});
  // A writer that was killed before it counted its last episode, 4.
  tell_splits(set, {{"train", "0,3"}, {"valid", "2"}}, 3);
  record(set, kFolder, 1);
  CHECK(told_splits(set) == Json{{"train", "0,3-5"}, {"valid", "2"}});
}

}  // namespace
}  // namespace foresight::data::convert_splits_test
