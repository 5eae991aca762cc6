// SPDX-License-Identifier: Apache-2.0
// Sizes are read off a checkpoint's shapes, and compared with those of the tensors that repeat them
// before a network is made, so that it is no larger than its file.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace foresight::models {

/// The tensor `name`. Throws Error(bad_file), opening with `source`, if there is none; all below
/// likewise.
const Tensor& tensor_named(const io::NamedTensors& tensors, std::string_view name,
                           std::string_view source);

/// Axis `axis` of a tensor that must have `dims` axes and be not empty.
int64_t extent(const io::NamedTensors& tensors, std::string_view name, int64_t dims, int64_t axis,
               std::string_view source);

/// The edge of the square picture whose patches have the places of table `name` [1,places,width],
/// but for the first `before` of them (class token).
int64_t square_edge(const io::NamedTensors& tensors, std::string_view name, int64_t before,
                    std::string_view source);

/// How many different numbers follow `list` ("encoder.blocks.") in names.
int64_t count_below(const io::NamedTensors& tensors, std::string_view list);

/// Where sizes that are not a tensor's own are from, as messages end.
inline constexpr std::string_view kFromOthers = " as the other tensors have it";
inline constexpr std::string_view kFromConfig = " as config.json says";

/// Throws Error(bad_file) unless there is a tensor `name` of this shape.
void expect_tensor(const io::NamedTensors& tensors, std::string_view name,
                   const std::vector<int64_t>& shape, std::string_view source,
                   std::string_view reason = kFromOthers);

/// The same of the transformer blocks 0..depth-1 below `list` ("encoder.blocks."), whose queries,
/// keys and values are one tensor.
void expect_blocks(const io::NamedTensors& tensors, std::string_view list, int64_t depth,
                   int64_t width, int64_t mlp_width, std::string_view source,
                   std::string_view reason = kFromOthers);

}  // namespace foresight::models
