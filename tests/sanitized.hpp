// SPDX-License-Identifier: Apache-2.0
// FORESIGHT_SANITIZED: 1 under a sanitizer of memory or threads, whose allocator keeps what is
// freed, so that what a process occupies says nothing there. GCC and Clang tell it differently.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FORESIGHT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FORESIGHT_SANITIZED 1
#endif
#endif
#ifndef FORESIGHT_SANITIZED
#define FORESIGHT_SANITIZED 0
#endif
