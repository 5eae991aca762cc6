// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/hf_config.hpp"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "foresight/core/error.hpp"

namespace foresight::models {
namespace {

// No network has a size beyond this; keeps products of sizes far from overflow.
constexpr int64_t kLargest = int64_t{1} << 24;

// In every configuration that transformers writes, without effect on an encoder's features.
constexpr std::array<std::string_view, 24> kGeneric{"_name_or_path",
                                                    "_commit_hash",
                                                    "_attn_implementation",
                                                    "_attn_implementation_autoset",
                                                    "architectures",
                                                    "attn_implementation",
                                                    "chunk_size_feed_forward",
                                                    "dtype",
                                                    "finetuning_task",
                                                    "id2label",
                                                    "is_decoder",
                                                    "is_encoder_decoder",
                                                    "label2id",
                                                    "model_type",
                                                    "num_labels",
                                                    "output_attentions",
                                                    "output_hidden_states",
                                                    "problem_type",
                                                    "return_dict",
                                                    "tie_word_embeddings",
                                                    "torch_dtype",
                                                    "torchscript",
                                                    "transformers_version",
                                                    "use_cache"};

constexpr std::array<std::pair<std::string_view, nn::Activation>, 7> kActivations{{
    {"gelu", nn::Activation::gelu},
    {"gelu_pytorch_tanh", nn::Activation::gelu_tanh},
    {"gelu_new", nn::Activation::gelu_tanh},
    {"relu", nn::Activation::relu},
    {"silu", nn::Activation::silu},
    {"swish", nn::Activation::silu},
    {"mish", nn::Activation::mish},
}};

}  // namespace

HfConfig::HfConfig(const nlohmann::json& object, std::string name)
    : object_(object), name_(std::move(name)) {
  require(object.is_object(), ErrorCategory::bad_file, name_ + ": expected an object");
}

const nlohmann::json* HfConfig::find(std::string_view key) {
  known_.emplace(key);
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void HfConfig::missing(std::string_view key) const {
  throw Error(ErrorCategory::bad_file, name_ + ": key '" + std::string(key) + "' is missing");
}

void HfConfig::wrong(std::string_view key, const nlohmann::json& value,
                     std::string_view expected) const {
  throw Error(ErrorCategory::bad_file, name_ + ": " + std::string(key) + " = " + value.dump() +
                                           ", expected " + std::string(expected));
}

int64_t HfConfig::integer(std::string_view key, int64_t smallest,
                          std::optional<int64_t> otherwise) {
  const auto* value = find(key);
  if (!value && otherwise) return *otherwise;
  if (!value) missing(key);
  const bool fits = value->is_number_integer() && *value >= smallest && *value <= kLargest;
  if (!fits)
    wrong(key, *value,
          "an integer in " + std::to_string(smallest) + ".." + std::to_string(kLargest));
  return value->get<int64_t>();
}

int64_t HfConfig::positive(std::string_view key, std::optional<int64_t> otherwise) {
  return integer(key, 1, otherwise);
}

int64_t HfConfig::count(std::string_view key, std::optional<int64_t> otherwise) {
  return integer(key, 0, otherwise);
}

double HfConfig::number(std::string_view key, std::optional<double> otherwise) {
  const auto* value = find(key);
  if (!value && otherwise) return *otherwise;
  if (!value) missing(key);
  if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0)
    wrong(key, *value, "a positive number");
  return value->get<double>();
}

bool HfConfig::flag(std::string_view key, std::optional<bool> otherwise) {
  const auto* value = find(key);
  if (!value && otherwise) return *otherwise;
  if (!value) missing(key);
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

std::string HfConfig::text(std::string_view key, std::optional<std::string> otherwise) {
  const auto* value = find(key);
  if (!value && otherwise) return *otherwise;
  if (!value) missing(key);
  if (!value->is_string()) wrong(key, *value, "a text");
  return value->get<std::string>();
}

int64_t HfConfig::edge(std::string_view key, std::optional<int64_t> otherwise) {
  const auto* value = find(key);
  if (!value || !value->is_array()) return positive(key, otherwise);
  const auto& pair = *value;
  const bool fits = pair.size() == 2 && pair[0].is_number_integer() && pair[0] == pair[1] &&
                    pair[0] >= 1 && pair[0] <= kLargest;
  if (!fits) wrong(key, pair, "a number of pixels, or two equal ones");
  return pair[0].get<int64_t>();
}

nn::Activation HfConfig::activation(std::string_view key, std::optional<std::string> otherwise) {
  const auto given = text(key, std::move(otherwise));
  std::string accepted;
  for (const auto& [name, activation] : kActivations) {
    if (given == name) return activation;
    accepted += (accepted.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(ErrorCategory::unsupported, name_ + ": " + std::string(key) + " = '" + given +
                                              "' is not known, accepted: " + accepted);
}

void HfConfig::expect(std::string_view key, const nlohmann::json& value) {
  const auto* given = find(key);
  require(!given || *given == value, ErrorCategory::unsupported,
          name_ + ": " + std::string(key) + " = " + (given ? given->dump() : std::string()) +
              " is not supported, only " + value.dump());
}

void HfConfig::ignore(std::initializer_list<std::string_view> keys) {
  for (const auto key : keys) known_.emplace(key);
}

void HfConfig::finish() const {
  for (const auto& [key, value] : object_.items()) {
    if (known_.contains(key)) continue;
    bool generic = false;
    for (const auto known : kGeneric) generic = generic || key == known;
    if (generic) continue;
    const auto near = nearest_name(key, known_);
    throw Error(ErrorCategory::bad_file,
                name_ + ": unknown key '" + key + "' = " + value.dump() +
                    (near.empty() ? "" : ", did you mean '" + near + "'?") +
                    "; a key that changes nothing of the network can be removed from the file");
  }
}

}  // namespace foresight::models
