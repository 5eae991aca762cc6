// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lewm_checkpoint.hpp"

#include "foresight/io/weights.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {

std::string lewm_key(std::string_view key) {
  constexpr std::string_view kWrapper = "model.";
  auto own = io::without_marks(std::string(key));
  if (own.starts_with(kWrapper)) own.erase(0, kWrapper.size());
  return nn::older_hf_vit_key(own);
}

void load_lewm(Jepa& model, const io::NamedTensors& tensors, std::string_view source) {
  io::NamedTensors renamed;
  renamed.reserve(tensors.size());
  for (const auto& [key, tensor] : tensors) renamed.emplace_back(lewm_key(key), tensor);
  nn::load_state_dict(model, renamed, source);
}

}  // namespace foresight::models
