// SPDX-License-Identifier: Apache-2.0
// What trainings on a frozen encoder have in common: where it comes from, what a bundle tells of
// it, and its features in memory.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "family_run.hpp"

namespace foresight::train {

/// The bundle of the encoder: that of `backbone`, or of the whole model that learns on, which
/// `backbone` then names. Throws Error(invalid_option) where it names another.
io::Bundle encoder_bundle(std::string& backbone, const std::optional<io::Bundle>& origin,
                          const LearnHooks& hooks);

/// What a bundle tells of its data, of its encoder (`backbone`, read from `path`) and of the bundle
/// that it goes on from.
nlohmann::json backbone_provenance(const std::string& path, const io::Bundle& backbone,
                                   const FamilyData& data, const std::optional<io::Bundle>& origin);

/// Features of a batch's frames; null for those that change at random in every epoch.
std::shared_ptr<FeatureCache> feature_cache_of(FeatureCache::Encoder encode, at::Device device,
                                               const RecordedTraining& options,
                                               const FeatureCacheOptions& features);

}  // namespace foresight::train
