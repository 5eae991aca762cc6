// SPDX-License-Identifier: Apache-2.0
// HDF5 arrays that were compressed by a filter that is not installed.
#include "error_message.hpp"
#include "hdf5_recordings.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::missing_filter_test {
namespace {

namespace fs = std::filesystem;

// A copy of a file with a gzip array, whose header names filter `number` in place of gzip's 1.
void write_with_filter(const fs::path& file, int number) {
  auto bytes = io::read_text(flat_arrays());
  // Number, size of the name, flags, count of parameters, 2 bytes each; the name.
  const auto gzip = std::string("\x01\x00\x08\x00\x01\x00\x01\x00", 8) + "deflate";
  const auto place = bytes.find(gzip);
  REQUIRE(place != std::string::npos);
  REQUIRE(bytes.find(gzip, place + 1) == std::string::npos);
  bytes[place] = static_cast<char>(number & 0xFF);
  bytes[place + 1] = static_cast<char>(number >> 8);
  io::write_text(file, bytes);
}

TEST_CASE("an array whose filter has no plug-in is an error that names the filter and the way") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto file = folder / "set.h5";
  write_with_filter(file, 500);  // of those that are left to tests
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { open_dataset(file)->read_frames(0, {0}); },
      file.string() + ": array 'pixels' is compressed by filter 500 (deflate)",
      "name a folder with its plugin in HDF5_PLUGIN_PATH"));
}

}  // namespace
}  // namespace foresight::data::missing_filter_test
