// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <map>

#include "foresight/data/csv.hpp"
#include "json_lines.hpp"
#include "whole_numbers.hpp"

namespace foresight::data {
namespace {

constexpr std::size_t kMostJsonColumns = 10000;

// Collects the cells of one line after the other.
class JsonRows {
 public:
  JsonRows(std::string name, const CsvOptions& options) : options_(options) {
    table_.name = std::move(name);
  }

  void add(const nlohmann::json& object) {
    if (!object.is_object()) fail("expected a JSON object");
    std::map<std::string, Cell> cells;
    for (const auto& [key, value] : object.items()) read(key, value, cells);
    for (const auto& [column, reason] : table_.skipped) {
      // Rows before the first word of the column held numbers or nothing.
      auto& words = table_.texts[column];
      words.resize(static_cast<std::size_t>(rows_));
      const auto cell = cells.find(column);
      words.push_back(cell == cells.end() ? std::string() : word(*cell->second.value));
    }
    if (rows_ == 0)
      for (const auto& [column, cell] : cells) columns_.push_back(column);
    if (cells.size() != columns_.size()) fail("has other keys than the first line");
    for (const auto& column : columns_) {
      const auto cell = cells.find(column);
      if (cell == cells.end()) fail("lacks '" + column + "', which the first line has");
      values_.push_back(cell->second.number);
    }
    ++rows_;
  }

  CsvTable finish() {
    require(rows_ > 0 && !columns_.empty(), ErrorCategory::bad_file,
            table_.name + ": holds no rows of numbers");
    const auto width = static_cast<int64_t>(columns_.size());
    const Tensor all = at::tensor(values_, at::kDouble).view({rows_, width});
    std::vector<int64_t> kept;
    for (int64_t c = 0; c < width; ++c) {
      const auto& column = columns_[static_cast<std::size_t>(c)];
      if (table_.skipped.contains(column)) continue;
      kept.push_back(c);
      table_.columns.push_back(column);
    }
    table_.values = all.index_select(1, at::tensor(kept, at::kLong)).contiguous();
    table_.whole = whole_.columns(table_);
    return std::move(table_);
  }

 private:
  struct Cell {
    double number = 0;
    const nlohmann::json* value = nullptr;
  };

  static std::string word(const nlohmann::json& value) {
    if (value.is_null()) return {};
    if (value.is_number_float() && !std::isfinite(value.get<double>()))
      return number_text(value.get<double>());  // dump() would say null
    return value.is_string() ? value.get<std::string>() : value.dump();
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCategory::bad_file,
                table_.name + ":" + std::to_string(rows_ + 1) + ": " + what);
  }

  void read(const std::string& key, const nlohmann::json& value,
            std::map<std::string, Cell>& cells) {
    if (value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i)
        read(key + "_" + std::to_string(i), value[i], cells);
      return;
    }
    double number = std::numeric_limits<double>::quiet_NaN();
    if (value.is_number()) {
      number = value.get<double>();
      if (options_.nan == NanPolicy::reject && !std::isfinite(number))
        fail("'" + key + (std::isnan(number) ? "' is missing (NaN)" : "' is infinite"));
      // An unsigned one that has no room among the signed ones stays what float64 makes of it.
      const bool whole = value.is_number_integer() &&
                         (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
      if (whole && std::abs(number) >= kLargestExact)
        whole_.add(key, rows_, value.get<int64_t>(), number);
    } else if (value.is_boolean()) {
      number = value.get<bool>() ? 1 : 0;
    } else if (value.is_null()) {
      if (options_.nan == NanPolicy::reject) fail("'" + key + "' is missing (null)");
    } else {
      const std::string what = "'" + key + "' is " + value.type_name() + ", which is no number";
      if (options_.text == TextPolicy::reject) fail(what);
      table_.skipped.try_emplace(key, table_.name + ":" + std::to_string(rows_ + 1) + ": " + what);
    }
    if (cells.size() >= kMostJsonColumns) fail("more than 10000 columns");
    if (!cells.emplace(key, Cell{number, &value}).second)
      fail("column '" + key + "' is there twice");
  }

  CsvOptions options_;
  CsvTable table_;
  std::vector<std::string> columns_;
  std::vector<double> values_;
  WholeNumbers whole_;
  int64_t rows_ = 0;
};

}  // namespace

CsvTable read_jsonl(const std::filesystem::path& path, const CsvOptions& options) {
  JsonRows rows(path.string(), options);
  for (const auto& line : read_json_lines(path)) rows.add(line);
  return rows.finish();
}

}  // namespace foresight::data
