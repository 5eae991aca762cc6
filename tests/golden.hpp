// SPDX-License-Identifier: Apache-2.0
// Reference fixtures: tensors that another implementation computed, with the settings that produced
// them and the tolerance that they deserve. A parity test names a family and is run once for every
// file of it, so a new file is a new test case without new code.
//
//   TEST_CASE("rollout equals the reference") {
//     for_each_golden("lewm/lewm_rollout", [](Golden& golden) {
//       Model model(golden.config().at("model"));
//       golden.compare("h1_predicted_emb", model.rollout(golden.input("h1_pixels")));
//     });
//   }
//
// Files are looked for in $FORESIGHT_GOLDENS, or tests/data/goldens where that is unset. Where
// $FORESIGHT_PARITY_OUT names a file, every comparison is appended to it as one line of JSON: what
// was compared, the largest differences, the tolerance.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "foresight/core/tensor.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/safetensors.hpp"
#include "golden_tolerance.hpp"
#include "test_device.hpp"

namespace foresight {

/// What networks are compared in. A module that is converted in this order loses no weight's digits
/// that a later run needs.
inline constexpr std::array kNetworkTypes{at::kFloat, at::kDouble, at::kBFloat16};

/// One fixture file. Keys read "inputs/..", "params/..", "outputs/.." (float32 run), "outputs64/.."
/// (float64 run of the same computation), "grads/..", "after_step/..".
class Golden {
 public:
  explicit Golden(const std::filesystem::path& file)
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

  /// File name without extension.
  const std::string& name() const { return name_; }
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

  /// CHECKs that `actual` equals the tensor of `key` within the file's tolerance: same shape,
  /// integers exactly, NaN where the reference has NaN. A key without a section means
  /// "outputs64/.." for a float64 tensor where the file has one, else "outputs/..". Keys that the
  /// file excludes are not compared.
  void compare(std::string_view key, const Tensor& actual) { compare(key, actual, Tensor()); }

  /// As compare(), only where `where` (bool, same shape) is true.
  void compare_where(std::string_view key, const Tensor& actual, const Tensor& where) {
    compare(key, actual, where);
  }

  /// As compare(), with a tolerance of the caller's own.
  void compare_within(std::string_view key, const Tensor& actual, const Tolerance& tolerance) {
    compare(key, actual, Tensor(), &tolerance);
  }

  /// As compare(), of networks that resample their positions in float32 whatever they compute in:
  /// on a device whose float32 rounds otherwise, a float64 run is held to 1e-6.
  void compare_resampled(std::string_view key, const Tensor& actual) {
    if (on_cpu() || actual.scalar_type() != at::kDouble)
      compare(key, actual);
    else
      compare_within(key, actual, {1e-6, 1e-6, 0});
  }

  /// Compares what was computed in bfloat16 with the reference's float64 run, or its float32 run
  /// where that is all there is, within bfloat16_tolerance(), where `where` (bool, same shape;
  /// undefined: everywhere) is true. A full key ("grads/..") is taken as it is. Counts as no
  /// compare() of the key.
  void compare_bfloat16(std::string_view key, const Tensor& actual, int64_t roundings,
                        const Tensor& where = {}) {
    compare_with_wide(key, actual, bfloat16_tolerance(roundings), nullptr, where);
  }

  /// Compares a network's result with the reference's run in the same precision, as `actual`'s type
  /// tells: outputs/key in float32, outputs64/key in float64, and compare_bfloat16(). A key that
  /// the file lacks there is left out, so that a test ends by demanding that none is uncompared().
  /// `roundings` are of bfloat16 alone. What has no precision (indices) is outputs/key of every
  /// run.
  void compare_run(const std::string& key, const Tensor& actual, int64_t roundings = 0,
                   const Tensor& where = {}) {
    const auto narrow = "outputs/" + key, wide = "outputs64/" + key;
    const bool is_bfloat16 = actual.scalar_type() == at::kBFloat16;
    const auto& own = actual.scalar_type() == at::kDouble ? wide : narrow;
    if (is_bfloat16 && (file_.has(narrow) || file_.has(wide)))
      compare_bfloat16(key, actual, roundings, where);
    else if (!is_bfloat16 && file_.has(own))
      compare(own, actual, where);
  }

  /// Where the reference's gradient "grads/.." is so much more than what bfloat16 may lose of it
  /// that the sign, by which AdamW's first step goes, must be right.
  Tensor sign_is_sure(std::string_view key, int64_t roundings) const {
    const auto size = at(key).abs();
    return size.gt(2 * bfloat16_tolerance(roundings).of_max * size.max() + 1e-6);
  }

  /// The same for what was computed in fixed point, within fixed_point_tolerance().
  void compare_fixed_point(std::string_view key, const Tensor& actual, int64_t roundings) {
    compare_with_wide(key, actual, fixed_point_tolerance(roundings), "fixed16");
  }

  /// As compare() of what was computed in float32 with packed weights, a row of its own.
  void compare_packed(std::string_view key, const Tensor& actual) {
    compare(key, actual, Tensor(), nullptr, "packed");
  }

  /// Compares a statistic of our own random draws with the reference's of its draws, where `where`
  /// (bool, same shape; undefined: everywhere) is true. `atol`: what two samples may differ by.
  void compare_sampled(std::string_view key, const Tensor& actual, double atol,
                       const Tensor& where = {}) {
    const Tolerance tolerance{atol, 0, 0};
    compare(key, actual, where, &tolerance, "sampled");
  }

  /// As compare(), of drawn pictures of bytes: exp may differ in its last bit, so that a grey level
  /// may be one off. Only where `where` (bool, same shape; undefined: everywhere) is true.
  void compare_pictures(std::string_view key, const Tensor& actual, const Tensor& where = {}) {
    const Tolerance tolerance{1, 0, 0};
    compare(key, actual, where, &tolerance, "pictures");
  }

  /// Keys of "<section>/.." that no compare() has seen, so that a test can demand that it missed
  /// none.
  std::vector<std::string> uncompared(std::string_view section = "outputs") const {
    std::vector<std::string> keys;
    for (const auto& key : file_.names())
      if (key.starts_with(std::string(section) + "/") && !compared_.contains(key) && !excluded(key))
        keys.push_back(key);
    return keys;
  }

 private:
  static constexpr double kBeyond = 1e6;

  void compare_with_wide(std::string_view key, const Tensor& actual, const Tolerance& tolerance,
                         const char* computed_in = nullptr, const Tensor& where = {}) {
    const auto wide = "outputs64/" + std::string(key);
    const auto seen = compared_;
    compare(file_.has(wide) ? wide : full_key(key, actual), actual, where, &tolerance, computed_in);
    compared_ = seen;
  }

  std::string full_key(std::string_view key, const Tensor& actual) const {
    if (file_.has(key)) return std::string(key);
    const bool is_double = actual.defined() && actual.scalar_type() == at::kDouble;
    if (const auto wide = "outputs64/" + std::string(key); is_double && file_.has(wide))
      return wide;
    if (const auto plain = "outputs/" + std::string(key); file_.has(plain)) return plain;
    if (const auto wide = "outputs64/" + std::string(key); file_.has(wide)) return wide;
    return std::string(key);
  }

  void compare(std::string_view short_key, const Tensor& actual, const Tensor& where,
               const Tolerance* own = nullptr, const char* computed_in = nullptr) {
    const std::string key = full_key(short_key, actual);
    INFO("fixture " << name_ << ", key " << key);
    if (!file_.has(key)) {
      FAIL_CHECK("the fixture has no such key");
      return;
    }
    compared_.insert(key);
    if (excluded(key)) return;
    const Tensor expected = file_.at(key);
    if (!actual.defined()) {
      FAIL_CHECK("the tensor to compare is undefined");
      return;
    }
    if (actual.sizes() != expected.sizes()) {
      FAIL_CHECK("shape " << shape_string(actual.sizes()) << ", expected "
                          << shape_string(expected.sizes()));
      return;
    }
    const Tensor mask = where.defined() ? where.to(at::kCPU) : at::ones({}, at::kBool);
    if (!computed_in && !at::isFloatingType(expected.scalar_type()) &&
        !at::isComplexType(expected.scalar_type())) {
      const bool both = at::isIntegralType(actual.scalar_type(), /*includeBool=*/true);
      const auto wide = both ? at::kLong : at::kDouble;  // int64 does not fit a double
      const Tensor integers = actual.detach().to(at::kCPU, wide), right = expected.to(wide);
      const auto wrong = integers.ne(right).logical_and(mask).sum().item<int64_t>();
      record(key, "integers", integers.to(at::kDouble), right.to(at::kDouble), mask, {}, {});
      INFO(wrong << " of " << expected.numel() << " integers differ");
      CHECK(wrong == 0);
      return;
    }
    const auto tolerance = own ? *own : tolerance_of(key);
    const auto computed = actual.detach().to(at::kCPU, at::kDouble);
    const bool of_file = own == nullptr && !key.starts_with("outputs64/");
    record(key, computed_in ? computed_in : c10::toString(actual.scalar_type()), computed,
           expected.to(at::kDouble), mask, tolerance, of_file ? tolerance_reason() : std::string());
    compare_real(computed, expected.to(at::kDouble), mask, tolerance);
  }

  // Appends the differences to $FORESIGHT_PARITY_OUT. max_rel is relative to the largest value of
  // the tensor; of_tolerance is the largest share of the tolerance that an element used, kBeyond
  // where none is allowed; reason is the file's for its tolerance, empty where the test chose one.
  void record(const std::string& key, const char* dtype, const Tensor& actual,
              const Tensor& expected, const Tensor& mask, const Tolerance& tolerance,
              const std::string& reason) const {
    const char* path = std::getenv("FORESIGHT_PARITY_OUT");
    if (!path || !*path || expected.numel() == 0) return;
    const auto counts = mask.logical_and(expected.isfinite());
    const auto error = at::where(counts, actual - expected, at::zeros({}, at::kDouble)).abs();
    const auto size = at::where(counts, expected, at::zeros({}, at::kDouble)).abs();
    const double max_abs = error.max().item<double>(), largest = size.max().item<double>();
    const auto allowed = tolerance.atol + tolerance.rtol * size + tolerance.of_max * largest;
    const nlohmann::ordered_json line{
        {"folder", folder_},
        {"fixture", name_},
        {"kind", kind()},
        {"key", key},
        {"dtype", dtype},
        {"elements", expected.numel()},
        {"largest", largest},
        {"max_abs", max_abs},
        {"max_rel", largest > 0 ? max_abs / largest : 0.0},
        {"atol", tolerance.atol},
        {"rtol", tolerance.rtol},
        {"of_max", tolerance.of_max},
        {"of_tolerance", (error / allowed).nan_to_num(0.0, kBeyond).max().item<double>()},
        {"reason", reason}};
    std::ofstream(path, std::ios::app) << line.dump() + "\n";
  }

  void compare_real(const Tensor& actual, const Tensor& expected, const Tensor& mask,
                    const Tolerance& tolerance) {
    if (expected.numel() == 0) return;
    const Tensor finite = expected.isfinite();
    const double largest =
        finite.any().item<bool>() ? expected.masked_select(finite).abs().max().item<double>() : 0.0;
    const Tensor error = (actual - expected).abs();
    const Tensor allowed =
        tolerance.atol + tolerance.rtol * expected.abs() + tolerance.of_max * largest;
    const Tensor same =
        actual.eq(expected).logical_or(actual.isnan().logical_and(expected.isnan()));
    // Written so that a NaN on one side only counts as wrong.
    const Tensor wrong =
        error.le(allowed).logical_and(finite).logical_or(same).logical_not().logical_and(mask);
    const auto count = wrong.sum().item<int64_t>();
    const Tensor shown =
        at::where(wrong, error, at::zeros_like(error)).nan_to_num(INFINITY).flatten();
    const auto worst = shown.argmax().item<int64_t>();
    INFO(count << " of " << expected.numel() << " elements differ; max abs error "
               << shown[worst].item<double>() << " at flat index " << worst << ": "
               << actual.flatten()[worst].item<double>() << ", expected "
               << expected.flatten()[worst].item<double>() << "; atol " << tolerance.atol
               << ", rtol " << tolerance.rtol << ", of the largest value " << tolerance.of_max);
    CHECK(count == 0);
  }

  io::SafeTensors file_;
  std::string name_, folder_;
  nlohmann::json config_ = nlohmann::json::object();
  nlohmann::ordered_json ordered_config_ = nlohmann::ordered_json::object();
  nlohmann::json tolerance_;
  std::set<std::string> excluded_;
  std::set<std::string> compared_;
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
    const std::string kind = Golden(entry.path()).kind(), stem = entry.path().stem().string();
    if (kind == name || kind == family) by_kind.push_back(entry.path());
    if (stem == name || stem.starts_with(name + "_")) by_name.push_back(entry.path());
  }
  auto& files = by_kind.empty() ? by_name : by_kind;
  std::sort(files.begin(), files.end());
  return files;
}

/// Calls `test` once for every file of a family (see golden_files()); fails the test case if there
/// is none.
inline void for_each_golden(const std::string& family, const std::function<void(Golden&)>& test) {
  const auto files = golden_files(family);
  INFO("fixture family " << family << " in " << goldens_folder());
  REQUIRE_FALSE(files.empty());
  for (const auto& file : files) {
    INFO("fixture " << file.filename().string());
    Golden golden(file);
    test(golden);
  }
}

}  // namespace foresight
