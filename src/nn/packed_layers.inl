// SPDX-License-Identifier: Apache-2.0
// Layers of numbers of type Value, which the including namespace names. Each part needs the ones
// before it.
// clang-format off
#include "packed_rows.inl"
#include "packed_adaln.inl"
#include "packed_tiles.inl"
// clang-format on
