// SPDX-License-Identifier: Apache-2.0
// What a run recorded, to be compared with another's.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "foresight/train/event_writer.hpp"

namespace foresight::train {

/// All metrics of a run but those of the clock, by "name@step".
inline std::map<std::string, double> metric_curve(const std::filesystem::path& folder) {
  std::map<std::string, double> numbers;
  for (const auto& row : read_metrics(folder / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (!name.ends_with("samples_per_second") && !name.ends_with("data_wait"))
        numbers[name + "@" + std::to_string(row.step)] = value;
  return numbers;
}

}  // namespace foresight::train
