// SPDX-License-Identifier: Apache-2.0
// The end of what avx2_begin.inl begins.
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
