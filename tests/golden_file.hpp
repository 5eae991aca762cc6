// SPDX-License-Identifier: Apache-2.0
// Reference fixtures as files: where they lie, the settings and tensors that they hold, and the
// tolerance that they give each tensor. Comparing with them is golden.hpp.
//
// Files are looked for in $FORESIGHT_GOLDENS, or tests/data/goldens where that is unset.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/safetensors.hpp"
#include "golden_tolerance.hpp"
#include "test_device.hpp"

namespace foresight {

/// One fixture file. Keys read "inputs/..", "params/..", "outputs/.." (float32 run), "outputs64/.."
/// (float64 run of the same computation), "grads/..", "after_step/..".
class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& file)
      : file_(io::SafeTensors::open(file)),
        name_(file.stem().string()),
        folder_(file.parent_path().filename().string()) {
    const auto& metadata = file_.metadata();
    if (auto it = metadata.find("config"); it != metadata.end()) {
      config_ = nlohmann::json::parse(it->second);
      ordered_config_ = nlohmann::ordered_json::parse(it->second);
    }
    if (auto it = metadata.find("tolerance"); it != metadata.end()) {
      tolerance_ = nlohmann::json::parse(it->second, nullptr, false);
      if (!tolerance_.is_object()) tolerance_ = it->second;
      if (tolerance_.contains("excluded"))
        for (const auto& key : tolerance_["excluded"]) excluded_.insert(key.get<std::string>());
    }
  }

  /// File name without extension, and the name of its folder.
  const std::string& name() const { return name_; }
  const std::string& folder() const { return folder_; }
  /// config.kind, or empty.
  std::string kind() const { return config_.value("kind", std::string()); }
  /// Settings of the reference run. ordered_config() keeps the order in which the file lists the
  /// keys.
  const nlohmann::json& config() const { return config_; }
  const nlohmann::ordered_json& ordered_config() const { return ordered_config_; }
  /// The tolerance entry: an object, or a text where the file has prose.
  const nlohmann::json& tolerance() const { return tolerance_; }
  /// Why the tolerance is as it is, in the file's own words: its rule, or the brackets of its
  /// prose.
  std::string tolerance_reason() const {
    if (tolerance_.is_object())
      return tolerance_.value("basis", tolerance_.value("rule", std::string()));
    const auto prose = tolerance_.is_string() ? tolerance_.get<std::string>() : std::string();
    const auto begin = prose.find('('), end = prose.find(')');
    return begin < end && end != std::string::npos ? prose.substr(begin + 1, end - begin - 1)
                                                   : std::string();
  }
  const io::SafeTensors& file() const { return file_; }
  const std::map<std::string, std::string>& metadata() const { return file_.metadata(); }

  bool has(std::string_view key) const { return file_.has(key); }
  /// The tensor of a full key on the test_device(), as a copy that tests may change. Unknown: Error
  /// with the nearest key.
  Tensor at(std::string_view key) const {
    const auto tensor = file_.at(key);
    return tensor.to(test_device(), tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  Tensor input(std::string_view key) const { return at("inputs/" + std::string(key)); }
  Tensor output(std::string_view key) const { return at("outputs/" + std::string(key)); }
  /// An input as a run in `type` takes it: what is floating converted.
  Tensor input(std::string_view key, at::ScalarType type) const {
    const auto tensor = input(key);
    return tensor.is_floating_point() ? tensor.to(type) : tensor;
  }
  /// What the reference's own run in `type` (kFloat or kDouble) put out.
  Tensor output(std::string_view key, at::ScalarType type) const {
    return type == at::kDouble ? at("outputs64/" + std::string(key)) : output(key);
  }
  Tensor param(std::string_view key) const { return at("params/" + std::string(key)); }

  /// Every tensor of "<section>/..", by the rest of its key: section("params").
  std::map<std::string, Tensor> section(std::string_view section) const {
    std::map<std::string, Tensor> tensors;
    const std::string prefix = std::string(section) + "/";
    for (const auto& key : file_.names())
      if (key.starts_with(prefix)) tensors.emplace(key.substr(prefix.size()), at(key));
    return tensors;
  }

  /// Whether the file says that `key` must not be compared (rounding noise in the reference
  /// itself).
  bool excluded(std::string_view key) const {
    const auto rest = key.substr(key.find('/') + 1);
    return excluded_.contains(std::string(key)) || excluded_.contains(std::string(rest));
  }

  /// The file's tolerance for a full key. The float64 run, where the file says nothing of it, is
  /// held to 1e-9 + 1e-8 relative: far above double rounding, far below any mistake.
  Tolerance tolerance_of(std::string_view key) const {
    const std::string section(key.substr(0, key.find('/')));
    if (tolerance_.is_string()) return tolerance_from_prose(tolerance_.get<std::string>(), section);
    const bool is_double = section.ends_with("64");
    Tolerance chosen = is_double ? Tolerance{1e-9, 1e-8, 0} : Tolerance{};
    const auto read = [&chosen](const nlohmann::json& from) {
      chosen.atol = from.value("atol", chosen.atol);
      chosen.rtol = from.value("rtol", chosen.rtol);
    };
    if (!tolerance_.is_object()) return chosen;
    if (!is_double) read(tolerance_);
    if (auto family = tolerance_.find("per_family");
        family != tolerance_.end() && family->contains(section))
      read(family->at(section));
    if (tolerance_.contains(section)) read(tolerance_.at(section));
    if (auto keys = tolerance_.find("per_key_atol"); keys != tolerance_.end())
      chosen.atol = keys->value(std::string(key), chosen.atol);
    return chosen;
  }

 private:
  io::SafeTensors file_;
  std::string name_, folder_;
  nlohmann::json config_ = nlohmann::json::object();
  nlohmann::ordered_json ordered_config_ = nlohmann::ordered_json::object();
  nlohmann::json tolerance_;
  std::set<std::string> excluded_;
};

/// Folder of the fixtures: $FORESIGHT_GOLDENS or tests/data/goldens.
inline std::filesystem::path goldens_folder() {
  const char* chosen = std::getenv("FORESIGHT_GOLDENS");
  return chosen && *chosen ? chosen : FORESIGHT_TEST_DATA "/goldens";
}

/// A JSON fixture, e.g. golden_json("lewm/lewm_released_keys.json"). Key order is kept.
inline nlohmann::ordered_json golden_json(const std::string& file) {
  return nlohmann::ordered_json::parse(io::read_text(goldens_folder() / file));
}

/// Files of the family "folder/name", in alphabetical order: every file of the folder whose
/// config.kind is `name` or "folder/name"; where there is none, every file called `name` or
/// `name`_<anything>.
inline std::vector<std::filesystem::path> golden_files(const std::string& family) {
  const auto slash = family.find('/');
  const std::string folder = family.substr(0, slash), name = family.substr(slash + 1);
  std::vector<std::filesystem::path> by_kind, by_name;
  const auto root = goldens_folder() / folder;
  if (!std::filesystem::is_directory(root)) return {};
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string kind = GoldenFile(entry.path()).kind(), stem = entry.path().stem().string();
    if (kind == name || kind == family) by_kind.push_back(entry.path());
    if (stem == name || stem.starts_with(name + "_")) by_name.push_back(entry.path());
  }
  auto& files = by_kind.empty() ? by_name : by_kind;
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace foresight
