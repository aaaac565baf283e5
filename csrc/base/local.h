/* LOCAL marks a function of a header: static, and possibly unused in a unit that includes the header. (`static inline`
 * says the same, but compilers inline more then: the core would be a quarter larger.) */
#ifndef BPTT_BASE_LOCAL_H
#define BPTT_BASE_LOCAL_H
#if defined(__GNUC__)
#define LOCAL static __attribute__((unused))
#else
#define LOCAL static
#endif
#endif
