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
// Where $FORESIGHT_PARITY_OUT names a file, every comparison is appended to it as one line of JSON:
// what was compared, the largest differences, the tolerance. Files and their tolerances are
// golden_file.hpp.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "foresight/core/tensor.hpp"
#include "golden_file.hpp"
#include "golden_tolerance.hpp"
#include "test_device.hpp"

namespace foresight {

/// What networks are compared in. A module that is converted in this order loses no weight's digits
/// that a later run needs.
inline constexpr std::array kNetworkTypes{at::kFloat, at::kDouble, at::kBFloat16};

/// A fixture file, with the comparisons that a test makes with it.
class Golden : public GoldenFile {
 public:
  using GoldenFile::GoldenFile;

  /// CHECKs that `actual` equals the tensor of `key` within the file's tolerance: same shape,
  /// integers exactly, NaN where the reference has NaN. A key without a section means
  /// "outputs64/.." for a float64 tensor where the file has one, else "outputs/..". Keys that the
  /// file excludes are not compared.
  void compare(std::string_view key, const Tensor& actual) { compare(key, actual, Tensor()); }

  /// As compare(), only where `where` (bool, same shape) is true.
  void compare_where(std::string_view key, const Tensor& actual, const Tensor& where) {
    compare(key, actual, where);
  }

  /// As compare_where(), with a tolerance of the caller's own. `reason`: why it is not the file's,
  /// for docs/parity.md; an empty one fails the test.
  void compare_within(std::string_view key, const Tensor& actual, const Tolerance& tolerance,
                      std::string_view reason, const Tensor& where = {}) {
    CHECK_FALSE(reason.empty());
    compare(key, actual, where, &tolerance, nullptr, reason);
  }

  /// As compare(), of networks that resample their positions in float32 whatever they compute in:
  /// on a device whose float32 rounds otherwise, a float64 run is held to 1e-6.
  void compare_resampled(std::string_view key, const Tensor& actual) {
    if (on_cpu() || actual.scalar_type() != at::kDouble)
      compare(key, actual);
    else
      compare_within(key, actual, {1e-6, 1e-6, 0},
                     "positions are resampled in float32, which this device rounds otherwise");
  }

  /// Compares what was computed in bfloat16 with the reference's float64 run, or its float32 run
  /// where that is all there is, within bfloat16_tolerance(), where `where` (bool, same shape;
  /// undefined: everywhere) is true. A full key ("grads/..") is taken as it is. Counts as no
  /// compare() of the key.
  void compare_bfloat16(std::string_view key, const Tensor& actual, int64_t roundings,
                        const Tensor& where = {}) {
    compare_with_wide(key, actual, bfloat16_tolerance(roundings), nullptr, where);
  }

  /// As compare_bfloat16(), of distances of a network's latents of bfloat16, which are float32: not
  /// rounded once more, a row of bfloat16 all the same.
  void compare_bfloat16_distances(std::string_view key, const Tensor& actual, int64_t roundings) {
    compare_with_wide(key, actual, bfloat16_tolerance(roundings), c10::toString(at::kBFloat16));
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
    if (is_bfloat16 && (has(narrow) || has(wide)))
      compare_bfloat16(key, actual, roundings, where);
    else if (!is_bfloat16 && has(own))
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

  /// As compare(), of drawn pictures of bytes [...,h,w]: exp may differ in its last bit, so that a
  /// single pixel of a picture may be one grey level off. Only where `where` (bool, same shape;
  /// undefined: everywhere) is true.
  void compare_pictures(std::string_view key, const Tensor& actual, const Tensor& where = {}) {
    const Tolerance tolerance{1, 0, 0};
    compare(key, actual, where, &tolerance, "pictures");
    const auto full = full_key(key, actual);
    if (!has(full) || !actual.defined() || actual.sizes() != file().at(full).sizes()) return;
    Tensor off = actual.to(at::kCPU).ne(file().at(full));
    if (where.defined()) off = off.logical_and(where.to(at::kCPU));
    const auto pixels = off.sum({-2, -1}).max().item<int64_t>();
    INFO("fixture " << name() << ", key " << full << ": " << pixels << " pixels of one picture");
    CHECK(pixels <= 1);
  }

  /// Of a key of which nothing can be compared: it is not uncompared(). The parity page demands a
  /// reason for it (benchmarks/parity_keys.hpp).
  void leave_out(const std::string& key) { compared_.insert(key); }

  /// Keys of "<section>/.." that no compare() has seen, so that a test can demand that it missed
  /// none.
  std::vector<std::string> uncompared(std::string_view section = "outputs") const {
    std::vector<std::string> keys;
    for (const auto& key : file().names())
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
    compare(has(wide) ? wide : full_key(key, actual), actual, where, &tolerance, computed_in);
    compared_ = seen;
  }

  std::string full_key(std::string_view key, const Tensor& actual) const {
    if (has(key)) return std::string(key);
    const bool is_double = actual.defined() && actual.scalar_type() == at::kDouble;
    if (const auto wide = "outputs64/" + std::string(key); is_double && has(wide)) return wide;
    if (const auto plain = "outputs/" + std::string(key); has(plain)) return plain;
    if (const auto wide = "outputs64/" + std::string(key); has(wide)) return wide;
    return std::string(key);
  }

  void compare(std::string_view short_key, const Tensor& actual, const Tensor& where,
               const Tolerance* own = nullptr, const char* computed_in = nullptr,
               std::string_view own_reason = {}) {
    const std::string key = full_key(short_key, actual);
    INFO("fixture " << name() << ", key " << key);
    if (!has(key)) {
      FAIL_CHECK("the fixture has no such key");
      return;
    }
    compared_.insert(key);
    if (excluded(key)) return;
    const Tensor expected = file().at(key);
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
    if (expected.numel() > 0 && !mask.any().item<bool>()) {
      FAIL_CHECK("no element of it is compared");
      return;
    }
    if (!computed_in && !at::isFloatingType(expected.scalar_type()) &&
        !at::isComplexType(expected.scalar_type())) {
      const bool both = at::isIntegralType(actual.scalar_type(), /*includeBool=*/true);
      const auto wide = both ? at::kLong : at::kDouble;  // int64 does not fit a double
      const Tensor integers = actual.detach().to(at::kCPU, wide), right = expected.to(wide);
      const auto wrong = integers.ne(right).logical_and(mask).sum().item<int64_t>();
      record({.key = key, .dtype = "integers", .stored = expected.scalar_type()},
             integers.to(at::kDouble), right.to(at::kDouble), mask);
      INFO(wrong << " of " << expected.numel() << " integers differ");
      CHECK(wrong == 0);
      return;
    }
    const auto tolerance = own ? *own : tolerance_of(key);
    const auto computed = actual.detach().to(at::kCPU, at::kDouble);
    const bool of_file = own == nullptr && !key.starts_with("outputs64/");
    record({.key = key,
            .dtype = computed_in ? computed_in : c10::toString(actual.scalar_type()),
            .stored = expected.scalar_type(),
            .tolerance = tolerance,
            .reason = of_file ? tolerance_reason() : std::string(own_reason),
            .is_of_test = !own_reason.empty()},
           computed, expected.to(at::kDouble), mask);
    compare_real(computed, expected.to(at::kDouble), mask, tolerance);
  }

  // What was compared: the key, in what it was computed and stored, and what it is held to. The
  // reason is the file's or, with is_of_test, the test's own; empty where docs/parity.md states the
  // rule for all files.
  struct Compared {
    const std::string& key;
    const char* dtype;
    at::ScalarType stored;
    Tolerance tolerance = {};
    std::string reason = {};
    bool is_of_test = false;
  };

  // Appends the differences to $FORESIGHT_PARITY_OUT. max_rel is relative to the largest value of
  // the tensor; of_tolerance is the largest share of the tolerance that an element used, kBeyond
  // where none is allowed.
  void record(const Compared& compared, const Tensor& actual, const Tensor& expected,
              const Tensor& mask) const {
    const char* path = std::getenv("FORESIGHT_PARITY_OUT");
    if (!path || !*path || expected.numel() == 0) return;
    const auto counts = mask.logical_and(expected.isfinite());
    const auto error = at::where(counts, actual - expected, at::zeros({}, at::kDouble)).abs();
    const auto size = at::where(counts, expected, at::zeros({}, at::kDouble)).abs();
    const double max_abs = error.max().item<double>(), largest = size.max().item<double>();
    const auto& tolerance = compared.tolerance;
    const auto allowed = tolerance.atol + tolerance.rtol * size + tolerance.of_max * largest;
    const nlohmann::ordered_json line{
        {"folder", folder()},
        {"fixture", name()},
        {"kind", kind()},
        {"key", compared.key},
        {"dtype", compared.dtype},
        {"stored", c10::toString(compared.stored)},
        {"elements", mask.expand(expected.sizes()).sum().item<int64_t>()},
        {"largest", largest},
        {"max_abs", max_abs},
        {"max_rel", largest > 0 ? max_abs / largest : 0.0},
        {"atol", tolerance.atol},
        {"rtol", tolerance.rtol},
        {"of_max", tolerance.of_max},
        {"of_tolerance", (error / allowed).nan_to_num(0.0, kBeyond).max().item<double>()},
        {"reason", compared.reason},
        {"reason_of", compared.is_of_test ? "test" : "fixture"}};
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

  std::set<std::string> compared_;
};

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
