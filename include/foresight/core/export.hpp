// SPDX-License-Identifier: Apache-2.0
// Symbol visibility: the compiled library hides everything that is not marked FORESIGHT_API, so
// that a robot program that links it never meets our internals (or ours, its own).
#pragma once

#if defined(FORESIGHT_SHARED) && defined(__GNUC__)
#define FORESIGHT_API __attribute__((visibility("default")))
#else
#define FORESIGHT_API
#endif
