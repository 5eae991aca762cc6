// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lewm_checkpoint.hpp"

#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {

std::string lewm_key(std::string_view key) {
  constexpr std::string_view kWrapper = "model.";
  if (key.starts_with(kWrapper)) key.remove_prefix(kWrapper.size());
  return nn::older_hf_vit_key(key);
}

void load_lewm(Jepa& model, const io::NamedTensors& tensors, std::string_view source) {
  io::NamedTensors renamed;
  renamed.reserve(tensors.size());
  for (const auto& [key, tensor] : tensors) renamed.emplace_back(lewm_key(key), tensor);
  nn::load_state_dict(model, renamed, source);
}

}  // namespace foresight::models
