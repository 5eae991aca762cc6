// SPDX-License-Identifier: Apache-2.0
// Key maps of fixtures: rules that give tensors of Hugging Face's files their names in another
// layout, e.g. "encoder.layer.{i}.norm1.{weight,bias}" -> "blocks.{i}.norm1.{weight,bias}".
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight {

/// `text` with every `from` in it replaced.
inline std::string with_replaced(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

/// "a.{b,c}.{d,e}" -> a.b.d, a.b.e, a.c.d, a.c.e.
inline std::vector<std::string> alternatives(const std::string& pattern) {
  const auto open = pattern.find('{');
  if (open == std::string::npos) return {pattern};
  const auto close = pattern.find('}', open);
  std::vector<std::string> result;
  std::istringstream choices(pattern.substr(open + 1, close - open - 1));
  for (std::string choice; std::getline(choices, choice, ',');)
    for (const auto& rest : alternatives(pattern.substr(close + 1)))
      result.push_back(pattern.substr(0, open) + choice + rest);
  return result;
}

/// The tensors of a Hugging Face file under the names of a layout, as rules {"hf", <layout>, "op"}
/// give them. CHECKs that the rules leave out none.
class KeyMap {
 public:
  KeyMap(const io::NamedTensors& hf, std::string layout)
      : hf_(hf.begin(), hf.end()), layout_(std::move(layout)) {}

  io::NamedTensors apply(const nlohmann::ordered_json& rules) {
    for (const auto& rule : rules) {
      const std::string from = rule.at("hf"), to = rule.at(layout_), op = rule.at("op");
      for (int i = 0; i == 0 || (i < kBlocks && from.find("{i}") != std::string::npos); ++i) {
        const auto number = std::to_string(i);
        rename(with_replaced(from, "{i}", number), with_replaced(to, "{i}", number), op);
      }
    }
    for (const auto& [name, tensor] : hf_) {
      INFO(name << " is of no rule");
      CHECK(used_.contains(name));
    }
    return {result_.begin(), result_.end()};
  }

 private:
  static constexpr int kBlocks = 8;  // more than any fixture has

  void rename(const std::string& from, const std::string& to, const std::string& op) {
    INFO(from << " -> " << to << ": " << op);
    if (op.starts_with("stack")) {
      for (const auto& part : take(from))
        for (int64_t k = 0; k < part.size(0); ++k)
          result_[with_replaced(to, "{k}", std::to_string(k))] = part[k];
      return;
    }
    const std::string thirds = "{query,key,value}";
    const bool joins = op == "concatenate query, key, value along dim 0";
    if (!joins && !op.starts_with("same")) FAIL_CHECK("an operation that the test does not know");
    const auto names = alternatives(to);
    std::vector<std::vector<at::Tensor>> parts(names.size());
    for (const auto& part : alternatives(joins ? thirds : "")) {
      const auto sources = alternatives(with_replaced(from, thirds, part));
      REQUIRE(sources.size() == names.size());
      for (std::size_t n = 0; n < names.size(); ++n)
        for (const auto& tensor : take(sources[n])) parts[n].push_back(tensor);
    }
    for (std::size_t n = 0; n < names.size(); ++n)
      if (!parts[n].empty()) result_[names[n]] = at::cat(parts[n]);
  }

  // The tensor of a name, or none: a rule may be of parts that this network lacks.
  std::vector<at::Tensor> take(const std::string& name) {
    const auto found = hf_.find(name);
    if (found == hf_.end()) return {};
    used_.insert(name);
    return {found->second};
  }

  std::map<std::string, at::Tensor> hf_, result_;
  std::string layout_;
  std::set<std::string> used_;
};

}  // namespace foresight
