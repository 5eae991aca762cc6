// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_dataset.hpp"

#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#include "error_message.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/inspection.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/data/windows.hpp"
#include "foresight/io/json_file.hpp"
#include "recorded_sets.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::folder_dataset_test {
namespace {

namespace fs = std::filesystem;

const DatasetOptions kAccurate = {.video = {.conversion = ColourConversion::accurate}};

// A folder with copies of two short recorded episodes, to be damaged.
class Copy {
 public:
  Copy() {
    const fs::path source = recordings() / "tworoom" / "folder";
    for (const char* file :
         {"episode_0001.mp4", "episode_0001.csv", "episode_0008.mp4", "episode_0008.csv"})
      fs::copy_file(source / file, folder_ / file);
  }
  const fs::path& path() const { return folder_.path(); }
  void write(const char* file, const std::string& text) const {
    std::ofstream(folder_ / file) << text;
  }
  std::string read(const char* file) const { return io::read_text(folder_ / file); }

 private:
  TemporaryFolder folder_;
};

template <class... Words>
bool refused(ErrorCategory category, const fs::path& path, const Words&... words) {
  return fails_with(
      category, [&] { open_dataset(path); }, words...);
}

TEST_CASE("recorded folders have the reference's episodes, columns and statistics") {
  for (const auto& [name, golden] : recorded_sets("episode_names")) {
    INFO(name);
    const auto dataset = open_dataset(recordings() / name);
    CHECK(dataset->num_episodes() == golden.at("num_episodes").get<int64_t>());
    CHECK(dataset->total_rows() == golden.at("total_frames").get<int64_t>());
    CHECK(dataset->fps() == golden.at("fps").get<double>());
    CHECK(dataset->columns() == golden.at("columns").get<std::vector<std::string>>());
    const auto told = io::read_json(recordings() / name / "dataset.json");
    CHECK(nlohmann::json(dataset->action_columns()) == told.at("action_columns"));
    CHECK(nlohmann::json(dataset->state_columns()) == told.at("state_columns"));
    std::vector<int64_t> lengths;
    for (int64_t e = 0; e < dataset->num_episodes(); ++e) lengths.push_back(dataset->length(e));
    CHECK(lengths == golden.at("episode_lengths").get<std::vector<int64_t>>());
    const auto& names = golden.at("episode_names");  // the first alone, or the last, too
    CHECK(dataset->episode_name(0) == names.front().get<std::string>());
    if (names.size() > 1)
      CHECK(dataset->episode_name(dataset->num_episodes() - 1) == names.back().get<std::string>());
    const auto stats = golden.value("stats", nlohmann::json::object());
    for (const auto& [column, expected] : stats.items()) {
      if (column == "pixels") continue;  // recorded_sets.cpp compares these
      INFO(column);
      const Statistics statistics = column_statistics(*dataset, {column}, LastRow::include);
      CHECK(statistics.mean[0] ==
            Approx(expected.at("mean").get<double>()).epsilon(1e-6).margin(1e-9));
      CHECK(statistics.std[0] ==
            Approx(expected.at("std").get<double>()).epsilon(1e-6).margin(1e-9));
      CHECK(statistics.min[0] == Approx(expected.at("min").get<double>()).epsilon(1e-6));
      CHECK(statistics.max[0] == Approx(expected.at("max").get<double>()).epsilon(1e-6));
      CHECK(statistics.count[0] == dataset->total_rows());
    }
  }
}

TEST_CASE("windows of a recorded folder hold the reference's frames, states and actions") {
  int compared = 0;
  for (const auto& [name, golden] : recorded_sets("episode_names")) {
    const auto dataset = open_dataset(recordings() / name, kAccurate);
    const auto fast = open_dataset(recordings() / name);
    const auto columns = std::ssize(dataset->state_columns());
    for (const auto& window : golden.at("windows")) {
      const auto episode = window.at("episode").get<int64_t>();
      const auto rows = window.at("frame_indices").get<std::vector<int64_t>>();
      INFO(name << " episode " << episode << " row " << rows[0]);
      CHECK(dataset->episode_name(episode) == window.at("episode_name").get<std::string>());
      const Tensor frames = dataset->read_frames(episode, rows);
      const Tensor quick = fast->read_frames(episode, rows);
      for (std::size_t t = 0; t < rows.size(); ++t) {
        const auto place = static_cast<int64_t>(t);
        const auto same = [&](const Tensor& pictures, const char* key) {
          return picture_hash(pictures[place]) == window.at(key).at(t).get<std::string>();
        };
        CHECK(same(frames, "sha256_hwc_u8_accurate"));
        if (exact_pictures()) CHECK(same(quick, "sha256_hwc_u8_bicubic"));
        const Tensor state = dataset->read_rows(dataset->state_columns(), episode, rows[t], 1);
        const Tensor expected = numbers(window.at("state").at("data")).view({-1, columns})[place];
        CHECK(at::equal(state[0].to(at::kFloat), expected.to(at::kFloat)));
      }
      const Tensor actions = numbers(window.at("action").at("data")).view({-1, 2});
      CHECK(
          at::equal(dataset->read_rows(dataset->action_columns(), episode, rows[0], actions.size(0))
                        .to(at::kFloat),
                    actions.to(at::kFloat)));
      ++compared;
    }
  }
  REQUIRE(compared >= 20);
}

TEST_CASE("frames are read from several threads at once") {
  const auto dataset = open_dataset(recordings() / "tworoom" / "native224", kAccurate);
  const Tensor expected = dataset->read_frames(0, {0, 10, 20, 30});
  std::atomic<int> equal{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t row = 10 * ((i + t) % 4);
          const Tensor frame = dataset->read_frames(0, {row})[0];
          if (std::memcmp(frame.const_data_ptr(), expected[row / 10].const_data_ptr(),
                          224 * 224 * 3) == 0)
            ++equal;
        }
      });
  }
  CHECK(equal == 16);
}

TEST_CASE("frames come at the size asked for") {
  const auto dataset =
      open_dataset(recordings() / "tworoom" / "native224",
                   {.video = {.height = 64, .width = 64, .scaling = Scaling::bilinear}});
  CHECK(dataset->image_size() == ImageSize{64, 64});
  // The recorder shrank the same pictures to 64x64 itself; episode 4 of one folder is episode 0 of
  // the other.
  const auto recorded = open_dataset(recordings() / "tworoom" / "folder");
  const Tensor ours = dataset->read_frames(0, {20}).to(at::kDouble);
  const Tensor theirs = recorded->read_frames(4, {20}).to(at::kDouble);
  CHECK((ours - theirs).abs().mean().item<double>() < 4.0);
}

TEST_CASE("a missing or wrong folder is an error that says what is accepted") {
  TemporaryFolder folder;
  CHECK(refused(ErrorCategory::not_found, "/nowhere/data", "/nowhere/data"));
  CHECK(refused(ErrorCategory::not_found, folder.path(), "no recording of a known format",
                "meta/info.json", "ep_len.npz", "states.pth", "episode_0000.mp4", "trajectory.h5"));
  std::ofstream(folder / "a.bin") << "x";
  CHECK(refused(ErrorCategory::not_found, folder / "a.bin", "*.h5"));
  fs::create_directories(folder / "table" / "_versions");
  CHECK(refused(ErrorCategory::unsupported, folder / "table", "Lance", "convert"));
  fs::create_directories(folder / "meta");
  std::ofstream(folder / "meta" / "info.json") << R"({"codebase_version": "v1.6"})";
  CHECK(refused(ErrorCategory::unsupported, folder.path(), "v1.6", "v2.1, v3.0"));
}

TEST_CASE("an episode without its other half, or with the wrong number of rows, is an error") {
  const Copy copy;
  CHECK(open_dataset(copy.path())->num_episodes() == 2);
  const std::string table = copy.read("episode_0001.csv");
  copy.write("episode_0001.csv", table.substr(0, table.rfind('\n', table.size() - 2) + 1));
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "episode_0001.csv", "6 rows", "7 frames"));
  const auto tolerant = open_dataset(copy.path(), {.tail_mismatch = 1});
  CHECK(tolerant->length(0) == 6);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { tolerant->read_frames(0, {6}); }, "rows 0..5"));
  fs::remove(copy.path() / "episode_0001.csv");
  CHECK(refused(ErrorCategory::not_found, copy.path(), "episode_0001.mp4",
                "table of this video is missing"));
  copy.write("episode_0001.csv", table);
  fs::remove(copy.path() / "episode_0001.mp4");
  CHECK(refused(ErrorCategory::not_found, copy.path(), "episode_0001.csv",
                "video of this table is missing"));
  copy.write("episode_0001.mp4", "not a video");
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "episode_0001.mp4", "not a readable video"));
}

TEST_CASE("tables that disagree, lack actions or states, or hold words are errors") {
  const Copy copy;
  const std::string table = copy.read("episode_0001.csv");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = table;
    for (auto at = changed.find(from); at != std::string::npos;
         at = changed.find(from, at + to.size()))
      changed.replace(at, from.size(), to);
    REQUIRE(changed != table);
    copy.write("episode_0001.csv", changed);
  };
  with("action_", "act_");
  CHECK(refused(ErrorCategory::not_found, copy.path(), "episode_0008.csv", "act_0"));
  with("0.636862", "left");
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "episode_0001.csv:3:5", "'left'"));
  for (const char* infinite : {"inf", "-inf"}) {
    with("0.636862", infinite);
    CHECK(refused(ErrorCategory::bad_file, copy.path(), "episode_0001.csv:3: action column",
                  "'action_1' is infinite"));
    CHECK(inspect(*open_dataset(copy.path(), {.missing_states = NanPolicy::accept}))
              .infinite_actions == 1);
  }
  with("0.636862", "");  // an action may be missing
  CHECK(std::isnan(open_dataset(copy.path())->read_rows({"action_1"}, 0, 1, 1).item<double>()));
  with("73.095856", "");  // a state may not
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "episode_0001.csv:3",
                "state column 'state_0'"));
  copy.write("episode_0001.csv", table);
  copy.write("dataset.json", R"({"action_columns": ["force"]})");
  CHECK(refused(ErrorCategory::not_found, copy.path(), "force", "Columns: frame, timestamp"));
  copy.write("dataset.json", R"({"action_columns": "force"})");
  CHECK(refused(ErrorCategory::invalid_option, copy.path(), "dataset.json", "action_columns",
                "an array"));
  copy.write("dataset.json", R"({"fps": 0})");
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "dataset.json", "fps = 0"));
  copy.write("dataset.json", "[1");
  CHECK(refused(ErrorCategory::bad_file, copy.path(), "dataset.json"));
  copy.write("dataset.json", R"({"last_action": "artefact", "episodes": 2, "whatever": {}})");
  const auto dataset = open_dataset(copy.path());
  CHECK(dataset->last_action() == LastAction::artefact);
  CHECK(dataset->fps() == Approx(10).epsilon(1e-6));  // from the videos
}

TEST_CASE("rows outside an episode and unknown columns are refused") {
  const auto dataset = open_dataset(recordings() / "tworoom" / "native224");
  const auto rows = [&](int64_t episode, int64_t first, int64_t count) {
    return [&, episode, first, count] { dataset->read_rows({"state_0"}, episode, first, count); };
  };
  CHECK(fails_with(ErrorCategory::invalid_argument, rows(3, 0, 1), "episode 3", "0..2"));
  CHECK(fails_with(ErrorCategory::invalid_argument, rows(0, 39, 2), "rows 0..39"));
  CHECK(fails_with(ErrorCategory::invalid_argument, rows(0, -1, 1), "rows 0..39"));
  CHECK(fails_with(ErrorCategory::invalid_argument, rows(0, 1, INT64_MAX), "rows 0..39"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { dataset->read_rows({"state_2"}, 0, 0, 1); }, "state_2",
      "did you mean"));
}

TEST_CASE("written episodes read back, and writing goes on where it stopped") {
  TemporaryFolder folder;
  FolderWriterOptions options{.video = {.fps = 20},
                              .actions = {"ax", "ay"},
                              .states = {"x"},
                              .others = {"reward"},
                              .notes = {{"environment", "square"}}};
  Tensor frames = at::zeros({5, 16, 16, 3}, at::kByte);
  for (int64_t t = 0; t < 5; ++t) frames[t].fill_(40 * t);
  Tensor values = at::arange(20, at::kFloat).view({5, 4}) / 3;
  values[4].narrow(0, 0, 2).fill_(std::numeric_limits<double>::quiet_NaN());
  const fs::path path = folder / "set";
  {
    FolderWriter writer(path, options);
    CHECK(writer.columns() == std::vector<std::string>{"ax", "ay", "x", "reward"});
    CHECK(writer.write_episode(frames, values) == 0);
    writer.append(frames[0], values[0]);  // an unfinished episode
  }
  options.notes = {{"seed", "2"}};
  FolderWriter writer(path, options);
  CHECK(writer.write_episode(frames.narrow(0, 0, 3), values.narrow(0, 0, 3)) == 1);
  const auto dataset = open_dataset(path);
  REQUIRE(dataset->num_episodes() == 2);
  CHECK(dataset->length(0) == 5);
  CHECK(dataset->length(1) == 3);
  CHECK(dataset->fps() == 20);
  CHECK(dataset->notes() ==
        std::map<std::string, std::string>{{"environment", "square"}, {"seed", "2"}});
  CHECK(dataset->last_action() == LastAction::artefact);
  CHECK(dataset->action_columns() == std::vector<std::string>{"ax", "ay"});
  CHECK(dataset->state_columns() == std::vector<std::string>{"x"});
  const Tensor back = dataset->read_rows({"ax", "ay", "x", "reward"}, 0, 0, 5).to(at::kFloat);
  CHECK(at::equal(at::nan_to_num(back, -1), at::nan_to_num(values, -1)));
  CHECK(dataset->read_rows({"timestamp"}, 0, 4, 1).item<double>() == 0.2);
  for (int64_t t = 0; t < 5; ++t)
    CHECK((dataset->read_frames(0, {t}).to(at::kInt) - 40 * t).abs().max().item<int>() <= 2);
}

TEST_CASE(
    "a writer refuses other columns, bad values and other sizes, and leaves no half episode") {
  TemporaryFolder folder;
  const FolderWriterOptions options{.actions = {"a"}, .states = {"x"}};
  FolderWriter writer(folder.path(), options);
  const Tensor frame = at::zeros({16, 16, 3}, at::kByte);
  writer.write_episode(at::stack({frame, frame}), at::zeros({2, 2}));
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] {
        writer.append(frame, at::tensor({0.0, nan}));
      },
      "column 'x'"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer.append(frame, at::zeros({3})); }, "[columns]"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        writer.append(at::zeros({16, 18, 3}, at::kByte), at::zeros({2}));
      },
      "18x16"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer.finish_episode(); }, "no rows"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] {
        writer.write_episode(at::stack({frame, frame}),
                             at::tensor({0.0, 0.0, 0.0, nan}).view({2, 2}));
      },
      "row 1"));
  CHECK(writer.rows() == 0);
  const auto entries =
      std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  CHECK(entries == 3);  // one video, one table, dataset.json
  writer.finish();
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer.append(frame, at::zeros({2})); },
      "finished already"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { FolderWriter other(folder.path(), {.actions = {"b"}, .states = {"x"}}); },
      "action_columns", "[\"a\"]"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        FolderWriter other(folder.path(), {.actions = {"a", "a"}});
      },
      "once"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { FolderWriter other(folder.path(), FolderWriterOptions{}); }, "actions"));
}

TEST_CASE("a vector of JSON lines keeps the order of its numbers, however the keys are sorted") {
  const auto picture = fs::path(FORESIGHT_TEST_DATA) / "images" / "rgb.png";
  const auto vector_of = [](int64_t size) {
    std::string text;
    for (int64_t i = 0; i < size; ++i) text += (i == 0 ? "" : ", ") + std::to_string(100 + i);
    return "[" + text + "]";
  };
  for (const char* extension : {".jsonl", ".csv"}) {
    const TemporaryFolder folder;
    fs::create_directories(folder / "episode_0000");
    fs::copy_file(picture, folder / "episode_0000" / "0.png");
    std::ofstream table(folder / (std::string("episode_0000") + extension));
    if (std::string(extension) == ".jsonl")
      table << R"({"action": )" << vector_of(12) << R"(, "state_arm": )" << vector_of(11)
            << R"(, "state_base": [1, 2]})"
            << "\n";
    else  // as a program that sorts its columns writes them
      table << "action_0,action_1,action_10,action_11,action_2,action_3,action_4,action_5,action_6,"
               "action_7,action_8,action_9,state_b,state_a\n"
               "100,101,110,111,102,103,104,105,106,107,108,109,1,2\n";
    table.close();
    const auto data = open_dataset(folder.path(), {.fps = 10});
    const Tensor actions = data->read_all_rows(data->action_columns(), 0);
    CHECK(at::equal(actions[0], at::arange(100, 112, at::kDouble)));
    const Tensor states = data->read_all_rows(data->state_columns(), 0)[0];
    const Tensor expected =
        std::string(extension) == ".jsonl"
            ? at::cat({at::arange(100, 111, at::kDouble), at::arange(1, 3, at::kDouble)})
            : at::tensor({1.0, 2.0}, at::kDouble);  // names have the order of the table
    CHECK(at::equal(states, expected));
  }
}

TEST_CASE("pictures of an episode are rows in the order of their numbers, padded or not") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "episode_0000");
  std::ofstream table(folder / "episode_0000.csv");
  table << "action_0\n";
  for (int64_t t = 1; t <= 120; ++t) {
    const auto png = encode_png(at::full({4, 4, 3}, t, at::kByte));
    std::ofstream(folder / "episode_0000" / (std::to_string(t) + ".png"), std::ios::binary) << png;
    table << t << "\n";
  }
  table.close();
  const auto data = open_dataset(folder.path(), {.fps = 10});
  for (const int64_t row : {0, 1, 9, 98, 119}) {
    CHECK(data->read_frames(0, {row})[0][0][0][0].item<int64_t>() == row + 1);
    CHECK(data->read_rows({"action_0"}, 0, row, 1).item<double>() == static_cast<double>(row + 1));
  }
}

}  // namespace
}  // namespace foresight::data::folder_dataset_test
