// SPDX-License-Identifier: Apache-2.0
// Whole layers for one kind of processor, of integers of 16 bits and of floats. Each part needs the
// ones before it.
// clang-format off
#include "packed_product.inl"
#ifdef FORESIGHT_PACKED_AVX512
#include "packed_wide.inl"
#endif
namespace fixed16 {
using Value = std::int16_t;
#include "packed_rows.inl"
#include "packed_adaln.inl"
#include "packed_tiles.inl"
}  // namespace fixed16
namespace float32 {
using Value = float;
#include "packed_rows.inl"
#include "packed_adaln.inl"
#include "packed_tiles.inl"
}  // namespace float32
using fixed16::apply_tiles;
using float32::apply_tiles;
// clang-format on
