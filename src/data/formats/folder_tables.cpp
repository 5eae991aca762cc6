// SPDX-License-Identifier: Apache-2.0
// The tables of a plain folder: their columns, types and rows.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>

#include "../remarks.hpp"
#include "../tables/column_stem.hpp"
#include "../tables/whole_numbers.hpp"
#include "columnar_dataset.hpp"
#include "episode_files.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/folder_dataset.hpp"
#include "natural_order.hpp"
#include "number_types.hpp"
#include "recorded_splits.hpp"

namespace foresight::data {

// In the order of the table, but the numbers of a vector in theirs: action_10 may stand before
// action_2, where keys were sorted as text. Columns with words count too: an action column with one
// bad cell must be an error, not an action less.
// A column of numbers that is called by the word alone is one where no other is.
std::vector<std::string> FolderDataset::prefixed(const std::string& word) const {
  const CsvTable& table = episodes_.front().table;
  std::vector<std::string> names;
  for (const auto& column : table.columns)
    if (column.starts_with(word + "_")) names.push_back(column);
  for (const auto& [column, reason] : table.skipped)
    if (column.starts_with(word + "_")) names.push_back(column);
  if (names.empty() &&
      std::find(table.columns.begin(), table.columns.end(), word) != table.columns.end())
    names.push_back(word);
  std::map<std::string, std::size_t> vectors;  // by the place of their first column
  for (const auto& column : names) vectors.emplace(column_stem(column), vectors.size());
  std::stable_sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    const auto left = vectors.at(column_stem(a)), right = vectors.at(column_stem(b));
    return left != right ? left < right : numbered_before(a, b);
  });
  return names;
}

Tensor FolderDataset::read_rows(const std::vector<std::string>& columns, int64_t episode,
                                int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  const CsvTable& table = episodes_[static_cast<std::size_t>(episode)].table;
  Tensor rows = at::empty({count, static_cast<int64_t>(columns.size())}, at::kDouble);
  const auto* source = table.values.const_data_ptr<double>();
  auto* target = rows.mutable_data_ptr<double>();
  const int64_t width = table.values.size(1), n = rows.size(1);
  for (int64_t c = 0; c < n; ++c) {
    const int64_t from = table.column(columns[static_cast<std::size_t>(c)]);
    for (int64_t r = 0; r < count; ++r) target[r * n + c] = source[(first + r) * width + from];
  }
  return rows;
}

Tensor FolderDataset::read_stored(const std::vector<std::string>& columns, int64_t episode,
                                  int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  const auto type = stored_type(columns);
  const Tensor values = read_rows(columns, episode, first, count).to(type);
  const auto& whole = episodes_[static_cast<std::size_t>(episode)].table.whole;
  for (std::size_t c = 0; c < columns.size(); ++c)
    if (const auto found = whole.find(columns[c]); type == at::kLong && found != whole.end())
      values.select(1, static_cast<int64_t>(c)).copy_(found->second.narrow(0, first, count));
  return values;
}

std::vector<ColumnGroup> FolderDataset::groups() const {
  auto groups = groups_by_stem(columns_, shapes_);
  for (auto& group : groups) {
    const auto told = [this](const std::string& column) { return names_.contains(column); };
    if (std::none_of(group.columns.begin(), group.columns.end(), told)) continue;
    for (const auto& column : group.columns)
      group.names.push_back(told(column) ? names_.at(column) : column);
  }
  return groups;
}

// Names stand for columns, or for the vectors that groups() makes of them. Those with words in them
// belong to one too: a bad cell must be an error, not a number less.
std::vector<std::string> FolderDataset::columns_of(const std::vector<std::string>& asked) const {
  const CsvTable& table = episodes_.front().table;
  auto all = table.columns;
  for (const auto& [column, reason] : table.skipped) all.push_back(column);
  const auto groups = groups_by_stem(all, shapes_);
  std::vector<std::string> columns;
  for (const auto& name : asked) {
    const auto vector = std::find_if(groups.begin(), groups.end(),
                                     [&](const auto& group) { return group.name == name; });
    if (vector == groups.end())
      columns.push_back(name);
    else
      columns.insert(columns.end(), vector->columns.begin(), vector->columns.end());
  }
  return columns;
}

std::vector<std::string> FolderDataset::remarks() const {
  std::vector<std::string> all;
  if (!unfinished_.empty()) all.push_back(unfinished_);
  for (const auto& episode : episodes_)
    all.insert(all.end(), episode.remarks.begin(), episode.remarks.end());
  all.insert(all.end(), left_out_.begin(), left_out_.end());
  return all;
}

// Columns that some table lacks, or that hold words in some and numbers in others.
void FolderDataset::look_for_left_out() {
  std::set<std::string> others;
  for (const Episode& episode : episodes_) {
    others.insert(episode.table.columns.begin(), episode.table.columns.end());
    for (const auto& [column, reason] : episode.table.skipped) others.insert(column);
  }
  for (const auto& column : columns_) others.erase(column);
  for (const auto& column : text_columns_) others.erase(column);
  std::map<std::string, std::string> skipped;
  for (const auto& column : others) {
    std::string lacking, words, numbers;  // the first such table
    for (const Episode& episode : episodes_) {
      const CsvTable& table = episode.table;
      const bool of_numbers =
          std::find(table.columns.begin(), table.columns.end(), column) != table.columns.end();
      auto& kind = table.skipped.contains(column) ? words : of_numbers ? numbers : lacking;
      if (kind.empty()) kind = table.name;
    }
    skipped[column] = lacking.empty() ? "it holds words in " + words + ", numbers in " + numbers
                                      : "it is not in " + lacking;
  }
  left_out_ = left_out(name_, skipped);
  for (const auto& remark : left_out_) log(LogLevel::warning, remark);
}

std::vector<std::string> FolderDataset::splits() const {
  std::vector<std::string> names;
  for (const auto& [name, episodes] : splits_) names.push_back(name);
  return names;
}

std::vector<int64_t> FolderDataset::episodes_of_split(const std::string& split) const {
  const auto found = splits_.find(split);
  if (found == splits_.end()) return Dataset::episodes_of_split(split);
  std::vector<int64_t> numbers;
  for (const auto& episode : episodes_) numbers.push_back(episode_number(episode.name).value());
  return folder_split(std::filesystem::path(name_) / "dataset.json", split, found->second, numbers);
}

std::map<int64_t, std::string> FolderDataset::unreadable_episodes() const {
  std::map<int64_t, std::string> problems;
  for (std::size_t e = 0; e < episodes_.size(); ++e)
    if (!episodes_[e].problem.empty())
      problems.emplace(static_cast<int64_t>(e), episodes_[e].problem);
  return problems;
}

// Whole numbers everywhere, in a column or group where some are beyond what float64 holds.
bool FolderDataset::is_whole(const std::string& column) const {
  const bool large = std::any_of(episodes_.begin(), episodes_.end(), [&](const Episode& episode) {
    return std::any_of(
        episode.table.whole.begin(), episode.table.whole.end(),
        [&](const auto& one) { return column_stem(one.first) == column_stem(column); });
  });
  return large && std::all_of(episodes_.begin(), episodes_.end(), [&](const Episode& episode) {
           if (episode.table.whole.contains(column)) return true;
           const Tensor values = episode.table.values.select(1, episode.table.column(column));
           return (values == values.trunc()).all().item<bool>() &&
                  values.abs().max().item<double>() < kLargestExact;
         });
}

// From the median step of the column `timestamp`, seconds; 0 where that tells none.
double FolderDataset::rate_of_timestamps() const {
  if (std::find(columns_.begin(), columns_.end(), "timestamp") == columns_.end()) return 0;
  for (const Episode& episode : episodes_) {
    if (episode.length < 2) continue;
    const Tensor times = episode.table.values.select(1, episode.table.column("timestamp"));
    const auto step = at::diff(times).median().item<double>();
    return step > 0 ? std::round(1e6 / step) / 1e6 : 0;  // NaN is not > 0
  }
  return 0;
}

at::ScalarType FolderDataset::column_type(const std::string& column) const {
  const std::lock_guard lock(types_mutex_);
  auto known = types_.find(column);
  if (known == types_.end()) known = types_.emplace(column, found_type(column)).first;
  return known->second;
}

// A type that dataset.json tells must hold the numbers of its column in every table.
void FolderDataset::check_types() const {
  const auto file = (std::filesystem::path(name_) / "dataset.json").string();
  for (const auto& [column, type] : types_) {
    const std::string says = "types: " + column + " = " + number_type_name(type);
    require(std::find(columns_.begin(), columns_.end(), column) != columns_.end(),
            ErrorCategory::bad_file,
            file + ": " + says + " is of no column of numbers. Columns: " + listed_names(columns_));
    if (type == at::kDouble) continue;
    for (const Episode& episode : episodes_) {
      if (type == at::kLong && episode.table.whole.contains(column)) continue;
      const Tensor values = episode.table.values.select(1, episode.table.column(column));
      const Tensor fits =
          type == at::kBool ? (values == 0) | (values == 1)
          : type == at::kFloat
              ? values.isfinite().logical_not() |
                    (values.abs() <= std::numeric_limits<float>::max())
              : (values == values.trunc()) & (values >= -0x1p63) & (values < 0x1p63);
      if (fits.all().item<bool>()) continue;
      const auto row = fits.logical_not().nonzero()[0][0].item<int64_t>();
      throw Error(ErrorCategory::bad_file, episode.table.name + ": row " + std::to_string(row) +
                                               " of column '" + column + "' holds " +
                                               number_text(values[row].item<double>()) + ", but " +
                                               file + " says " + says);
    }
  }
}

// From all its numbers.
at::ScalarType FolderDataset::found_type(const std::string& column) const {
  if (is_whole(column)) return at::kLong;
  for (const Episode& episode : episodes_) {
    const Tensor values = episode.table.values.select(1, episode.table.column(column)).contiguous();
    const auto* value = values.const_data_ptr<double>();
    for (int64_t r = 0; r < values.numel(); ++r) {
      if (std::isnan(value[r])) continue;
      const std::string single = number_text(static_cast<float>(value[r]));
      if (std::strtod(single.c_str(), nullptr) != value[r]) return at::kDouble;
    }
  }
  return at::kFloat;
}

std::vector<std::string> FolderDataset::read_text(const std::string& column, int64_t episode,
                                                  int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  require(
      std::find(text_columns_.begin(), text_columns_.end(), column) != text_columns_.end(),
      ErrorCategory::not_found,
      name_ + ": no column of words '" + column + "'. There are: " + listed_names(text_columns_));
  const auto& words = episodes_[static_cast<std::size_t>(episode)].table.texts.at(column);
  return {words.begin() + first, words.begin() + first + count};
}

}  // namespace foresight::data
