// SPDX-License-Identifier: Apache-2.0
// What an array of an HDF5 recording is: pictures, or a column of numbers. Private to the data
// folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../formats/columnar_dataset.hpp"
#include "../formats/formats.hpp"
#include "../video/picture.hpp"
#include "hdf5_file.hpp"

namespace foresight::data {

using Hdf5 = std::shared_ptr<const Hdf5File>;

/// Numbers a row; wider arrays are pictures of another kind, or maps.
inline constexpr int64_t kWidestColumn = 4096;

/// A 4-D array of bytes with 1 or 3 values last holds pictures.
inline bool holds_pictures(const Hdf5Array& array) {
  return array.shape.size() == 4 && array.type == at::kByte &&
         (array.shape[3] == 3 || array.shape[3] == 1) && array.shape[1] >= 1 &&
         array.shape[2] >= 1 && decodable({array.shape[1], array.shape[2]});
}

/// Grey pictures [N,H,W,1] as [N,H,W,3].
inline Tensor as_rgb(Tensor pictures) {
  return pictures.size(3) == 3
             ? pictures
             : pictures.expand({pictures.size(0), pictures.size(1), pictures.size(2), 3});
}

/// Numbers a row of an array with `rows` rows; 0 if it has another number of rows.
inline int64_t row_width(const Hdf5Array& array, int64_t rows) {
  if (array.shape.empty() || array.shape[0] != rows) return 0;
  int64_t width = 1;
  for (std::size_t d = 1; d < array.shape.size(); ++d) {
    constexpr int64_t kMost = int64_t{1} << 31;  // no row has so many
    if (array.shape[d] < 0 || array.shape[d] > kMost || width * array.shape[d] > kMost) return 0;
    width *= array.shape[d];
  }
  return width;
}

/// Whether it is a column: numbers for each of `rows` rows.
inline bool is_column(const Hdf5Array& array, int64_t rows) {
  const int64_t width = row_width(array, rows);
  return array.problem.empty() && array.type && width > 0 && width <= kWidestColumn &&
         !holds_pictures(array);
}

inline std::vector<int64_t> row_shape(const Hdf5Array& array) {
  return array.shape.size() < 2 ? std::vector<int64_t>{}
                                : std::vector<int64_t>(array.shape.begin() + 1, array.shape.end());
}

/// Why an array is no column of `rows` rows.
inline std::string shape_problem(const Hdf5Array& array, int64_t rows) {
  const bool short_or_long = array.shape.empty() || array.shape[0] != rows;
  return "it has shape " + shape_string(array.shape) +
         (short_or_long ? ", which is not a value for each of " + std::to_string(rows) + " rows"
                        : ", which is no column of numbers");
}

/// What three of the first `rows` pictures of an array hold; none where one cannot be read.
std::optional<std::uint64_t> sampled_pictures(const Hdf5File& file, const std::string& name,
                                              int64_t rows);

/// Throws Error(not_found) where there is no camera, with the reasons why arrays are not read:
/// often this HDF5 is too old for one. `remedy`: what ends the message.
void require_camera(const Recording& recording, const std::string& remedy = {});

/// robomimic: a group data/ with one for every demonstration. `remarks` are of how the file was
/// found.
OpenedDataset open_robomimic(const Hdf5& file, const DatasetOptions& options,
                             std::vector<std::string> remarks);

}  // namespace foresight::data
