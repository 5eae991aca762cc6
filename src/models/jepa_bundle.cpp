// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa_bundle.hpp"

#include "foresight/core/options_json.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

// Kept at the bundle's top level, where every reader looks for them, and therefore not in the
// options.
constexpr std::array kTopLevel{"action", "history"};

std::string name_of(const io::Bundle& bundle) { return bundle.tensors.path().string(); }

// Puts `module` into the floating type of `tensors` before they are loaded, so that nothing is
// rounded.
void adopt_type(torch::nn::Module& module, const io::NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (!at::isFloatingType(tensor.scalar_type())) continue;
    module.to(tensor.scalar_type());
    return;
  }
}

template <class Module>
void fill(Module& module, const io::NamedTensors& tensors, const std::string& source) {
  adopt_type(module, tensors);
  nn::load_state_dict(module, tensors, source);
  module.eval();
}

}  // namespace

io::BundleConfig jepa_bundle_config(const Jepa& model) {
  auto config = io::BundleConfig::of(model.spec());
  config.options = write_options(model.options());
  for (const auto* key : kTopLevel) config.options.erase(key);
  return config;
}

void write_jepa(const std::filesystem::path& folder, const Jepa& model, io::BundleConfig config,
                const ValueCritic* critic, io::NamedTensors head_tensors) {
  require(config.family == kJepaFamily, ErrorCategory::invalid_argument,
          "write_jepa: the configuration is of family '" + config.family + "', expected '" +
              kJepaFamily + "'");
  auto tensors = nn::state_dict(model);
  if (critic) {
    config.heads[kValueCriticHead] = write_options(critic->options());
    const auto own = io::with_head_prefix(kValueCriticHead, nn::state_dict(*critic));
    tensors.insert(tensors.end(), own.begin(), own.end());
  }
  tensors.insert(tensors.end(), head_tensors.begin(), head_tensors.end());
  io::write_bundle(folder, config, tensors);
}

std::shared_ptr<Jepa> read_jepa(const io::Bundle& bundle) {
  const auto& config = bundle.config;
  require(
      config.family == kJepaFamily, ErrorCategory::unsupported,
      name_of(bundle) + ": model family '" + config.family + "', expected '" + kJepaFamily + "'");
  for (const auto* key : kTopLevel)
    require(!config.options.contains(key), ErrorCategory::bad_file,
            name_of(bundle) + ": options must not repeat '" + std::string(key) +
                "', which is a key of config.json itself");
  JepaOptions options;
  read_options(options, config.options, name_of(bundle) + ": options");
  options.action = config.action;
  options.history = config.history;
  auto model = std::make_shared<Jepa>(options);
  fill(*model, bundle.model_tensors(), name_of(bundle));
  return model;
}

std::shared_ptr<Jepa> read_jepa(const std::filesystem::path& folder) {
  return read_jepa(io::read_bundle(folder));
}

std::shared_ptr<ValueCritic> read_value_critic(const io::Bundle& bundle) {
  const auto& heads = bundle.config.heads;
  if (!heads.contains(kValueCriticHead)) return nullptr;
  ValueCriticOptions options;
  read_options(options, heads.at(kValueCriticHead), name_of(bundle) + ": heads.value_critic");
  auto critic = std::make_shared<ValueCritic>(options);
  fill(*critic, bundle.head_tensors(kValueCriticHead), name_of(bundle));
  return critic;
}

}  // namespace foresight::models
