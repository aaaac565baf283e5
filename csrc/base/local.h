/* LOCAL marks a function of a header: static, and possibly unused in a unit that includes the header. (`static inline`
 * says the same, but compilers inline more then: the core would be a quarter larger.) GNU_C: this compiler knows vector
 * types, attributes and inline assembly; clang-cl does, without defining __GNUC__. */
#ifndef BPTT_BASE_LOCAL_H
#define BPTT_BASE_LOCAL_H
#if defined(__GNUC__) || defined(__clang__)
#define GNU_C 1
#define LOCAL static __attribute__((unused))
#else
#define LOCAL static
#endif
#endif
