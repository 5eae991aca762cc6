// SPDX-License-Identifier: Apache-2.0
// What a probe reads, in one line.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "foresight/models/attentive_probe.hpp"

namespace foresight::cli {

/// "probe: 174 classes (Approaching something, ..., 171 more), 4 blocks of 16 heads"
inline std::string described(const models::AttentiveProbeOptions& probe) {
  constexpr int64_t kNamed = 5;
  std::string names;
  for (int64_t i = 0; i < std::min(kNamed, probe.outputs) && !probe.names.empty(); ++i)
    names += (i > 0 ? ", " : " (") + probe.name_of(i);
  if (!names.empty())
    names += probe.outputs > kNamed ? fmt::format(", {} more)", probe.outputs - kNamed) : ")";
  return fmt::format("probe: {} {}{}, {} block(s) of {} heads", probe.outputs,
                     enum_name(probe.reading), names, probe.pooler.self_attention + 1,
                     probe.pooler.heads);
}

}  // namespace foresight::cli
