/* The kernel table: the inner loops, one implementation per instruction set behind function pointers.
 * A set owns its tile shape and the layout of packed panels; nobody else looks inside a panel.
 *
 * Every set keeps this promise, from which thread-independent results follow: the value of an output element
 * depends only on its own operands, never on where the element lies in the call's block of rows. (`lone` products
 * sum in another order; a batch of one is never split.)
 *
 * Include real.h first; may be included once per type. */
#ifndef BPTT_KERNELS_COMMON
#define BPTT_KERNELS_COMMON
enum { FINISH_NONE, FINISH_ACTIVATE, FINISH_SLOPE };
#endif

/* elements that lie in a row */
typedef struct {
    const REAL *at;
    int64_t size;
} TYPED(stretch);

/* c = finish(init + a b), a (m,k) by rows, b packed, init and c (m,n) by rows.
 * ACTIVATE: c = f(.);  SLOPE: c = f'(h) * (.), f' written in terms of the cell's output h (m,n). */
typedef struct {
    int64_t m, n, k;
    const REAL *a;
    int64_t lda;
    const REAL *panels;
    const REAL *init; /* NULL: zeros; may be c */
    int64_t ldinit;   /* 0: the same row for all */
    REAL *c;
    int64_t ldc;
    int finish;
    int cell;
    int lone;      /* m = 1 is the whole batch, not a thread's share: its sums may be taken in an order of their own */
    int backwards; /* take the panels from the last to the first: turning round at each step reuses the cache */
    const REAL *h;
    int64_t ldh;
    TYPED(stretch) next[2]; /* what the next call uses and may be far away: a set may fetch it meanwhile */
} TYPED(product);

/* c += aT b over k rows: c (m,n), a (k,m), b (k,n); rows r with skip[r] != 0 count as zero rows of b. */
typedef struct {
    int64_t m, n, k;
    const REAL *a;
    int64_t lda;
    const REAL *b;
    int64_t ldb;
    const uint8_t *skip; /* NULL: none */
    REAL *c;
    int64_t ldc;
} TYPED(outer_product);

/* One step of a gated cell for some rows: what is left to do after the products, element by element (elementwise.h).
 * Matrices of H columns lie by rows, `ld` apart where one is given and H apart where not; `gates` and `dz` have 4 H
 * columns. */
typedef struct {
    int64_t rows, H;
    REAL *gates;                     /* forward: what the other products gave, overwritten by the gates */
    const REAL *products;            /* forward, GRU with the reset after the product: what that of h gave (rows,3*H) */
    const REAL *h_before, *c_before; /* the state that enters */
    int64_t ld_before;
    REAL *h, *c; /* the state that leaves; in backward c is read */
    int64_t ld;
    const REAL *peepholes; /* (3,H), NULL: none */
    const REAL *dh;        /* backward: the gradient by h */
    int64_t ld_dh;
    REAL *dz;            /* backward: receives the gradient by what the products gave */
    REAL *flow_h;        /* backward, GRU: receives what flows into h_before past the products */
    REAL *flow_c;        /* backward, LSTM: the gradient by c from the step after, overwritten by that by c_before */
    const REAL *d_reset; /* backward, GRU with the reset before the product: the gradient by r*h_before */
} TYPED(gated_step);

/* An optimiser's step on n parameters, in place; update.h says which numbers it takes. */
typedef struct {
    int64_t n;
    REAL *params;
    const REAL *grads;
    REAL *mean, *square; /* of the gradients; mean is the velocity of SGD, NULL: none */
    REAL rate, decay, shrink;
    REAL keep1, take1, keep2, take2; /* of mean and square: how much stays, how much comes in */
    REAL root, eps;
    int nesterov;
} TYPED(update);

typedef struct {
    const char *name;
    /* elements of the panels that hold a (k,n) matrix */
    int64_t (*packed_size)(int64_t k, int64_t n);
    /* element (i,j) of the (k,n) matrix is w[i*row_stride + j*col_stride] */
    void (*pack)(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels);
    void (*multiply)(const TYPED(product) *);
    void (*outer)(const TYPED(outer_product) *);
    /* dz = f'(h) * dh, n elements, in place allowed */
    void (*slope)(int cell, int64_t n, const REAL *h, const REAL *dh, REAL *dz);
    /* sums[j] += the sum over rows of a[row*lda + j], j < n */
    void (*add_column_sums)(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums);
    /* sum of squares, accumulated in double */
    double (*sum_squares)(int64_t n, const REAL *x);
    /* y = exp(x - shift), returns the sum of y; in place allowed */
    REAL (*exp_shifted)(int64_t n, const REAL *x, REAL shift, REAL *y);
    /* y = s(x), the logistic function; in place allowed */
    void (*logistic)(int64_t n, const REAL *x, REAL *y);
    /* y += scale * x */
    void (*add_scaled)(int64_t n, REAL scale, const REAL *x, REAL *y);
    /* y = scale * (a - b); in place allowed */
    void (*difference)(int64_t n, REAL scale, const REAL *a, const REAL *b, REAL *y);
    /* x into [-limit, limit]; NaN stays NaN */
    void (*clamp)(int64_t n, REAL limit, REAL *x);
    void (*lstm_forward)(const TYPED(gated_step) *);
    void (*lstm_backward)(const TYPED(gated_step) *);
    void (*gru_forward)(const TYPED(gated_step) *);
    void (*gru_backward)(const TYPED(gated_step) *);
    /* the same where the reset gate acts before the product: r, z and r*h; then n and h; backward in two parts too */
    void (*gru_before_gates)(const TYPED(gated_step) *);
    void (*gru_before_forward)(const TYPED(gated_step) *);
    void (*gru_before_backward)(const TYPED(gated_step) *);
    void (*gru_before_reset)(const TYPED(gated_step) *);
    void (*sgd)(const TYPED(update) *);
    void (*rmsprop)(const TYPED(update) *); /* and Adagrad */
    void (*adam)(const TYPED(update) *);
} TYPED(kernels);

/* The table in use, chosen at the first call; NULL if BPTT_ISA names no set that runs here. */
const TYPED(kernels) * TYPED(bptt_internal_kernels)(void);
