// SPDX-License-Identifier: Apache-2.0
// What readers remark of columns that they leave out, and which remarks an inspection shows.
// Private to the data folder.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace foresight::data {

/// What is remarked of columns that are left out (column -> why): one remark for all of one reason.
std::vector<std::string> left_out(const std::string& recording,
                                  const std::map<std::string, std::string>& skipped);

/// The first three remarks, and behind them the first three of columns that are left out, those
/// that files of a set share as one: they may be many, and hide no damage. A last line counts the
/// others, which were logged.
std::vector<std::string> shown_remarks(const std::vector<std::string>& remarks);

}  // namespace foresight::data
