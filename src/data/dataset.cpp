// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/dataset.hpp"

#include "formats/columnar_dataset.hpp"

namespace foresight::data {

int64_t Dataset::total_rows() const {
  int64_t rows = 0;
  for (int64_t e = 0; e < num_episodes(); ++e) rows += length(e);
  return rows;
}

void Dataset::check_rows(int64_t episode, int64_t first, int64_t count) const {
  if (episode < 0 || episode >= num_episodes())
    throw Error(ErrorCategory::invalid_argument, name() + ": episode " + std::to_string(episode) +
                                                     " does not exist, accepted: 0.." +
                                                     std::to_string(num_episodes() - 1));
  const int64_t rows = length(episode);
  if (count < 0 || first < 0 || first > rows || count > rows - first)
    throw Error(ErrorCategory::invalid_argument,
                name() + ": " + episode_name(episode) + " has rows 0.." + std::to_string(rows - 1) +
                    ", asked for " + std::to_string(count) + " from " + std::to_string(first));
}

at::ScalarType Dataset::column_type(const std::string& column) const {
  read_rows({column}, 0, 0, 0);  // an unknown name is an error
  return at::kDouble;
}

std::vector<ColumnGroup> Dataset::groups() const {
  std::vector<ColumnGroup> each;
  for (const auto& column : columns()) each.push_back({column, {column}, {1}});
  return each;
}

Tensor Dataset::read_stored(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                            int64_t count) const {
  return read_rows(columns, episode, first, count).to(stored_type(columns));
}

at::ScalarType Dataset::stored_type(const std::vector<std::string>& columns) const {
  std::vector<at::ScalarType> types;
  for (const auto& column : columns) types.push_back(column_type(column));
  return type_holding(types);
}

at::ScalarType Dataset::type_holding(const std::vector<at::ScalarType>& types) {
  if (types.empty()) return at::kDouble;
  auto type = types.front();
  bool whole = false, floating = false;
  for (const auto own : types) {
    type = at::promote_types(type, own);
    floating = floating || at::isFloatingType(own);
    // What float32 cannot count.
    whole = whole || (at::isIntegralType(own, /*includeBool=*/false) && c10::elementSize(own) > 2);
  }
  return whole && floating ? at::kDouble : type;
}

std::vector<int64_t> Dataset::episodes_of_split(const std::string& split) const {
  throw Error(ErrorCategory::not_found,
              name() + ": has no split '" + split + "'. There are: " + listed_names(splits()));
}

std::vector<std::string> Dataset::read_text(const std::string& column, int64_t, int64_t,
                                            int64_t) const {
  throw Error(ErrorCategory::not_found, name() + ": no column of words '" + column + "'");
}

std::vector<std::string> DatasetOptions::validate() const {
  Rules rules("DatasetOptions");
  rules.nested("video", video.validate());
  rules.check(tail_mismatch >= 0, "tail_mismatch", static_cast<double>(tail_mismatch),
              "must be >= 0");
  rules.within("fps", fps, 0, 100000);
  rules.within("tolerance_s", tolerance_s, 0, 1);
  rules.check(threads >= 0 && threads <= 1024, "threads", static_cast<double>(threads),
              "must be 0..1024");
  return rules.problems();
}

}  // namespace foresight::data
