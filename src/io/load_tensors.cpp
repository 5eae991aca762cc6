// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/load_tensors.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <optional>

#include "foresight/core/error.hpp"

namespace foresight::io {

namespace {

/// Suggestions cost (missing x unexpected) string comparisons: enough of them to recognise a
/// renaming.
constexpr std::size_t kSuggestions = 20;
constexpr std::size_t kCandidates = 4096;

using TensorsByName = std::map<std::string_view, const Tensor*>;

std::string described(const Tensor& tensor) {
  return std::string(c10::toString(tensor.scalar_type())) + " " + shape_string(tensor.sizes());
}

/// Collects one line a problem.
class LoadReport {
 public:
  void add(std::string_view name, const std::string& problem) {
    lines_ += "\n  tensor '" + std::string(name) + "' " + problem;
    ++count_;
  }
  void throw_if_any(std::string_view source) const {
    if (count_ == 0) return;
    throw Error(ErrorCategory::bad_file, std::string(source) + ": " + std::to_string(count_) +
                                             " tensors do not fit the model, nothing was loaded" +
                                             lines_);
  }

 private:
  std::string lines_;
  std::size_t count_ = 0;
};

TensorsByName by_name(const NamedTensors& tensors, const char* role, LoadReport& report) {
  TensorsByName result;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined())
      report.add(name, std::string("is undefined in the ") + role);
    else if (!result.emplace(name, &tensor).second)
      report.add(name, std::string("appears twice in the ") + role);
  }
  return result;
}

bool is_real(at::ScalarType type) { return at::isFloatingType(type); }
bool is_integer(at::ScalarType type) { return at::isIntegralType(type, /*includeBool=*/false); }

bool fits(at::ScalarType given, at::ScalarType target, DtypeRule rule) {
  if (given == target) return true;
  if (rule == DtypeRule::exact) return false;
  return (is_real(given) && is_real(target)) || (is_integer(given) && is_integer(target));
}

/// What is wrong with filling `target` from `given`, if anything.
std::optional<std::string> misfit(const Tensor& given, const Tensor& target, DtypeRule rule) {
  if (given.sizes() != target.sizes())
    return "has shape " + shape_string(given.sizes()) + ", expected " +
           shape_string(target.sizes());
  if (!fits(given.scalar_type(), target.scalar_type(), rule))
    return std::string("has type ") + c10::toString(given.scalar_type()) + ", expected " +
           c10::toString(target.scalar_type());
  const bool narrows =
      is_integer(given.scalar_type()) && given.scalar_type() != target.scalar_type();
  if (narrows && !given.to(target.scalar_type()).to(given.scalar_type()).equal(given))
    return std::string("holds integers that do not fit ") + c10::toString(target.scalar_type());
  return std::nullopt;
}

/// Which unexpected name a missing one may have been meant by. Each is offered once, to the
/// nearest.
std::map<std::string, std::string> suggestions(const std::vector<std::string>& missing,
                                               std::vector<std::string> unexpected) {
  std::map<std::string, std::string> nearest, chosen;
  if (unexpected.size() > kCandidates) return chosen;
  for (std::size_t i = 0; i < std::min(missing.size(), kSuggestions); ++i)
    nearest[missing[i]] = nearest_name(missing[i], unexpected);
  const auto distance = [](const auto& item) { return edit_distance(item.first, item.second); };
  for (;;) {
    std::erase_if(nearest, [](const auto& item) { return item.second.empty(); });
    const auto best =
        std::min_element(nearest.begin(), nearest.end(),
                         [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
    if (best == nearest.end()) return chosen;
    const auto taken = best->second;
    chosen.insert(nearest.extract(best));
    std::erase(unexpected, taken);
    for (auto& [name, near] : nearest)
      if (near == taken) near = nearest_name(name, unexpected);
  }
}

/// Throws unless every target has one tensor that fits and nothing is left over.
void check_all(const TensorsByName& wanted, const TensorsByName& available, LoadReport& report,
               std::string_view source, DtypeRule rule) {
  std::vector<std::string> unexpected, missing;
  for (const auto& [name, tensor] : available)
    if (!wanted.contains(name)) unexpected.emplace_back(name);
  for (const auto& [name, target] : wanted)
    if (!available.contains(name)) missing.emplace_back(name);
  const auto meant = suggestions(missing, unexpected);
  for (const auto& [name, target] : wanted) {
    const auto found = available.find(name);
    if (found == available.end()) {
      const auto near = meant.find(std::string(name));
      report.add(name, "is missing, expected " + described(*target) +
                           (near == meant.end() ? "" : "; is it '" + near->second + "'?"));
    } else if (const auto problem = misfit(*found->second, *target, rule)) {
      report.add(name, *problem);
    }
  }
  for (const auto& name : unexpected)
    report.add(name, "is unexpected: " + described(*available.at(name)));
  report.throw_if_any(source);
}

bool wants_sharing(const Tensor& target, Placement placement) {
  return placement == Placement::share ||
         (placement == Placement::share_frozen && !target.requires_grad());
}

bool can_share(const Tensor& given, const Tensor& target) {
  return given.scalar_type() == target.scalar_type() && given.device() == target.device() &&
         given.is_contiguous() && target.is_contiguous() && target.layout() == given.layout();
}

}  // namespace

void check_fit(const NamedTensors& targets, const NamedTensors& given, std::string_view source,
               DtypeRule rule) {
  LoadReport report;
  const auto wanted = by_name(targets, "model", report);
  const auto available = by_name(given, "file", report);
  check_all(wanted, available, report, source, rule);
}

void load_into(const NamedTensors& targets, const NamedTensors& given, std::string_view source,
               DtypeRule rule, Placement placement) {
  LoadReport report;
  const auto wanted = by_name(targets, "model", report);
  const auto available = by_name(given, "file", report);
  check_all(wanted, available, report, source, rule);

  at::NoGradGuard no_grad;
  for (const auto& [name, target] : wanted) {
    Tensor destination = *target;
    const Tensor& values = *available.at(name);
    if (wants_sharing(destination, placement) && can_share(values, destination))
      destination.set_data(values.detach());
    else
      destination.copy_(values);
  }
}

void load_into(const NamedTensors& targets, const SafeTensors& file, DtypeRule rule,
               std::string_view prefix) {
  load_into(targets, file.tensors(prefix), file.path().string(), rule);
}

}  // namespace foresight::io
