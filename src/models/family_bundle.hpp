// SPDX-License-Identifier: Apache-2.0
// What every world-model family does alike with bundles: the configuration of a model, and the
// options of a bundle. Action space and history are kept at the bundle's top level, where every
// reader looks for them, and therefore not in the options.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/load_tensors.hpp"

namespace foresight::models {

inline constexpr std::array kTopLevelOptions{"action", "history"};

inline std::string bundle_name(const io::Bundle& bundle) { return bundle.tensors.path().string(); }

/// Throws Error(bad_file) for a damaged bundle, unless it asks not to be compared.
inline void require_whole(const io::Bundle& bundle) {
  if (bundle.checksum == io::ChecksumRule::compare) io::require_checksum(bundle.tensors);
}

/// What messages call head `head` of what they call `source`.
inline std::string head_name(const std::string& source, const std::string& head) {
  return source + ": heads." + head;
}

/// The configuration that describes `model`, whose options have `action`, and `history` where it is
/// one to choose.
template <class Model>
io::BundleConfig family_config(const Model& model) {
  auto config = io::BundleConfig::of(model.spec());
  config.options = write_options(model.options());
  for (const auto* key : kTopLevelOptions) config.options.erase(key);
  return config;
}

inline void check_family_to_write(const io::BundleConfig& config, const std::string& family) {
  require(
      config.family == family, ErrorCategory::invalid_argument,
      "the configuration to write is of family '" + config.family + "', expected '" + family + "'");
}

/// Throws Error(unsupported) for a bundle of another family.
inline void check_family_read(const io::Bundle& bundle, const std::string& family) {
  require(bundle.config.family == family, ErrorCategory::unsupported,
          bundle_name(bundle) + ": model family '" + bundle.config.family + "', expected '" +
              family + "'");
}

/// The configuration of an encoder, which has no actions and no history: all of its options are its
/// own. `frame`: shape of what it observes; `tokens` of `channels` are what it says about it.
template <class Options>
io::BundleConfig encoder_config(const std::string& family, const Options& options,
                                std::vector<int64_t> frame, int64_t tokens, int64_t channels) {
  ModelSpec spec;
  spec.family = family;
  spec.observation = {{std::string(kPixels), std::move(frame), at::kByte}};
  spec.tokens = tokens;
  spec.channels = channels;
  auto config = io::BundleConfig::of(spec);
  config.options = write_options(options);
  return config;
}

/// The options of head `head`; none if the configuration, which messages call `source`, has no such
/// head. Throws Error(invalid_option).
template <class Options>
std::optional<Options> head_options(const io::BundleConfig& config, const std::string& head,
                                    const std::string& source) {
  if (!config.heads.contains(head)) return std::nullopt;
  Options options;
  read_options(options, config.heads.at(head), head_name(source, head));
  require_valid(options);
  return options;
}

/// The options of an encoder's bundle. Throws Error as family_options().
template <class Options>
Options encoder_options(const io::Bundle& bundle, const std::string& family) {
  check_family_read(bundle, family);
  Options options;
  read_options(options, bundle.config.options, bundle_name(bundle) + ": options");
  require_valid(options);
  return options;
}

/// The options of a bundle of `family`. Throws Error: unsupported for another family; bad_file or
/// invalid_option for options that are not its own.
template <class Options>
Options family_options(const io::Bundle& bundle, const std::string& family) {
  check_family_read(bundle, family);
  const auto& config = bundle.config;
  for (const auto* key : kTopLevelOptions)
    require(!config.options.contains(key), ErrorCategory::bad_file,
            bundle_name(bundle) + ": options must not repeat '" + std::string(key) +
                "', which is a key of config.json itself");
  Options options;
  read_options(options, config.options, bundle_name(bundle) + ": options");
  options.action = config.action;
  if constexpr (requires { options.history; })
    options.history = config.history;
  else
    require(config.history == 1, ErrorCategory::invalid_option,
            bundle_name(bundle) + ": history = " + std::to_string(config.history) +
                ", but models of family '" + family + "' look at 1 frame");
  require_valid(options);
  return options;
}

}  // namespace foresight::models
