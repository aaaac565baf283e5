/* The least that a program on a Cortex-M4 needs in qemu's machine mps2-an386: vectors, the FPU switched on, output and
 * exit by semihosting. main() is the caller's. */
#include <stdint.h>

extern uint32_t stack_top; /* of board.ld */
int main(void);

static void semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void put(const char *text);
void put(const char *text) { semihost(0x04, text); } /* SYS_WRITE0 */

static void leave(uint32_t code) {
    const uint32_t block[2] = {0x20026, code}; /* ADP_Stopped_ApplicationExit */
    semihost(0x20, block);                     /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

static void start(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 are the FPU */
    __asm__ volatile("dsb\n\tisb");
    leave((uint32_t)main());
}

static void fault(void) {
    put("fault\n");
    leave(3);
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[6];
} vectors = {&stack_top, {start, fault, fault, fault, fault, fault}};
