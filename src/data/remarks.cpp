// SPDX-License-Identifier: Apache-2.0
#include "remarks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "formats/columnar_dataset.hpp"

namespace foresight::data {
namespace {

constexpr const char* kOne = " is left out: ";
constexpr const char* kSeveral = " are left out: ";

// Which columns and why, without the recording; empty: the remark is another.
std::string left_out_part(const std::string& remark) {
  const std::string end = "'";
  const auto words = std::min(remark.find(end + kOne), remark.find(end + kSeveral));
  if (words == std::string::npos) return {};
  const auto names = remark.rfind(": '", words);
  return names == std::string::npos ? std::string() : remark.substr(names + 2);
}

}  // namespace

std::vector<std::string> left_out(const std::string& recording,
                                  const std::map<std::string, std::string>& skipped) {
  std::map<std::string, std::vector<std::string>> columns;  // by why they are not read
  for (const auto& [name, why] : skipped) columns[why].push_back("'" + name + "'");
  std::vector<std::string> remarks;
  for (const auto& [why, names] : columns)
    remarks.push_back(recording + ": " + listed_names(names) +
                      (names.size() > 1 ? kSeveral : kOne) + why);
  return remarks;
}

std::vector<std::string> shown_remarks(const std::vector<std::string>& remarks) {
  constexpr std::size_t kShown = 3;
  struct Shared {
    std::string part, first;
    int64_t others = 0;
  };
  std::vector<std::string> shown;
  std::vector<Shared> columns;
  std::size_t more = 0;
  for (const auto& remark : remarks) {
    const auto part = left_out_part(remark);
    const auto known = std::find_if(columns.begin(), columns.end(),
                                    [&](const auto& shared) { return shared.part == part; });
    if (known != columns.end())
      ++known->others;
    else if (!part.empty())
      columns.push_back({part, remark});
    else if (shown.size() < kShown)
      shown.push_back(remark);
    else
      ++more;
  }
  for (std::size_t i = 0; i < std::min(kShown, columns.size()); ++i)
    shown.push_back(columns[i].first + (columns[i].others == 0
                                            ? std::string()
                                            : fmt::format("; so in {} more", columns[i].others)));
  more += columns.size() - std::min(kShown, columns.size());
  if (more > 0) shown.push_back(fmt::format("{} more remark(s) of the reader, see the log", more));
  return shown;
}

}  // namespace foresight::data
