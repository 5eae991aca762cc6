// SPDX-License-Identifier: Apache-2.0
#include "on_backbone.hpp"

#include <nlohmann/json.hpp>

namespace foresight::train {

io::Bundle encoder_bundle(std::string& backbone, const std::optional<io::Bundle>& origin,
                          const LearnHooks& hooks) {
  if (!origin) return io::read_bundle(backbone);
  const auto path = hooks.continuation->bundle.string();
  require(backbone.empty() || backbone == path, ErrorCategory::invalid_option,
          "backbone = " + backbone +
              " comes from the bundle that learning goes on from: leave it "
              "out");
  backbone = path;
  return *origin;
}

nlohmann::json backbone_provenance(const std::string& path, const io::Bundle& backbone,
                                   const FamilyData& data,
                                   const std::optional<io::Bundle>& origin) {
  auto provenance = continued_provenance(data.provenance(), origin);
  if (origin) {
    if (origin->config.provenance.contains("backbone"))
      provenance["backbone"] = origin->config.provenance["backbone"];
    return provenance;
  }
  provenance["backbone"] = {{"bundle", path},
                            {"family", backbone.config.family},
                            {"provenance", backbone.config.provenance}};
  return provenance;
}

std::shared_ptr<FeatureCache> feature_cache_of(FeatureCache::Encoder encode, at::Device device,
                                               const RecordedTraining& options,
                                               const FeatureCacheOptions& features) {
  if (options.augmentation.changes()) return nullptr;
  return std::make_shared<FeatureCache>(std::move(encode), device, options.windows.stride,
                                        features);
}

}  // namespace foresight::train
