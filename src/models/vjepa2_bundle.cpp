// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_bundle.hpp"

#include "foresight/core/options_json.hpp"
#include "saved_module.hpp"

namespace foresight::models {
namespace {

// Kept at the bundle's top level, where every reader looks for them, and therefore not in the
// options.
constexpr std::array kTopLevel{"action", "history"};

std::string name_of(const io::Bundle& bundle) { return bundle.tensors.path().string(); }

void write(const std::filesystem::path& folder, const torch::nn::Module& model,
           const io::BundleConfig& config, const char* family) {
  require(config.family == family, ErrorCategory::invalid_argument,
          "the bundle's configuration is of family '" + config.family + "', expected '" +
              std::string(family) + "'");
  io::write_bundle(folder, config, nn::state_dict(model));
}

template <class Options>
Options read_model_options(const io::Bundle& bundle, const char* family) {
  const auto& config = bundle.config;
  require(config.family == family, ErrorCategory::unsupported,
          name_of(bundle) + ": model family '" + config.family + "', expected '" +
              std::string(family) + "'");
  Options options;
  read_options(options, config.options, name_of(bundle) + ": options");
  return options;
}

}  // namespace

io::BundleConfig vjepa2_bundle_config(const VJepa2& model) {
  const auto& o = model.options();
  ModelSpec spec;
  spec.family = kVJepa2Family;
  spec.observation = {{std::string(kPixels), {kAny, kAny, kAny, 3}, at::kByte}};
  spec.tokens = o.encoder.grid().count();
  spec.channels = o.encoder.width;
  auto config = io::BundleConfig::of(spec);
  config.options = write_options(o);
  return config;
}

io::BundleConfig vjepa2_ac_bundle_config(const VJepa2Ac& model) {
  auto config = io::BundleConfig::of(model.spec());
  config.options = write_options(model.options());
  for (const auto* key : kTopLevel) config.options.erase(key);
  return config;
}

void write_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                  const io::BundleConfig& config) {
  write(folder, model, config, kVJepa2Family);
}

void write_vjepa2_ac(const std::filesystem::path& folder, const VJepa2Ac& model,
                     const io::BundleConfig& config) {
  write(folder, model, config, kVJepa2AcFamily);
}

std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle) {
  auto model = std::make_shared<VJepa2>(read_model_options<VJepa2Options>(bundle, kVJepa2Family),
                                        std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), name_of(bundle));
  return model;
}

std::shared_ptr<VJepa2Ac> read_vjepa2_ac(const io::Bundle& bundle) {
  for (const auto* key : kTopLevel)
    require(!bundle.config.options.contains(key), ErrorCategory::bad_file,
            name_of(bundle) + ": options must not repeat '" + std::string(key) +
                "', which is a key of config.json itself");
  auto options = read_model_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily);
  options.action = bundle.config.action;
  options.history = bundle.config.history;
  auto model = std::make_shared<VJepa2Ac>(options, std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), name_of(bundle));
  return model;
}

}  // namespace foresight::models
