// SPDX-License-Identifier: Apache-2.0
// The recorded sets of recordings/loader_goldens.json that are at hand (the small ones beside the
// tests, all in $FORESIGHT_RECORDINGS), and what is compared with it.
#pragma once

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "foresight/data/dataset.hpp"
#include "recordings.hpp"

namespace foresight::data {

inline nlohmann::json loader_goldens() {
  return nlohmann::json::parse(io::read_text(recordings() / "loader_goldens.json"));
}

struct RecordedSet {
  std::string name;
  nlohmann::json golden;
};

/// Those whose golden has this key: "codebase_version" LeRobot's, "episode_offsets"
/// stable-worldmodel's, "episode_names" plain folders.
inline std::vector<RecordedSet> recorded_sets(const char* key) {
  const auto goldens = loader_goldens();
  std::vector<RecordedSet> sets;
  for (const auto& [name, golden] : goldens.at("datasets").items())
    if (golden.contains(key) && std::filesystem::exists(recordings() / name))
      sets.push_back({name, golden});
  REQUIRE(!sets.empty());
  return sets;
}

/// Null where this build, or this machine, lacks the library that the set needs; that is said.
inline std::shared_ptr<const Dataset> opened_set(const std::string& name,
                                                 const DatasetOptions& options = {}) {
  try {
    const auto dataset = open_dataset(recordings() / name, options);
    dataset->read_frames(0, {0});
    return dataset;
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    WARN("SKIPPED: " << name << ": " << error.what());
    return nullptr;
  }
}

inline std::vector<std::string> columns_of_feature(const Dataset& dataset,
                                                   const std::string& feature) {
  std::vector<std::string> columns;
  for (const auto& column : dataset.columns()) {
    const bool part =
        column.starts_with(feature + "_") &&
        column.find_first_not_of("0123456789", feature.size() + 1) == std::string::npos;
    if (column == feature || part) columns.push_back(column);
  }
  if (columns.size() > 10) {  // _10 sorts before _2
    std::sort(columns.begin(), columns.end(), [&](const auto& a, const auto& b) {
      return std::pair(a.size(), a) < std::pair(b.size(), b);
    });
  }
  return columns;
}

inline Tensor golden_numbers(const nlohmann::json& values) {
  std::vector<double> flat;
  for (const auto& value : values)
    flat.push_back(value.is_null() ? std::nan("") : value.get<double>());
  return at::tensor(flat, at::kDouble);
}

/// Equal as float32, in which the peers return their values; NaN equals NaN.
inline bool same_values(const Tensor& ours, const Tensor& theirs) {
  return at::allclose(ours.flatten().to(at::kFloat), theirs.to(at::kFloat), 0, 0,
                      /*equal_nan=*/true);
}

/// Whether swscale's short cuts give the bytes of the references here: without AVX2 the last bits
/// differ.
inline bool exact_pictures() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

/// The very bytes; where these are not exact, the block means must do.
inline void check_pictures(const Tensor& frames, const nlohmann::json& golden) {
  const auto& hashes = golden.at("sha256_hwc_u8");
  REQUIRE(static_cast<std::size_t>(frames.size(0)) == hashes.size());
  if (exact_pictures())
    for (std::size_t t = 0; t < hashes.size(); ++t)
      CHECK(picture_hash(frames[static_cast<int64_t>(t)]) == hashes[t].get<std::string>());
  if (frames.size(1) % 8 == 0 && frames.size(2) % 8 == 0)
    CHECK((thumbnail(frames[0]) - golden_numbers(golden.at("thumb8_first")))
              .abs()
              .max()
              .item<double>() <= 1.0);
}

}  // namespace foresight::data
