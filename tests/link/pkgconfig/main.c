/* A C program that links libbptt.a:
 *
 *     export PKG_CONFIG_PATH=$(python -m bptt --pkgconfigdir)
 *     cc main.c $(pkg-config --cflags --libs bptt) -o main
 */
#include <stdio.h>

#include <bptt.h>

#include "../train.h"

int main(void) {
    double loss;
    const bptt_status status = train(HIDDEN, UPDATES, &loss);
    if (status != BPTT_OK) {
        fprintf(stderr, "bptt %s: %s\n", bptt_version(), bptt_status_string(status));
        return 1;
    }
    printf("loss %.17g\n", loss);
    return 0;
}
