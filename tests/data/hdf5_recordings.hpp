// SPDX-License-Identifier: Apache-2.0
// Recordings in HDF5 files, and how single arrays of them are spoiled.
#pragma once

#include <filesystem>
#include <string>

#include "foresight/io/files.hpp"
#include "opened_recording.hpp"

namespace foresight::data {

inline std::filesystem::path layout_of(const char* name) {
  return std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / name;
}

/// A small set of stable-worldmodel, of arrays in one piece, whose headers have no checksums, and
/// one that is compressed by gzip. Not that of the same name in $FORESIGHT_RECORDINGS.
inline std::filesystem::path flat_arrays() {
  return std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings" / "tworoom" / "swm" /
         "tworoom_nan_gzip.h5";
}

/// Says so where it is not.
inline bool hdf5_is_built_in() { return opened_or_skipped(layout_of("robomimic")) != nullptr; }

/// A number as HDF5 stores places and sizes: 8 bytes, the lowest first.
inline std::string eight_bytes(int64_t value) {
  std::string bytes(8, '\0');
  for (auto& byte : bytes) {
    byte = static_cast<char>(value & 0xFF);
    value >>= 8;
  }
  return bytes;
}

/// The column of numbers that was recorded under a name, in one episode, in its stored type.
inline Tensor stored_array(const Dataset& data, const std::string& name, int64_t episode) {
  for (const auto& group : data.groups())
    if (group.name == name)
      return data.read_stored(group.columns, episode, 0, data.length(episode));
  FAIL("no column " << name);
  return {};
}

/// Where the header of an array says at which byte its `values` begin: before their size. They are
/// in one piece, and there once.
inline std::size_t place_of_address(const std::string& bytes, const Tensor& values) {
  const Tensor row_major = values.contiguous();
  const std::string data(static_cast<const char*>(row_major.const_data_ptr()), row_major.nbytes());
  const auto begin = bytes.find(data);
  REQUIRE(begin != std::string::npos);
  const auto place = bytes.find(eight_bytes(static_cast<int64_t>(begin)) +
                                eight_bytes(static_cast<int64_t>(data.size())));
  REQUIRE(place != std::string::npos);
  return place;
}

/// Spoils the header of the array with these values: where headers have a checksum, it alone cannot
/// be opened then.
inline void spoil_array(const std::filesystem::path& file, const Tensor& values) {
  auto bytes = io::read_text(file);
  const auto place = place_of_address(bytes, values);
  bytes[place] = static_cast<char>(bytes[place] ^ 0x15);
  io::write_text(file, bytes);
}

/// Makes the header of the array with these values place them behind the end of the file. The
/// header must have no checksum.
inline void take_bytes_away(const std::filesystem::path& file, const Tensor& values) {
  auto bytes = io::read_text(file);
  const auto place = place_of_address(bytes, values);
  bytes.replace(place, 8, eight_bytes(static_cast<int64_t>(bytes.size()) + 4096));
  io::write_text(file, bytes);
}

/// CHECKs that `data` is `whole` but for what `lost` lost of its arrays: the same state columns,
/// lengths and actions everywhere, the frames of the others.
inline void check_rest(const Dataset& data, const Dataset& whole, int64_t lost) {
  CHECK(data.state_columns() == whole.state_columns());
  for (int64_t e = 0; e < data.num_episodes(); ++e) {
    REQUIRE(data.length(e) == whole.length(e));
    CHECK(at::equal(data.read_all_rows(data.action_columns(), e),
                    whole.read_all_rows(whole.action_columns(), e)));
    if (e != lost) CHECK(at::equal(data.read_frames(e, {0}), whole.read_frames(e, {0})));
  }
}

}  // namespace foresight::data
