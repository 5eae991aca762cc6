// SPDX-License-Identifier: Apache-2.0
// What is defined from here to avx2_end.inl is compiled for AVX2: for x86-64 and compilers that know
// GNU's attributes. The including file asks the processor before it calls any of it, and gives it
// internal linkage, so that no other file ends up with it.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
