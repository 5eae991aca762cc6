// SPDX-License-Identifier: Apache-2.0
// Tables of numbers in comma-separated text, read strictly: a robot that learns from a shifted
// column learns nonsense, so whatever is not plainly a number in its place is an error that names
// file, line and column.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// What a missing value ("nan", any case, or an empty cell) and an infinite one ("inf", "-inf",
/// "infinity") mean.
enum class NanPolicy {
  reject,  ///< an error
  accept,  ///< NaN or infinity in the table: recorders write NaN for the action of a reset
};

/// What a column with words in it means.
enum class TextPolicy {
  reject,  ///< an error
  skip,    ///< the column is no column of numbers; its words are in CsvTable.texts
};

struct CsvOptions {
  NanPolicy nan = NanPolicy::reject;
  TextPolicy text = TextPolicy::reject;
};

/// A table of numbers. Row r of the table is line r + 2 of the file.
struct FORESIGHT_API CsvTable {
  std::string name;                            ///< file name, for messages
  std::vector<std::string> columns;            ///< of `values`, in file order; of JSON, sorted
  Tensor values;                               ///< float64 [rows, columns]
  std::map<std::string, std::string> skipped;  ///< column -> why it is not among the numbers
  std::map<std::string, std::vector<std::string>> texts;  ///< column of words -> one text a row
  std::map<std::string, Tensor> whole;  ///< int64 [rows] of the columns of whole numbers some of
                                        ///< which float64 cannot hold, e.g. nanoseconds since 1970

  int64_t rows() const { return values.size(0); }
  /// Place of a column. Throws Error(not_found) that suggests the nearest name, or says why it was
  /// skipped.
  int64_t column(std::string_view wanted) const;
};

/// Parses text: one header line of unique names, then one line a row, '\n' or "\r\n", no quotes.
/// A plus before a number is taken; hexadecimal and thousands separators are not numbers.
/// `name` opens every message. Throws Error(bad_file).
FORESIGHT_API CsvTable parse_csv(std::string_view text, const std::string& name,
                                 const CsvOptions& options = {});

/// parse_csv() on a file. Throws Error(not_found | bad_file | io_failure) too.
FORESIGHT_API CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options = {});

/// A table from a file with one JSON object a line: numbers and booleans are columns, a list of
/// numbers is as many columns (key_0, key_1, ...), null is a missing value, and what else there is
/// counts as words. NaN, Infinity and -Infinity, as Python writes them, are a missing value and
/// infinite ones: refused by NanPolicy::reject. Every line has the same keys. Throws as read_csv().
FORESIGHT_API CsvTable read_jsonl(const std::filesystem::path& path,
                                  const CsvOptions& options = {});

/// The shortest text that reads back as the same float64; "nan" for NaN.
FORESIGHT_API std::string number_text(double value);
/// The shortest text that reads back as the same float32.
FORESIGHT_API std::string number_text(float value);

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::NanPolicy> {
  static constexpr std::array<std::pair<std::string_view, data::NanPolicy>, 2> names = {
      {{"reject", data::NanPolicy::reject}, {"accept", data::NanPolicy::accept}}};
};
