// SPDX-License-Identifier: Apache-2.0
// The key layouts in which ViT weights are published, to and from that of nn::Vit: Hugging Face's
// ViTModel, IJepaModel, Dinov2Model and Dinov2WithRegistersModel as files hold them and as
// transformers 5 names them in memory, and the layout of DINOv2's, I-JEPA's and timm's own code.
#pragma once

#include <string>

#include "foresight/io/safetensors.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::nn {

/// Tensors of any of these layouts under the names of nn::Vit. Fused q, k, v are split (views), the
/// two halves of a gate are joined (a copy). Names of none of them are returned unchanged, so that
/// the strict loader names them.
FORESIGHT_API io::NamedTensors vit_tensors(const io::NamedTensors& published);

/// The name under which Hugging Face's files hold our tensor `key` of a network with `options`:
/// Dinov2Model's if it has layer scales, else ViTModel's.
FORESIGHT_API std::string hf_vit_key(const std::string& key, const VitOptions& options);

/// The tensors of `vit` under these names, sharing memory with it. Two shapes of mask token are in
/// use: DINOv2's is [1,D].
FORESIGHT_API io::NamedTensors hf_vit_tensors(const Vit& vit);

/// The tensors of a DINOv2 under the names of its own code (torch.hub); queries, keys and values
/// are joined (a copy), the others share memory with `vit`. Throws Error(unsupported) for a network
/// without layer scales or without class token, or with a pooler.
FORESIGHT_API io::NamedTensors dinov2_tensors(const Vit& vit);

/// The same under the names that transformers from 5.9 on gives them in memory (state_dict()) but
/// not in its files.
FORESIGHT_API io::NamedTensors hf_vit_memory_tensors(const Vit& vit);

}  // namespace foresight::nn
