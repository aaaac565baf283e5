/* The kernel table: the inner loops, one implementation per instruction set behind function pointers.
 * A set owns its tile shape and the layout of packed panels; nobody else looks inside a panel.
 *
 * Every set keeps this promise, from which thread-independent results follow: the value of an output element depends
 * only on its own operands, never on where the element lies in the call's block of rows. (A batch of one, which is
 * never split, has panels and functions of its own, which sum in another order.) */
#ifndef BPTT_KERNELS_H
#define BPTT_KERNELS_H
#include <stdatomic.h>

#include "base/real.h"
#include "bptt.h"
#include "cells/list.h"
#include "forward_mode/kernels.h"

enum { PREFETCHES = 3 };

/* Elements side by side. */
typedef struct {
    const REAL *data;
    int64_t size;
} span;

/* What is done to the elements of a product: nothing, c = f(c), or c = f'(h) * c with f' in terms of the cell's output
 * h. */
typedef enum { EPILOGUE_NONE, EPILOGUE_ACTIVATION, EPILOGUE_ACTIVATION_GRAD } epilogue;

/* c = epilogue(init + a b): a (m,k), b (k,n) packed in panels, init and c (m,n). With k = 0, which multiply alone
 * takes, c = epilogue(init). */
typedef struct {
    int64_t m, n, k;
    const REAL *a;
    int64_t lda;
    const REAL *panels;
    const REAL *init;         /* NULL: zeros; may be c */
    int64_t ldinit;           /* 0: the same row for all */
    const int64_t *init_rows; /* (m,): row i takes this row of init; NULL: row i */
    REAL *c;
    int64_t ldc;
    epilogue epilogue;
    int activation; /* of the epilogue: the bptt_cell that names f */
    const REAL *h;  /* of EPILOGUE_ACTIVATION_GRAD (m,n) */
    int64_t ldh;
    int reverse_panels;        /* take the panels from the last to the first: alternating per step reuses the cache */
    span prefetch[PREFETCHES]; /* memory that is read soon, the first one first: a set may prefetch it meanwhile */
} product;

/* the row of init that row i takes, which is not NULL */
LOCAL const REAL *init_row(const product *p, int64_t i) {
    return p->init + (p->init_rows ? p->init_rows[i] : i) * p->ldinit;
}

/* A right operand of outer products and the sum c (m,n) that it adds to: b (k,n). */
typedef struct {
    int64_t m, n;
    const REAL *b;
    int64_t ldb;
    const uint8_t *skip; /* of each row, nonzero: this row of a and b adds nothing, NaN neither; NULL: none */
    REAL *c;
    int64_t ldc;
} outer_operand;

enum { OUTER_OPERANDS = 2 };

/* c += aT b over k rows, for each operand: a (k,m) is packed once for all; one whose c has fewer rows takes the first
 * columns of a. The rows of b and skip may lie in runs: after each `run` of them, `gap` rows belong to others. */
typedef struct {
    int64_t m, k;
    int64_t run, gap; /* gap 0: all rows lie together */
    const REAL *a;
    int64_t lda;
    outer_operand operands[OUTER_OPERANDS]; /* m 0: there is none */
    REAL *scratch;                          /* (outer_scratch(m),) */
} outer_product;

/* where row r of b lies */
LOCAL int64_t outer_row(const outer_product *p, int64_t r) { return p->gap ? r + r / p->run * p->gap : r; }

/* how many of its rows r..end-1 lie together, from r on */
LOCAL int64_t outer_rows_together(const outer_product *p, int64_t r, int64_t end) {
    const int64_t left = p->gap ? p->run - r % p->run : end - r;
    return left < end - r ? left : end - r;
}

/* One step of a gated cell: the arithmetic on gates that follows the products (cells/<cell>_pointwise.h). Matrices have
 * `rows` rows and, but for gates and dz, H columns; rows lie H apart where no distance is given. gates and dz have the
 * cell's gate blocks side by side. */
typedef struct {
    int64_t rows, H;
    REAL *gates;          /* forward: receives the gates; holds the pre-activations before, unless W_hh h is separate */
    const REAL *products; /* forward, where W_hh h is separate: W_hh h + b_hh (rows,G*H) */
    const REAL *h_prev, *c_prev; /* the state that enters the step */
    int64_t ld_prev;
    REAL *h, *c; /* the state that leaves the step; backward of an LSTM reads h */
    int64_t ld;
    const REAL *peepholes; /* (3,H); NULL: none */
    const REAL *leak;      /* (H,), of the cells that have one */
    int activation;        /* of those: the bptt_cell that names f */
    union {
        struct {           /* forward, where W_hh h is separate */
            const REAL *z; /* W_ih x + biases (.,G*H); may lie where the gates will */
            int64_t ld_z;
            const int64_t *z_rows; /* (rows,): row i takes this row of z; NULL: row i */
        };
        struct {            /* backward */
            const REAL *dh; /* gradient by h, rows ld apart; leaky: ld_dz apart */
            int64_t ld_dz;
            REAL *dz; /* receives the gradient by the pre-activations; leaky: may be dh */
        };
    };
    REAL *dh_next;         /* backward: receives the direct term of the gradient by h_prev (GRU: z*dh) */
    REAL *dc_next;         /* backward: gradient by c through the next step, overwritten by that by c_prev */
    const REAL *d_operand; /* backward: gradient by the operand of a product of gates (GRU, reset before: r*h_prev) */
    int adds_dh_next;      /* backward: dh lacks the direct term through the next step, which dh_next holds */
    REAL *leak_terms;      /* backward, leaky: receives the terms of the gradient by the trained leak; NULL: it is not
                              trained */
} gate_step;

/* One forward step of a cell for a batch of one: its products, and the arithmetic of gate_step, LANES units at a time.
 * The matrices are in unit panels. (Backward is multiply_row and the gate function of any batch.) */
typedef struct {
    /* On the stack it does not cross a page: two members stored at once would take a hundred cycles there. */
    _Alignas(256) gate_step step; /* rows is not read; gates NULL: not wanted (a GRU's reset before needs them) */
    int64_t I;
    const REAL *x;          /* the inputs (I,); NULL: z holds their product */
    const REAL *inputs;     /* W_ih */
    const REAL *input_bias; /* (G*H) in unit panels, and that of the other product where it is separate, else NULL */
    const REAL *hh_bias;
    const REAL *z;            /* W_ih x + input_bias (G*H); may be where the gates go, or h of a cell without gates */
    const REAL *recurrent[2]; /* the products of W_hh in the cell's order */
    const REAL *operand;      /* h_{t-1} after recurrent dropout */
    int activation;           /* of a vanilla cell: its bptt_cell */
    int reverse_panels;       /* as in a product */
    REAL *scratch;            /* (H,), where the new h may wait if it replaces the operand; NULL: h lies elsewhere */
} row_step;

_Static_assert(sizeof(row_step) == 256, "a row_step must not be larger than its alignment");

/* The numbers of the functions of such a step in the kernel table. */
enum {
#define ROW_NUMBER(name) name##_number,
    ROW_FUNCTIONS(ROW_NUMBER)
#undef ROW_NUMBER
        ROWS
};

/* An optimiser's step on n parameters, in place; optim_pointwise.h has the formulas. */
typedef struct {
    int64_t n;
    REAL *params;
    const REAL *grads;
    REAL *mean, *square; /* moving averages of the gradients and of their squares; SGD: mean is the velocity or NULL */
    REAL rate, decay, shrink;
    REAL keep1, take1, keep2, take2; /* of mean and of square: the factors of the old value and of the new term */
    REAL root, eps;
    int nesterov;
} update;

typedef struct TYPED(kernels) {
    int vector_bytes; /* 0: plain C; which layouts panels have depends on this alone */
    /* elements of the panels that hold a (k,n) matrix */
    int64_t (*packed_size)(int64_t k, int64_t n);
    /* element (i,j) of the (k,n) matrix is w[i*row_stride + j*col_stride] */
    void (*pack)(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels);
    void (*multiply)(const product *);
    /* The same for a batch of one, in unit panels, which hold matrices (gates*H,k): element (gate, unit j, r) is
     * w[(gate*H + j) * unit_stride + r * k_stride]. multiply_row is multiply with m = 1, panels of one gate and
     * init_rows NULL; multiply_units has many rows, n = gates*H, init one row for all, in panels, and the bits of a
     * row_step's product of x. pack_bias_units packs a + b (gates*H) as a matrix with k = 1; NULL: zeros. */
    int64_t (*unit_panels_size)(int gates, int64_t H, int64_t k);
    void (*pack_units)(int gates, int64_t H, int64_t k, const REAL *w, int64_t unit_stride, int64_t k_stride,
                       REAL *panels);
    void (*pack_bias_units)(int gates, int64_t H, const REAL *a, const REAL *b, REAL *panels);
    void (*multiply_row)(const product *);
    void (*multiply_units)(int gates, const product *);
    void (*outer)(const outer_product *);
    /* elements of scratch of an outer product with m rows: proportional to m, so that a thread's share of the rows has
     * a share of the scratch */
    int64_t (*outer_scratch)(int64_t m);
    /* dz = f'(h) * dh, n elements, in place allowed */
    void (*activation_grad)(int activation, int64_t n, const REAL *h, const REAL *dh, REAL *dz);
    /* sums[j] += the sum over rows of a[row*lda + j], j < n */
    void (*add_column_sums)(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums);
    /* sums[j] += the sum over i < count of a[rows[i]*lda + j], j < n */
    void (*add_listed_rows)(int64_t count, const int64_t *rows, int64_t n, const REAL *a, int64_t lda, REAL *sums);
    /* sum of squares, accumulated in double */
    double (*sum_squares)(int64_t n, const REAL *x);
    /* y = scale * (a - b); returns the sum of (a - b)^2, accumulated in double. y NULL: not wanted */
    double (*squared_error)(int64_t n, REAL scale, const REAL *a, const REAL *b, REAL *y);
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
    /* x += scale * xi, xi standard normal numbers that are a function of key and place */
    void (*add_normal)(int64_t n, uint64_t key, REAL scale, REAL *x);
    /* x onto its rules, each a bptt_rule; masks_only: only BPTT_RULE_ZERO acts */
    void (*constrain)(int64_t n, const int8_t *rules, int masks_only, REAL *x);
/* one function for each name in the cells' list */
#define GATE_MEMBER(name) void (*name)(const gate_step *);
    GATE_FUNCTIONS(GATE_MEMBER)
#undef GATE_MEMBER
    /* with a matrix that is not packed: panels is b transposed (n,k); init_rows NULL */
    void (*multiply_by_rows)(const product *);
    void (*sum_influence)(const influence_sum *);
    void (*step_units)(const unit_step *);
    void (*rows[ROWS])(const row_step *);
    /* bptt_step */
    bptt_status (*step)(const bptt_spec *, int64_t B, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                        REAL *work);
    /* A step of one row, whose arguments were checked: the first layer begins with x or, where that is NULL, with z.
     * `sample` is the address of what the caller gave for this step. */
    bptt_status (*step_row)(const void *sample, const REAL *z, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                            REAL *work);
    void (*sgd)(const update *);
    void (*rmsprop)(const update *); /* and Adagrad */
    void (*adam)(const update *);
} kernels;

/* bptt_step of a call that cannot go at once: all checks, any number of rows */
bptt_status TYPED(bptt_internal_step)(const bptt_spec *, int64_t B, const REAL *packed, const REAL *x, REAL *state,
                                      REAL *y, REAL *work);

/* The table in use, chosen at the first call; NULL if BPTT_ISA names no set that runs here. The variable: NULL before.
 */
const kernels *TYPED(bptt_internal_kernels)(void);
extern _Atomic(const kernels *) TYPED(bptt_internal_chosen);
LOCAL const kernels *kernel_table(void) { return TYPED(bptt_internal_kernels)(); }
#endif
