// SPDX-License-Identifier: Apache-2.0
// Parquet files as far as robot data sets use them, in terms of tensors and texts. Apache Arrow's
// headers take long to compile, so only parquet_file.cpp includes them; where the build has no
// Arrow, every function throws an Error that says how to get it. Private to the data folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// A piece of a file.
struct FileBytes {
  int64_t first = 0, count = 0;
};

/// What a value that is missing (null) is.
enum class Nulls {
  refused,  ///< Error(bad_file) naming the row
  nan,      ///< NaN among floating point numbers; of other types it is refused
};

/// An open file. Not thread-safe; opening one costs reading its footer.
class ParquetFile {
 public:
  /// Throws Error(not_found | bad_file), Error(unsupported) without Arrow.
  explicit ParquetFile(const std::filesystem::path& path);
  ~ParquetFile();

  int64_t rows() const;
  /// Names of the outermost columns.
  const std::vector<std::string>& columns() const;
  bool has(const std::string& column) const;
  /// Rows of every row group.
  const std::vector<int64_t>& group_rows() const;

  /// A column of numbers or of lists of them (nested ones are flattened row by row), [rows, width],
  /// in the type that was stored; unsigned integers wider than 8 bits become int64. Throws
  /// Error(bad_file) naming the row where a list has another length or a value is missing, which
  /// `nulls` may allow.
  Tensor numbers(const std::string& column, int64_t width, Nulls nulls = Nulls::refused) const;
  /// A column of UTF-8 texts.
  std::vector<std::string> texts(const std::string& column) const;
  /// A column of lists of texts.
  std::vector<std::vector<std::string>> text_lists(const std::string& column) const;
  /// Encoded pictures of one row group: a struct {bytes, path}, or plain bytes. An empty string
  /// where the bytes are missing.
  std::vector<std::string> pictures(const std::string& column, int64_t group) const;
  /// Where the file says that a column of one row group lies.
  FileBytes bytes_of(const std::string& column, int64_t group) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whether this build reads Parquet.
bool has_parquet();

/// Of a build that does not, for its errors: that it does not, and how to get it.
inline constexpr const char* kNoParquet =
    "this build of foresight has no Apache Parquet, in which LeRobot keeps its numbers. Install it "
    "(pip install pyarrow beside LibTorch, as scripts/setup.sh does, or the libraries libarrow-dev "
    "and libparquet-dev of arrow.apache.org/install) and configure foresight again";

}  // namespace foresight::data
