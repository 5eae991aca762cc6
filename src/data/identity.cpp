// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/identity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "foresight/core/fnv1a.hpp"
#include "foresight/core/options_json.hpp"

namespace foresight::data {
namespace {

// Numbers of one episode that a fingerprint looks at.
constexpr int64_t kMostRows = 1000;

std::string fingerprint_of(const Dataset& dataset, const std::vector<std::string>& columns) {
  const auto count = dataset.num_episodes();
  Fnv1a hash;
  for (int64_t e = 0; e < count; ++e) hash.add(dataset.length(e));
  if (!columns.empty())
    for (const auto e : std::set<int64_t>{0, count / 2, count - 1}) {
      const auto rows =
          dataset.read_rows(columns, e, 0, std::min(kMostRows, dataset.length(e))).contiguous();
      hash.add(rows.const_data_ptr<double>(),
               static_cast<std::size_t>(rows.numel()) * sizeof(double));
    }
  return fmt::format("{:016x}", hash.value());
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

DataIdentity identity_of(const Dataset& dataset, std::vector<std::string> actions,
                         std::vector<std::string> observed) {
  DataIdentity identity;
  identity.data = dataset.name();
  identity.camera = dataset.camera();
  identity.episodes = dataset.num_episodes();
  identity.frames = dataset.total_rows();
  identity.fingerprint = fingerprint_of(dataset, joined(actions, observed));
  identity.action_columns = std::move(actions);
  identity.observed_columns = std::move(observed);
  return identity;
}

DataIdentity identity_told(const nlohmann::json& object) {
  DataIdentity identity;
  auto known = nlohmann::json::object();
  DataIdentity::fields(identity, [&](const char* name, const auto&, const char*) {
    if (object.contains(name)) known[name] = object[name];
  });
  read_options(identity, known, "recordings");
  return identity;
}

std::vector<std::string> differences(const DataIdentity& now, const DataIdentity& then) {
  const auto here = write_options(now), there = write_options(then),
             unknown = write_options(DataIdentity());
  std::vector<std::string> found;
  for (const auto& [name, value] : here.items()) {
    const auto& old = there[name];
    const bool known = value != unknown[name] && old != unknown[name];
    if (known && value != old && name != "data")
      found.push_back(fmt::format("{}: {} here, {} then", name, value.dump(), old.dump()));
  }
  return found;
}

bool same_place(const std::string& a, const std::string& b) {
  const auto place = [](const std::string& path) {
    std::error_code none;  // no such place: as it is spelled
    const auto found = std::filesystem::weakly_canonical(path, none);
    return (none ? std::filesystem::path(path) : found / "").lexically_normal();
  };
  return a == b || place(a) == place(b);
}

bool holds(const Dataset& dataset, const DataIdentity& then) {
  if (then.episodes != dataset.num_episodes()) return false;
  if (then.fingerprint.empty())
    return same_place(then.data, dataset.name()) &&
           (then.frames == 0 || then.frames == dataset.total_rows());
  const auto columns = joined(then.action_columns, then.observed_columns);
  const auto& there = dataset.columns();
  const bool named = std::all_of(columns.begin(), columns.end(), [&](const auto& column) {
    return std::find(there.begin(), there.end(), column) != there.end();
  });
  return named && fingerprint_of(dataset, columns) == then.fingerprint;
}

}  // namespace foresight::data
