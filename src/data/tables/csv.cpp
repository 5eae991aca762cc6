// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/csv.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "foresight/io/files.hpp"
#include "whole_numbers.hpp"

namespace foresight::data {
namespace {

constexpr std::size_t kMaxColumns = 10000;

std::string shown(std::string_view cell) {
  std::string text;
  for (char c : cell.substr(0, 40)) text += (c >= ' ' && c < 127) ? c : '?';
  return "'" + text + (cell.size() > 40 ? "...'" : "'");
}

std::string_view trimmed(std::string_view cell) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!cell.empty() && blank(cell.front())) cell.remove_prefix(1);
  while (!cell.empty() && blank(cell.back())) cell.remove_suffix(1);
  return cell;
}

bool is_nan_text(std::string_view cell) {
  if (cell.empty()) return true;
  if (cell.size() != 3) return false;
  const auto lower = [](char c) { return static_cast<char>(c | 0x20); };
  return lower(cell[0]) == 'n' && lower(cell[1]) == 'a' && lower(cell[2]) == 'n';
}

// from_chars takes no plus.
std::string_view without_plus(std::string_view cell) {
  return cell.size() > 1 && cell[0] == '+' && cell[1] != '-' ? cell.substr(1) : cell;
}

// Finite decimal numbers only; from_chars would also take "inf" and "nan(...)".
std::optional<double> parse_number(std::string_view cell) {
  cell = without_plus(cell);
  if (cell.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto [end, code] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (code == std::errc::result_out_of_range) {
    // Underflow to zero is a number, overflow is not; from_chars does not say which.
    value = std::strtod(std::string(cell).c_str(), nullptr);
    return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
  }
  if (code != std::errc() || end != cell.data() + cell.size()) return std::nullopt;
  return value;
}

// What number_text(), Python and numpy write of an infinite one, "inf" or "Infinity", in any case.
std::optional<double> parse_infinity(std::string_view cell) {
  const bool negative = cell.starts_with('-');
  if (negative || cell.starts_with('+')) cell.remove_prefix(1);
  std::string word(cell.substr(0, 9));
  for (auto& c : word) c = static_cast<char>(c | 0x20);
  if (word != "inf" && word != "infinity") return std::nullopt;
  const double infinity = std::numeric_limits<double>::infinity();
  return negative ? -infinity : infinity;
}

// Cuts the text into lines and the lines into cells, and knows where it is.
class Parser {
 public:
  Parser(std::string_view text, std::string name, const CsvOptions& options)
      : text_(text), options_(options) {
    table_.name = std::move(name);
    if (text_.starts_with("\xEF\xBB\xBF"))
      text_.remove_prefix(3);  // byte order mark of some editors
    whole_ = text_;
  }

  CsvTable run() {
    require(!text_.empty(), ErrorCategory::bad_file,
            table_.name + ": is empty, expected a header line and one line a row");
    next_line();
    header();
    while (next_line()) row();
    if (!table_.skipped.empty()) keep_words();
    return finish();
  }

 private:
  [[noreturn]] void fail(std::size_t column, const std::string& what) const {
    throw Error(ErrorCategory::bad_file, table_.name + ":" + std::to_string(line_number_) + ":" +
                                             std::to_string(column + 1) + ": " + what);
  }

  bool next_line() {
    if (text_.empty()) return false;
    const auto end = text_.find('\n');
    line_ = text_.substr(0, end);
    text_.remove_prefix(end == std::string_view::npos ? text_.size() : end + 1);
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    ++line_number_;
    if (line_.find('\r') != std::string_view::npos) fail(0, "a carriage return inside the line");
    if (line_.find('"') != std::string_view::npos)
      fail(
          static_cast<std::size_t>(std::count(line_.begin(), line_.begin() + line_.find('"'), ',')),
          "quotes are not supported, expected plain numbers separated by commas");
    if (line_.find('\0') != std::string_view::npos) fail(0, "a zero byte inside the line");
    cells();
    return true;
  }

  void cells() {
    cells_.clear();
    std::string_view rest = line_;
    for (;;) {
      const auto comma = rest.find(',');
      cells_.push_back(trimmed(rest.substr(0, comma)));
      if (comma == std::string_view::npos) return;
      if (cells_.size() >= kMaxColumns) fail(cells_.size(), "more than 10000 columns");
      rest.remove_prefix(comma + 1);
    }
  }

  void header() {
    for (std::size_t c = 0; c < cells_.size(); ++c) {
      const std::string column(cells_[c]);
      if (column.empty()) fail(c, "column without a name");
      if (parse_number(cells_[c]))
        fail(c, "column name " + shown(cells_[c]) + " is a number: the header line is missing");
      if (std::find(names_.begin(), names_.end(), column) != names_.end())
        fail(c, "column name " + shown(cells_[c]) + " occurs twice");
      names_.push_back(column);
    }
    // Spreadsheets of some countries separate by semicolons, as their numbers have commas.
    const auto other = names_.size() == 1 ? names_.front().find_first_of(";\t") : std::string::npos;
    if (other != std::string::npos)
      fail(0, "the header has one column, whose name " + shown(names_.front()) + " holds a " +
                  (names_.front()[other] == ';' ? "';'" : "tab") +
                  ": columns are separated by commas, and numbers have points");
  }

  void row() {
    if (cells_.size() != names_.size())
      fail(std::min(cells_.size(), names_.size()) - 1,
           line_.empty() ? "empty line"
                         : std::to_string(cells_.size()) + " cells, expected " +
                               std::to_string(names_.size()) + " as in the header");
    for (std::size_t c = 0; c < cells_.size(); ++c) values_.push_back(value(c));
  }

  double value(std::size_t c) {
    const std::string_view cell = cells_[c];
    if (const auto number = parse_number(cell)) {
      if (std::abs(*number) >= kLargestExact) keep_whole(c, cell, *number);
      return *number;
    }
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    const bool missing = is_nan_text(cell);
    if (options_.nan == NanPolicy::accept) {
      if (missing) return kNan;
      if (const auto infinite = parse_infinity(cell)) return *infinite;
    }
    const std::string what = "column '" + names_[c] + "' holds " + shown(cell) +
                             (missing ? ", a missing value, where a number is required"
                                      : ", which is not a finite number");
    if (missing || options_.text == TextPolicy::reject) fail(c, what);
    table_.skipped.try_emplace(names_[c], table_.name + ":" + std::to_string(line_number_) + ":" +
                                              std::to_string(c + 1) + ": " + what);
    return kNan;
  }

  void keep_whole(std::size_t c, std::string_view cell, double number) {
    cell = without_plus(cell);
    int64_t whole = 0;
    const auto [end, code] = std::from_chars(cell.data(), cell.data() + cell.size(), whole);
    if (code == std::errc() && end == cell.data() + cell.size())
      whole_numbers_.add(names_[c], static_cast<int64_t>(values_.size() / names_.size()), whole,
                         number);
  }

  // Goes through the text again: only now is it known which columns hold words.
  void keep_words() {
    text_ = whole_;
    next_line();
    while (next_line())
      for (std::size_t c = 0; c < cells_.size(); ++c)
        if (table_.skipped.contains(names_[c])) table_.texts[names_[c]].emplace_back(cells_[c]);
  }

  CsvTable finish() {
    const auto columns = static_cast<int64_t>(names_.size());
    const auto rows = static_cast<int64_t>(values_.size()) / columns;
    Tensor all = at::empty({rows, columns}, at::kDouble);
    std::copy(values_.begin(), values_.end(), all.mutable_data_ptr<double>());
    std::vector<int64_t> kept;
    for (int64_t c = 0; c < columns; ++c) {
      const std::string& column = names_[static_cast<std::size_t>(c)];
      if (table_.skipped.contains(column)) continue;
      kept.push_back(c);
      table_.columns.push_back(column);
    }
    table_.values = table_.skipped.empty() ? all : all.index_select(1, at::tensor(kept, at::kLong));
    table_.whole = whole_numbers_.columns(table_);
    return std::move(table_);
  }

  std::string_view text_, whole_, line_;
  CsvOptions options_;
  std::size_t line_number_ = 0;
  std::vector<std::string_view> cells_;
  std::vector<std::string> names_;
  std::vector<double> values_;
  WholeNumbers whole_numbers_;
  CsvTable table_;
};

}  // namespace

int64_t CsvTable::column(std::string_view wanted) const {
  const auto found = std::find(columns.begin(), columns.end(), wanted);
  if (found != columns.end()) return found - columns.begin();
  const std::string column(wanted);
  if (auto it = skipped.find(column); it != skipped.end())
    throw Error(ErrorCategory::bad_file, it->second);
  std::string known;
  for (const auto& name_of : columns) known += (known.empty() ? "" : ", ") + name_of;
  if (known.empty()) known = "none of numbers";
  const std::string nearest = nearest_name(wanted, columns);
  throw Error(ErrorCategory::not_found,
              name + ": no column '" + column + "'" +
                  (nearest.empty() ? "." : ", did you mean '" + nearest + "'?") +
                  " Columns: " + known);
}

CsvTable parse_csv(std::string_view text, const std::string& name, const CsvOptions& options) {
  return Parser(text, name, options).run();
}

CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options) {
  return parse_csv(io::read_text(path, std::uint64_t{1} << 30), path.string(), options);
}

namespace {
template <class Real>
std::string shortest_text(Real value) {
  if (std::isnan(value)) return "nan";
  char text[32];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return std::string(text, result.ptr);
}
}  // namespace

std::string number_text(double value) { return shortest_text(value); }
std::string number_text(float value) { return shortest_text(value); }

}  // namespace foresight::data
