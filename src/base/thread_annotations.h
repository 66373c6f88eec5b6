// SPDX-License-Identifier: Apache-2.0
// Clang's thread-safety attributes (-Wthread-safety); nothing under gcc.
#ifndef UZSWAP_BASE_THREAD_ANNOTATIONS_H_
#define UZSWAP_BASE_THREAD_ANNOTATIONS_H_

#if defined(__clang__)
#define UZSWAP_TSA(x) __attribute__((x))
#else
#define UZSWAP_TSA(x)
#endif

#define UZSWAP_CAPABILITY(x) UZSWAP_TSA(capability(x))
#define UZSWAP_SCOPED_CAPABILITY UZSWAP_TSA(scoped_lockable)
#define UZSWAP_GUARDED_BY(x) UZSWAP_TSA(guarded_by(x))
#define UZSWAP_PT_GUARDED_BY(x) UZSWAP_TSA(pt_guarded_by(x))
#define UZSWAP_REQUIRES(...) UZSWAP_TSA(requires_capability(__VA_ARGS__))
#define UZSWAP_REQUIRES_SHARED(...) \
  UZSWAP_TSA(requires_shared_capability(__VA_ARGS__))
#define UZSWAP_ACQUIRE(...) UZSWAP_TSA(acquire_capability(__VA_ARGS__))
#define UZSWAP_ACQUIRE_SHARED(...) \
  UZSWAP_TSA(acquire_shared_capability(__VA_ARGS__))
#define UZSWAP_RELEASE(...) UZSWAP_TSA(release_capability(__VA_ARGS__))
#define UZSWAP_RELEASE_SHARED(...) \
  UZSWAP_TSA(release_shared_capability(__VA_ARGS__))
#define UZSWAP_TRY_ACQUIRE(...) UZSWAP_TSA(try_acquire_capability(__VA_ARGS__))
#define UZSWAP_EXCLUDES(...) UZSWAP_TSA(locks_excluded(__VA_ARGS__))
#define UZSWAP_ASSERT_CAPABILITY(...) UZSWAP_TSA(assert_capability(__VA_ARGS__))
#define UZSWAP_NO_THREAD_SAFETY_ANALYSIS UZSWAP_TSA(no_thread_safety_analysis)

#endif  // UZSWAP_BASE_THREAD_ANNOTATIONS_H_
