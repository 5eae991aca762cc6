// SPDX-License-Identifier: Apache-2.0
// Tensors that go to the device at once.
#pragma once

#include <algorithm>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::train {

/// `tensors` of one type (at least one), each on `device`. From the CPU they travel in one piece,
/// page-locked for a GPU: the copy then waits for nothing that the GPU is still to do. Where some
/// are elsewhere, each travels by itself; those that are on `device` stay what they are.
inline std::vector<Tensor> moved_together(const std::vector<Tensor>& tensors, at::Device device) {
  std::vector<Tensor> flat, moved;
  const auto on_cpu = [](const Tensor& tensor) { return tensor.device().is_cpu(); };
  if (device.is_cpu() || !std::all_of(tensors.begin(), tensors.end(), on_cpu)) {
    for (const auto& tensor : tensors) moved.push_back(tensor.to(device));
    return moved;
  }
  int64_t numbers = 0;
  for (const auto& tensor : tensors) {
    flat.push_back(tensor.flatten());
    numbers += tensor.numel();
  }
  auto piece = at::empty({numbers}, flat.front().options().pinned_memory(device.is_cuda()));
  at::cat_out(piece, flat);
  piece = piece.to(device, /*non_blocking=*/true);
  int64_t first = 0;
  for (const auto& tensor : tensors) {
    moved.push_back(piece.narrow(0, first, tensor.numel()).view(tensor.sizes()));
    first += tensor.numel();
  }
  return moved;
}

}  // namespace foresight::train
