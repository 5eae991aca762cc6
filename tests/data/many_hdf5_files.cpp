// SPDX-License-Identifier: Apache-2.0
// What is kept of HDF5 files between reads: unpacked chunks of several rows, and some of many
// files.
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "hdf5_recordings.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::many_hdf5_files_test {
namespace {

namespace fs = std::filesystem;

// Bytes that this process has read so far.
int64_t bytes_read() {
  std::ifstream counts("/proc/self/io");
  std::string name;
  int64_t count = -1;
  while (counts >> name >> count)
    if (name == "rchar:") return count;
  return -1;
}

// As many descriptors as are open now, and `more` or, where high numbers are taken, some above.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = more;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd"))
      ++limit.rlim_cur;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("a chunk of 100 frames in HDF5 is unpacked once for the rows that are read of it") {
  if (!hdf5_is_built_in()) return;
  const auto file = layout_of("growing") / "chunks_100.h5";
  const auto data = open_dataset(file);
  REQUIRE(data->num_episodes() == 2);
  std::vector<Tensor> whole;
  for (int64_t e = 0; e < 2; ++e) {
    std::vector<int64_t> rows(static_cast<std::size_t>(data->length(e)));
    std::iota(rows.begin(), rows.end(), 0);
    whole.push_back(data->read_frames(e, rows));
    const Tensor corner = whole.back().select(1, 0).select(1, 63).select(1, 0);
    CHECK(at::equal(corner.to(at::kLong), 90 * e + at::arange(data->length(e))));
  }
  // Over the border of two chunks, backwards, in steps, twice the same
  const std::vector<int64_t> some{8, 9, 10, 11, 3, 4, 2, 40, 45, 50, 50, 51, 139};
  CHECK(at::equal(data->read_frames(1, some), whole[1].index_select(0, at::tensor(some))));
  const int64_t before = bytes_read();
  if (before < 0) FORESIGHT_SKIP("no /proc/self/io");
  for (int64_t row = 0; row < 90; row += 3)
    CHECK(at::equal(data->read_frames(0, {row})[0], whole[0][row]));
  CHECK(bytes_read() - before < static_cast<int64_t>(fs::file_size(file)));  // of 230 rows
}

TEST_CASE("a folder of more HDF5 files than the process may have open is one data set") {
  if (!hdf5_is_built_in()) return;
  if (!fs::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  constexpr int64_t kFiles = 60;
  const TemporaryFolder folder;
  for (int64_t i = 0; i < kFiles; ++i)
    fs::copy_file(layout_of("robomimic_merged") / "tasks" / "lift.hdf5",
                  folder / ("part_" + std::to_string(i) + ".hdf5"));
  const DescriptorLimit limit(24);
  const auto data = open_dataset(folder.path());
  REQUIRE(data->num_episodes() == 2 * kFiles);
  for (int turn = 0; turn < 2; ++turn)
    for (int64_t e = 0; e < data->num_episodes(); ++e) {
      CHECK(data->read_frames(e, {1})[0][0][0][0].item<int64_t>() == e % 2);
      CHECK(data->read_rows(data->action_columns(), e, 0, 1)[0][0].item<double>() ==
            static_cast<double>(e % 2));
    }
}

}  // namespace foresight::data::many_hdf5_files_test
