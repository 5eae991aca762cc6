// SPDX-License-Identifier: Apache-2.0
// HDF5 files of recorders that are at work, were killed, or go on with a file that is being read.
#include <sys/file.h>
#include <sys/inotify.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "../../src/io/descriptor.hpp"
#include "captured_log.hpp"
#include "error_message.hpp"
#include "foresight/data/inspection.hpp"
#include "hdf5_recordings.hpp"
#include "hdf5_writer.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::growing_hdf5_test {
namespace {

namespace fs = std::filesystem;

fs::path state(const char* name) { return layout_of("growing") / name; }

// A writer goes on with a file: the same file, other bytes.
void becomes(const fs::path& file, const fs::path& next) {
  const auto bytes = io::read_text(next);
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  fs::resize_file(file, bytes.size());
  static int64_t changes = 0;  // clocks of file systems are coarse
  fs::last_write_time(file, fs::file_time_type::clock::now() + std::chrono::seconds(++changes));
}

Tensor levels(int64_t episode, int64_t rows) { return 10 + 40 * episode + 7 * at::arange(rows); }

void check_episodes(const Dataset& data, const std::vector<int64_t>& lengths) {
  REQUIRE(data.num_episodes() == std::ssize(lengths));
  for (int64_t e = 0; e < data.num_episodes(); ++e) {
    INFO("episode " << e);
    const int64_t rows = lengths[static_cast<std::size_t>(e)];
    REQUIRE(data.length(e) == rows);
    const Tensor numbers = levels(e, rows);
    std::vector<int64_t> all(static_cast<std::size_t>(rows));
    for (int64_t t = 0; t < rows; ++t) all[static_cast<std::size_t>(t)] = t;
    const Tensor frames = data.read_frames(e, all);
    CHECK(at::equal(frames, numbers.to(at::kByte).view({-1, 1, 1, 1}).expand({-1, 8, 8, 3})));
    CHECK(at::equal(data.read_rows({data.action_columns()[0]}, e, 0, rows).flatten(),
                    numbers.to(at::kDouble)));
  }
}

// stable-worldmodel's arrays of such episodes, but that some have fewer rows.
std::map<std::string, Tensor> arrays_of(const std::vector<int64_t>& lengths,
                                        const std::map<std::string, int64_t>& fewer = {}) {
  std::vector<Tensor> rows;
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) {
    rows.push_back(levels(std::ssize(rows), length));
    offsets.push_back(offsets.back() + length);
  }
  offsets.pop_back();
  const Tensor all = at::cat(rows), numbers = all.to(at::kFloat);
  std::map<std::string, Tensor> arrays{
      {"pixels", all.to(at::kByte).view({-1, 1, 1, 1}).expand({-1, 8, 8, 3})},
      {"action", at::stack({numbers, -numbers}, 1)},
      {"state", at::stack({numbers, -numbers}, 1) / 2},
      {"reward", numbers},
      {"seed", at::arange(std::ssize(lengths))},
      {"ep_len", at::tensor(lengths).to(at::kInt)},
      {"ep_offset", at::tensor(offsets)}};
  for (const auto& [name, count] : fewer) arrays[name] = arrays.at(name).narrow(0, 0, count);
  return arrays;
}

bool has_column(const Dataset& data, const std::string& name) {
  const auto& all = data.columns();
  return std::find(all.begin(), all.end(), name) != all.end();
}

// An exclusive lock, as HDF5's writers take one.
struct WritersLock {
  explicit WritersLock(const fs::path& path) : file(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    taken = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
  }
  io::Descriptor file;
  bool taken = false;
};

}  // namespace

TEST_CASE("an HDF5 file opens whose recorder is at work in SWMR mode, or was killed") {
  if (!hdf5_is_built_in()) return;
  const auto data = open_dataset(state("at_work.h5"));
  check_episodes(*data, {4, 3, 5});
  REQUIRE(data->remarks().size() == 1);
  CHECK_THAT(data->remarks().front(), Catch::Contains("its recorder has it open, or was killed; "
                                                      "the 3 episodes that it lists now are read"));
  CHECK(open_dataset(state("closed.h5"))->remarks().empty());
}

TEST_CASE("an HDF5 file that is being written in no SWMR mode is refused, saying what helps") {
  if (!hdf5_is_built_in()) return;
  const auto marked =
      error_message(ErrorCategory::bad_file, [] { open_dataset(state("killed.h5")); });
  CHECK_THAT(marked, Catch::Contains(state("killed.h5").string()) &&
                         Catch::Contains("`h5clear -s FILE`") && !Catch::Contains("h5repack"));
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  fs::copy_file(state("before.h5"), file);
  {
    const WritersLock writer(file);
    REQUIRE(writer.taken);
    const auto locked = error_message(ErrorCategory::bad_file, [&] { open_dataset(file); });
    CHECK_THAT(locked,
               Catch::Contains(file.string() + ": another program has it open for writing") &&
                   !Catch::Contains("h5repack"));
  }
  check_episodes(*open_dataset(file), {4, 3, 5});
}

TEST_CASE("an HDF5 file that is read may be opened by a recorder") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  fs::copy_file(state("before.h5"), file);
  const auto data = open_dataset(file);
  CHECK(WritersLock(file).taken);
  check_episodes(*data, {4, 3, 5});
  CHECK(WritersLock(file).taken);
}

TEST_CASE("episodes that are added to an HDF5 file while it is read do not end its reading") {
  if (!hdf5_is_built_in()) return;
  struct Growth {
    const char *now, *then;
    std::vector<int64_t> lengths, more;
  };
  const std::vector<int64_t> three{4, 3, 5}, four{4, 3, 5, 6};
  for (const auto& growth :
       {Growth{"before.h5", "after.h5", three, {}}, Growth{"at_work.h5", "more.h5", three, four},
        Growth{"at_work.h5", "closed.h5", three, four}, Growth{"more.h5", "closed.h5", four, four},
        Growth{"demos_before.hdf5", "demos_after.hdf5", {4, 3}, {4, 3, 5}}}) {
    INFO(growth.now << " becomes " << growth.then);
    const TemporaryFolder folder;
    const auto file = folder / growth.now;
    fs::copy_file(state(growth.now), file);
    const auto data = open_dataset(file), again = open_dataset(file);
    data->read_frames(0, {0});
    becomes(file, state(growth.then));
    check_episodes(*data, growth.lengths);
    // What a recorder adds to in SWMR mode is looked at once a second.
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    check_episodes(*data, growth.lengths);
    check_episodes(*again, growth.lengths);
    const auto now = open_dataset(file);
    if (!growth.more.empty()) check_episodes(*now, growth.more);
    CHECK(now->num_episodes() >= data->num_episodes());
    if (data->text_columns() == std::vector<std::string>{"note"})
      CHECK(data->read_text("note", 2, 4, 1) == std::vector<std::string>{"row 118"});
  }
}

TEST_CASE("an HDF5 file that has grown, but holds other episodes than before, is refused by name") {
  if (!hdf5_is_built_in()) return;
  for (const auto& [before, after] :
       {std::pair("before.h5", "other.h5"), std::pair("closed.h5", "at_work.h5"),
        std::pair("demos_before.hdf5", "after.h5")}) {
    INFO(before << " becomes " << after);
    const TemporaryFolder folder;
    const auto file = folder / before;
    fs::copy_file(state(before), file);
    const auto data = open_dataset(file);
    data->read_frames(0, {0});
    becomes(file, state(after));
    for (int i = 0; i < 2; ++i)  // the second time at once
      CHECK(fails_with(
          ErrorCategory::bad_file, [&] { data->read_frames(1, {0}); },
          file.string() + ": has changed since the data set was opened"));
  }
}

TEST_CASE("an episode that a recorder lists before it is complete is read when it is") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  for (const auto& [late, has] : std::map<std::string, int64_t>{{"pixels", 9}, {"reward", 8}}) {
    INFO(late);
    const TemporaryFolder folder;
    const auto file = folder / "set.h5", next = folder / "next.h5";
    write_hdf5(file, arrays_of({4, 3, 5}, {{late, has}}), Hdf5Writer::at_work);
    CapturedLog log;
    const auto data = open_dataset(file);
    check_episodes(*data, {4, 3});
    CHECK(has_column(*data, "reward"));
    CHECK_FALSE(has_column(*data, "seed"));  // has a value for each episode
    REQUIRE(data->remarks().size() == 1);
    const std::string remark = data->remarks().front();
    CHECK_THAT(remark, Catch::Contains("the 2 episodes that are complete now are read; ep_len "
                                       "lists 1 episode(s) that are not complete: array '" +
                                       late + "' has " + std::to_string(has) + " of 12 rows"));
    const auto said = log.text();
    CHECK(said.find(remark) != std::string::npos);
    CHECK(said.find("not complete") == said.rfind("not complete"));
    write_hdf5(next, arrays_of({4, 3, 5, 6}), Hdf5Writer::at_work);
    becomes(file, next);
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    check_episodes(*data, {4, 3});
    check_episodes(*open_dataset(file), {4, 3, 5, 6});
  }
}

TEST_CASE("an episode of which a recorder has listed nothing but the place is not read yet") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  for (const std::string list : {"ep_len", "ep_offset"}) {
    auto arrays = arrays_of({4, 3, 5});
    arrays[list] = at::cat({arrays[list].narrow(0, 0, 2), at::zeros({1}, arrays[list].options())});
    write_hdf5(folder / (list + ".h5"), arrays, Hdf5Writer::at_work);
    check_episodes(*open_dataset(folder / (list + ".h5")), {4, 3});
  }
  const auto first = folder / "first.h5";
  write_hdf5(first, arrays_of({6}, {{"action", 2}}), Hdf5Writer::at_work);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(first); },
      first.string() + ": no episode that ep_len lists is complete: array 'action' has 2 of 6"));
}

TEST_CASE(
    "an HDF5 file that lacks rows of listed episodes is damaged where no recorder is at work") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const DatasetOptions skip{.unreadable = Unreadable::skip};
  for (const auto& [short_one, has] : std::map<std::string, int64_t>{{"pixels", 9}, {"state", 8}}) {
    INFO(short_one);
    const TemporaryFolder folder;
    const auto file = folder / "set.h5", whole = folder / "whole.h5";
    write_hdf5(file, arrays_of({4, 3, 5}, {{short_one, has}}), Hdf5Writer::done);
    const auto lack = "ep_len lists 1 episode(s) that are not complete: array '" + short_one +
                      "' has " + std::to_string(has) + " of 12 rows";
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { open_dataset(file); }, file.string() + ": " + lack,
        "it is damaged, unless", "--reading.unreadable skip"));
    const auto data = open_dataset(file, skip);
    check_episodes(*data, {4, 3});
    REQUIRE(data->remarks().size() == 1);
    CHECK_THAT(data->remarks().front(), Catch::Contains(lack));
    write_hdf5(whole, arrays_of({4, 3, 5, 6}), Hdf5Writer::done);
    becomes(file, whole);
    check_episodes(*data, {4, 3});
    check_episodes(*open_dataset(file), {4, 3, 5, 6});
  }
  const TemporaryFolder folder;  // of what nothing needs
  write_hdf5(folder / "set.h5", arrays_of({4, 3, 5}, {{"reward", 9}}), Hdf5Writer::done);
  const auto data = open_dataset(folder / "set.h5");
  check_episodes(*data, {4, 3, 5});
  CHECK_FALSE(has_column(*data, "reward"));
  REQUIRE(data->remarks().size() == 1);
  CHECK_THAT(data->remarks().front(),
             Catch::Contains("'reward' is left out: array 'reward' has 9 of 12 rows"));
}

TEST_CASE("what has a value for each episode, or half the rate, makes no HDF5 episode incomplete") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const auto pictures = [](int64_t count) { return at::zeros({count, 8, 8, 3}, at::kByte); };
  const std::vector<int64_t> lengths{5, 3, 5, 2};
  for (const auto writer : {Hdf5Writer::at_work, Hdf5Writer::done})
    for (const int64_t ahead : {-1, 0, 1}) {  // of the list of episodes
      INFO("ahead " << ahead);
      const TemporaryFolder folder;
      auto arrays = arrays_of(lengths);
      arrays["pixels_goal"] = pictures(4 + ahead);
      arrays["pixels_mean"] = at::zeros({3});
      arrays["slow"] = at::zeros({9});  // every other row of each episode
      write_hdf5(folder / "set.h5", arrays, writer);
      const auto data = open_dataset(folder / "set.h5");
      check_episodes(*data, lengths);
      CHECK(data->cameras() == std::vector<std::string>{"pixels"});
      CHECK(has_column(*data, "reward"));
      CHECK_FALSE(has_column(*data, "slow"));
      auto remarks = data->remarks();
      CHECK(std::erase_if(remarks, [](const auto& remark) {
              return remark.find(
                         "'slow' is left out: it has shape [9], which is not a value for "
                         "each of 15 rows") != std::string::npos;
            }) == 1);
      std::erase_if(
          remarks, [](const auto& remark) { return remark.find("'pixels_") != std::string::npos; });
      CHECK(std::ssize(remarks) == (writer == Hdf5Writer::at_work));
    }
  const TemporaryFolder folder;  // episodes of one and two rows
  auto arrays = arrays_of({1, 2, 1, 2});
  arrays["goal"] = pictures(4);
  for (const auto writer : {Hdf5Writer::at_work, Hdf5Writer::done}) {
    const auto file = folder / (writer == Hdf5Writer::done ? "done.h5" : "at_work.h5");
    write_hdf5(file, arrays, writer);
    check_episodes(*open_dataset(file), {1, 2, 1, 2});
  }
}

TEST_CASE("an inspection shows that an HDF5 file of a set is damaged before what is left out") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  for (const std::string part : {"0", "1", "2", "3", "4"}) {
    auto arrays = arrays_of({4, 3, 5});
    arrays["slow"] = at::zeros({5});
    arrays["action"] = arrays["action"] + std::stof(part);  // no copies of each other
    if (part == "4") arrays["state"] = arrays["state"].narrow(0, 0, 8);
    write_hdf5(folder / (part + ".h5"), arrays, Hdf5Writer::done);
  }
  const auto data = open_dataset(folder.path(), {.unreadable = Unreadable::skip});
  const auto warnings = inspect(*data).warnings;
  std::string all;
  for (const auto& warning : warnings) all += warning + "\n";
  INFO(all);
  const auto damage = all.find("4.h5: ep_len lists 1 episode(s) that are not complete"),
             shared = all.find(
                 "0.h5: 'slow' is left out: it has shape [5], which is not a value "
                 "for each of 12 rows; so in 3 more\n");
  REQUIRE(shared != std::string::npos);
  CHECK(damage < shared);
  CHECK(all.find("'seed'") == std::string::npos);
}

TEST_CASE("a value for each HDF5 episode is told as no column, and is no warning") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  write_hdf5(file, arrays_of({4, 3, 5}), Hdf5Writer::done);
  CapturedLog log;
  const auto data = open_dataset(file);
  CHECK(data->remarks().empty());
  CHECK(log.text().empty());
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { data->read_rows({"seed"}, 0, 0, 1); },
      "'seed' is not read: it has a value for each episode, not for each row"));
}

TEST_CASE("a camera besides pixels that lacks rows makes HDF5 episodes incomplete") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  auto arrays = arrays_of({4, 3, 5});
  arrays["pixels_wrist"] = arrays["pixels"].narrow(0, 0, 5);  // less than half
  write_hdf5(folder / "set.h5", arrays, Hdf5Writer::at_work);
  check_episodes(*open_dataset(folder / "set.h5"), {4});
}

TEST_CASE("an HDF5 episode at a wrong place is no incomplete one, which could be left out") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  auto arrays = arrays_of({4, 4, 4, 4}, {{"pixels", 10}, {"action", 10}, {"state", 10}});
  arrays["ep_offset"] = at::tensor(std::vector<int64_t>{0, 20, 4, 8});
  write_hdf5(file, arrays, Hdf5Writer::done);
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] { open_dataset(file, DatasetOptions{.unreadable = Unreadable::skip}); },
      "episode 1 begins at row 20"));
}

TEST_CASE("two data sets that are read of one file that is recorded open it once for both") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  fs::copy_file(state("at_work.h5"), file);
  const auto one = open_dataset(file), other = open_dataset(file);
  const io::Descriptor notices(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!notices || ::inotify_add_watch(notices.get(), file.c_str(), IN_OPEN) < 0)
    FORESIGHT_SKIP("no inotify");
  const auto opens = [&](const Dataset& data, int64_t episode) {  // whether to read it does
    alignas(inotify_event) char events[4096];
    while (::read(notices.get(), events, sizeof events) > 0) continue;
    const auto level = data.read_frames(episode, {1})[0][0][0][0].item<int64_t>();
    CHECK(level == levels(episode, 2)[1].item<int64_t>());
    return ::read(notices.get(), events, sizeof events) > 0;
  };
  becomes(file, state("more.h5"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(opens(*one, 0));
  becomes(file, state("more.h5"));  // the recorder goes on
  int64_t openings = 0;
  for (int64_t i = 0; i < 10; ++i) openings += opens(*other, i % 3) + opens(*one, i % 3);
  const auto passed = std::chrono::steady_clock::now() - begin;  // long, on a machine that is busy
  CHECK(openings <= passed / std::chrono::seconds(1));
}

}  // namespace foresight::data::growing_hdf5_test
