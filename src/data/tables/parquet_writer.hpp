// SPDX-License-Identifier: Apache-2.0
// Tensors, texts and pictures to Parquet files, as robot data sets keep them. Private to the data
// folder.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// Encoded pictures, one a row, as the `datasets` library stores them: a struct {bytes, path}.
struct ParquetPictures {
  std::vector<std::string> bytes;
  std::vector<std::string> paths;  ///< names only, nothing is there
};

/// How the schema describes lists; in the file both are the same.
enum class ParquetLists {
  fixed,     ///< of one length: what a feature of a robot is
  variable,  ///< of any length: what statistics are
};

/// A column to be written.
struct ParquetColumn {
  std::string name;
  /// Numbers (float32, float64, int64 or bool) [rows], [rows, width] as lists, or [rows, a, b, ...]
  /// as lists of lists; texts; lists of texts; pictures.
  std::variant<Tensor, std::vector<std::string>, std::vector<std::vector<std::string>>,
               ParquetPictures>
      values;
  ParquetLists lists = ParquetLists::fixed;
};

struct ParquetLayout {
  std::vector<std::pair<std::string, std::string>> metadata = {};  ///< of the schema, e.g. "pandas"
  std::vector<int64_t> groups = {};  ///< rows of every row group; empty: one for all
};

/// Writes a Snappy-compressed file, atomically. Throws Error(invalid_argument) for columns of
/// different lengths, Error(io_failure), Error(unsupported) without Arrow.
void write_parquet(const std::filesystem::path& path, const std::vector<ParquetColumn>& columns,
                   const ParquetLayout& layout = {});

}  // namespace foresight::data
