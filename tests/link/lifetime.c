/* 1,000 networks come and go; a forked child trains on with threads as its parent did. Run it where leaks are counted
 * (AddressSanitizer); with an argument it loses a buffer on purpose. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bptt.h>

#include "train.h"

enum { THREADED_HIDDEN = 640 }; /* enough work for two threads */

static int same_again(double expected) {
    double loss = 0;
    return train(THREADED_HIDDEN, 1, &loss) == BPTT_OK && loss == expected;
}

static int child_does_the_same(double expected) {
    const pid_t child = fork();
    if (child == 0) _exit(same_again(expected) ? 0 : 1);
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static int failed(const char *what) {
    fprintf(stderr, "lifetime: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    (void)argv;
    double loss = 0, threaded = 0;
    for (int i = 0; i < 1000; i++)
        if (train(HIDDEN, 1, &loss) != BPTT_OK) return failed("a network does not train");
    if (train(THREADED_HIDDEN, 1, &threaded) != BPTT_OK) return failed("a network with threads does not train");
    for (int i = 0; i < 4; i++) {
        if (!child_does_the_same(threaded)) return failed("a forked child does not train, or gets another loss");
        if (!same_again(threaded)) return failed("the parent of a forked child gets another loss");
    }
    if (argc > 1) floats(1000)[0] = 1;
    return 0;
}
