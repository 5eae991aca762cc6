// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/identity.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "foresight/core/fnv1a.hpp"
#include "foresight/core/options_json.hpp"
#include "tables/column_stem.hpp"

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

constexpr std::string_view kPicturesVersion = "2:";
constexpr int64_t kMostParts = 32;

// Part p of `parts` are episodes p * count / parts .. (p + 1) * count / parts - 1.
int64_t parts_of(int64_t episodes) { return std::min(kMostParts, episodes); }

// 32 bits of what is known of the pictures of episodes first..end-1.
std::string part_of_pictures(const Dataset& dataset, int64_t first, int64_t end) {
  Fnv1a hash;
  bool known = dataset.identify_pictures(first, PictureEvidence::bytes, hash);
  for (int64_t e = first + 1; known && e < end; ++e)
    known = dataset.identify_pictures(e, PictureEvidence::sizes, hash);
  return known ? fmt::format("{:08x}", (hash.value() ^ (hash.value() >> 32)) & 0xFFFFFFFFU) : "-";
}

std::string pictures_of(const Dataset& dataset) {
  const auto count = dataset.num_episodes(), parts = parts_of(count);
  std::string text(kPicturesVersion);
  bool any = false;
  for (int64_t p = 0; p < parts; ++p) {
    const auto part = part_of_pictures(dataset, p * count / parts, (p + 1) * count / parts);
    any = any || part != "-";
    text += (p > 0 ? "," : "") + part;
  }
  return any ? text : "";
}

// Nothing where it was made in another way.
std::vector<std::string> parts_told(const std::string& pictures) {
  std::vector<std::string> parts;
  if (!pictures.starts_with(kPicturesVersion)) return parts;
  for (std::size_t from = kPicturesVersion.size(); from <= pictures.size();) {
    const auto comma = std::min(pictures.find(',', from), pictures.size());
    parts.push_back(pictures.substr(from, comma - from));
    from = comma + 1;
  }
  return parts;
}

// What tells pictures of one camera apart, "episodes 0..4, 8"; empty: nothing that both know.
std::string other_pictures(const DataIdentity& now, const DataIdentity& then) {
  const auto here = parts_told(now.pictures), there = parts_told(then.pictures);
  std::string found;
  if (now.camera != then.camera || now.episodes != then.episodes || here.size() != there.size())
    return found;
  const auto parts = std::ssize(here);
  for (int64_t p = 0; p < parts; ++p) {
    const auto& a = here[static_cast<std::size_t>(p)];
    const auto& b = there[static_cast<std::size_t>(p)];
    if (a == b || a == "-" || b == "-") continue;
    const auto first = p * now.episodes / parts, last = (p + 1) * now.episodes / parts - 1;
    found += found.empty() ? "episodes " : ", ";
    found += first == last ? fmt::format("{}", first) : fmt::format("{}..{}", first, last);
  }
  return found;
}

// JSON tells names in UTF-8 alone.
void require_utf8(const Dataset& dataset, const char* what, const std::string& name) {
  try {
    static_cast<void>(nlohmann::json(name).dump());
  } catch (const nlohmann::json::type_error&) {
    std::string shown;
    for (const char c : name) {
      const auto byte = static_cast<unsigned char>(c);
      shown += byte >= 0x20 && byte < 0x7F ? std::string(1, c) : fmt::format("\\x{:02X}", byte);
    }
    throw Error(ErrorCategory::bad_file,
                fmt::format("{}: the name of {} '{}' is not UTF-8, in which runs and bundles tell "
                            "it: save its tables as UTF-8, or rename it",
                            dataset.name(), what, shown));
  }
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

DataIdentity identity_of(const Dataset& dataset, std::vector<std::string> actions,
                         std::vector<std::string> observed) {
  for (const auto& column : actions) require_utf8(dataset, "action column", column);
  for (const auto& column : observed) require_utf8(dataset, "state column", column);
  require_utf8(dataset, "camera", dataset.camera());
  DataIdentity identity;
  identity.data = dataset.name();
  identity.camera = dataset.camera();
  identity.episodes = dataset.num_episodes();
  identity.frames = dataset.total_rows();
  identity.fingerprint = fingerprint_of(dataset, joined(actions, observed));
  identity.pictures = pictures_of(dataset);
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
    if (known && value != old && name != "data" && name != "pictures")
      found.push_back(fmt::format("{}: {} here, {} then", name, value.dump(), old.dump()));
  }
  if (const auto others = other_pictures(now, then); !others.empty())
    found.push_back(fmt::format("pictures: those of {} are others here than then", others));
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
  if (!named || fingerprint_of(dataset, columns) != then.fingerprint) return false;
  if (!columns.empty()) return true;
  return other_pictures({.camera = dataset.camera(),
                         .episodes = dataset.num_episodes(),
                         .pictures = pictures_of(dataset)},
                        then)
      .empty();
}

std::string unnumbered_order(const std::vector<std::string>& columns) {
  std::map<std::string, std::string> last;  // of a vector
  for (const auto& column : columns) {
    auto& before = last[column_stem(column)];
    if (!before.empty() && numbered_before(column, before))
      return fmt::format(
          "columns are in the order {}, as earlier versions read them, not in that "
          "of their numbers",
          fmt::join(columns, ", "));
    before = column;
  }
  return {};
}

}  // namespace foresight::data
