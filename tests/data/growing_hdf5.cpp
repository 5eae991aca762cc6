// SPDX-License-Identifier: Apache-2.0
// HDF5 files of recorders that are at work, were killed, or go on with a file that is being read.
#include <sys/file.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "../../src/io/descriptor.hpp"
#include "error_message.hpp"
#include "hdf5_recordings.hpp"
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

}  // namespace foresight::data::growing_hdf5_test
