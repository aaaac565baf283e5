/* Data-parallel training: each process has rows of its own, the gradients are averaged before every update.
 *
 *     mpicc main.c $(python -m bptt --cflags --libs) -o main
 *     mpiexec -n 2 ./main
 */
#include <stdio.h>

#include <bptt.h>
#include <mpi.h>

#include "../train.h"

/* The rows of this process among those of all: (STEPS,ranks*ROWS,INPUTS). */
static void fill_share(training *t, int rank, int ranks) {
    const int64_t step = ROWS * INPUTS, all = step * ranks;
    for (int64_t i = 0; i < STEPS; i++)
        for (int64_t j = 0; j < step; j++) {
            const int64_t place = i * all + rank * step + j;
            t->x[i * step + j] = number(place * place);
        }
    memcpy(t->target + step, t->x, (size_t)((STEPS - 1) * step) * sizeof(float));
}

/* The loss and the gradient of all rows, in every process. */
static bptt_status shared_gradient(training *t, int ranks, double *loss) {
    const int64_t n = t->sizes.params;
    TRY(gradient(t, loss));
    MPI_Allreduce(MPI_IN_PLACE, t->grads, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    *loss /= ranks;
    return bptt_scale_f32(n, t->grads, 1.0 / ranks);
}

int main(int argc, char **argv) {
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);

    training t;
    double loss = 0;
    bptt_status status = create(&t, HIDDEN); /* the same parameters in every process */
    t.options.threads = 1;
    if (status == BPTT_OK) fill_share(&t, rank, ranks);
    for (int64_t step = 1; step <= UPDATES && status == BPTT_OK; step++) {
        status = shared_gradient(&t, ranks, &loss);
        if (status == BPTT_OK) status = update(&t, step);
    }
    if (status != BPTT_OK) {
        fprintf(stderr, "rank %d: %s\n", rank, bptt_status_string(status));
        MPI_Abort(MPI_COMM_WORLD, 1); /* the others would wait for this one */
    }
    if (rank == 0) printf("loss %.17g\n", loss);
    destroy(&t);
    MPI_Finalize();
    return 0;
}
