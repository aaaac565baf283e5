/* Unit panels, and the sums of a batch of one, which go over the hidden units LANES at a time: a vector has the same
 * gate of LANES units, and all their gates lie side by side, so that a cell's arithmetic follows its sums in registers.
 *
 * A panel holds the rows of a matrix (gates*H,k) that belong to LANES units: (k,gates,LANES). Zeros fill the lanes
 * beyond H. Panels follow one another. */
#ifndef BPTT_KERNELS_UNITS_H
#define BPTT_KERNELS_UNITS_H
#include "kernels/kernels.h"
#include "kernels/pack_panel.h"
#include "kernels/pointwise.h"

enum {
    SUMS = 8,       /* sums at a time: enough that no addition waits for the one before */
    MOST_UNITS = 4, /* vectors of units at a time */
    MOST_GATES = 4
};

/* the sums of MOST_UNITS vectors of units */
typedef vec unit_sums[MOST_UNITS][MOST_GATES];

LOCAL int64_t unit_vectors(int64_t H) { return (int64_t)((uint64_t)(H + LANES - 1) / LANES); }
LOCAL int64_t unit_lanes(int64_t H, int64_t j) { return H - j < LANES ? H - j : LANES; }

LOCAL int64_t unit_panels_size(int gates, int64_t H, int64_t k) { return unit_vectors(H) * LANES * gates * k; }

/* Row (gate, unit j) of the matrix is w[(gate*H + j) * unit_stride + r * k_stride] for r < k. */
LOCAL void pack_units(int gates, int64_t H, int64_t k, const REAL *w, int64_t unit_stride, int64_t k_stride,
                      REAL *panels) {
    const int64_t ld = (int64_t)gates * LANES;
    for (int64_t j = 0; j < H; j += LANES, panels += k * ld)
        for (int gate = 0; gate < gates; gate++)
            pack_panel(k, w + (gate * H + j) * unit_stride, k_stride, unit_stride, unit_lanes(H, j), LANES, ld,
                       panels + (int64_t)gate * LANES);
}

/* Vectors a + b (gates*H) as a panel of one row, (gates,LANES) for LANES units; NULL: zeros. */
LOCAL void pack_bias_units(int gates, int64_t H, const REAL *a, const REAL *b, REAL *panels) {
    for (int64_t j = 0; j < H; j += LANES) {
        const int64_t lanes = unit_lanes(H, j);
        for (int64_t i = j; i < j + gates * H; i += H, panels += LANES) {
            vec sum = a ? LOAD(a + i) : splat(0);
            if (b) sum += LOAD(b + i);
            store(panels, sum);
        }
    }
}

/* Adds every second of the chains that lie `apart` to the one before. A loop over `apart`, which doubles, would keep
 * the compiler from holding the parts in registers. */
INLINE void add_chains(const int gates, const int vectors, const int chains, const int apart, unit_sums part[SUMS]) {
    UNROLL
    for (int chain = 0; chain + apart < chains; chain += 2 * apart) UNROLL
    for (int v = 0; v < vectors; v++) UNROLL
    for (int gate = 0; gate < gates; gate++) part[chain][v][gate] += part[chain + apart][v][gate];
}

/* sum[v][gate] += the sum of a[r] times row r of the panel of vector v, for r < k. Each sum has `chains` parts, of
 * every chains-th term, which are added at the end; the first begins with the sum's initial value. */
INLINE void add_terms(const int gates, const int vectors, const int chains, int64_t k, const REAL *a,
                      const REAL *panels, unit_sums sum) {
    const int64_t width = (int64_t)gates * LANES, panel = k * width;
    unit_sums part[SUMS];
    int64_t r = 0;
    UNROLL
    for (int chain = 0; chain < chains; chain++) UNROLL
    for (int v = 0; v < vectors; v++) UNROLL
    for (int gate = 0; gate < gates; gate++) part[chain][v][gate] = chain ? splat(0) : sum[v][gate];
    for (; r + chains <= k; r += chains, panels += chains * width) UNROLL
    for (int chain = 0; chain < chains; chain++) {
        const vec x = splat(a[r + chain]);
        UNROLL
        for (int v = 0; v < vectors; v++) UNROLL
        for (int gate = 0; gate < gates; gate++)
            part[chain][v][gate] += x * load(panels + v * panel + chain * width + gate * LANES);
    }
    for (; chains > 1 && r < k; r++, panels += width) {
        const vec x = splat(a[r]);
        UNROLL
        for (int v = 0; v < vectors; v++) UNROLL
        for (int gate = 0; gate < gates; gate++) part[0][v][gate] += x * load(panels + v * panel + gate * LANES);
    }
    add_chains(gates, vectors, chains, 1, part);
    add_chains(gates, vectors, chains, 2, part);
    add_chains(gates, vectors, chains, 4, part);
    UNROLL
    for (int v = 0; v < vectors; v++) UNROLL
    for (int gate = 0; gate < gates; gate++) sum[v][gate] = part[0][v][gate];
}

/* the chains of so many gates and vectors of units: the smallest power of two that gives SUMS sums or more */
#define CHAINS(gates, vectors)                                                                                         \
    ((gates) * (vectors) >= SUMS ? 1 : (gates) * (vectors) * 2 >= SUMS ? 2 : (gates) * (vectors) * 4 >= SUMS ? 4 : 8)

/* A bias of units j.. in panels. */
INLINE void load_bias(const int gates, const int vectors, const REAL *panels, int64_t j, unit_sums sum) {
    panels += j * gates;
    UNROLL
    for (int v = 0; v < vectors; v++) UNROLL
    for (int gate = 0; gate < gates; gate++) sum[v][gate] = load(panels + (v * gates + gate) * LANES);
}

/* Blocks of H, as store_sums writes them. */
INLINE void load_sums(const int gates, const int vectors, int64_t H, int64_t j, const REAL *from, unit_sums sum) {
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        UNROLL
        for (int gate = 0; gate < gates; gate++) sum[v][gate] = LOAD(from + gate * H + j);
    }
}

/* The sums of units j.. begin with W_ih x + bias: from z, or computed here, term after term. */
INLINE void begin_sums(const int gates, const int vectors, const row_step *row, int64_t j, unit_sums sum) {
    if (!row->x) {
        load_sums(gates, vectors, row->step.H, j, row->z, sum);
        return;
    }
    load_bias(gates, vectors, row->input_bias, j, sum);
    add_terms(gates, vectors, 1, row->I, row->x, row->inputs + j * gates * row->I, sum);
}

/* sum += the product of `gates` blocks of W_hh and the operand (k,) */
#define ADD_RECURRENT(gates, vectors, k, operand, panels, j, sum)                                                      \
    add_terms(gates, vectors, CHAINS(gates, vectors), k, operand, (panels) + (j) * (gates) * (k), sum)

/* The sums of units j.., a block of H for each gate. */
INLINE void store_sums(const int gates, const int vectors, int64_t H, int64_t j, unit_sums sum, REAL *out) {
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        UNROLL
        for (int gate = 0; gate < gates; gate++) STORE(out + gate * H + j, sum[v][gate]);
    }
}

/* group(vectors, j) for all units, `most` vectors (2 or 4) at a time as long as there are as many, j the first unit */
#define EACH_GROUP(H, reverse, most, group)                                                                            \
    do {                                                                                                               \
        const int64_t vectors_ = unit_vectors(H), groups_ = (int64_t)((uint64_t)(vectors_ + (most) - 1) / (most));     \
        for (int64_t i_ = 0; i_ < groups_; i_++) {                                                                     \
            int64_t v_ = ((reverse) ? groups_ - 1 - i_ : i_) * (most);                                                 \
            if (v_ + (most) <= vectors_) {                                                                             \
                group(most, v_ * LANES);                                                                               \
                continue;                                                                                              \
            }                                                                                                          \
            if ((most) > 2 && v_ + 2 <= vectors_) {                                                                    \
                group(2, v_ * LANES);                                                                                  \
                v_ += 2;                                                                                               \
            }                                                                                                          \
            if (v_ < vectors_) group(1, v_ * LANES);                                                                   \
        }                                                                                                              \
        END_VECTORS();                                                                                                 \
    } while (0)

/* The arithmetic of a gated cell on the sums of a vector of units. In line the constants of its polynomials serve two
 * vectors; those of double are so many that copies of the code would cost more. */
#if REAL_BITS == 32
#define UNIT_FUNCTION INLINE
#else
#define UNIT_FUNCTION OUT_OF_LINE
#endif

/* Where the new h of a row goes until all units have their sums: one group of units reads the whole operand first, so
 * that it may replace it at once. */
INLINE REAL *new_h(const row_step *row) { return row->scratch && row->step.H > 2 * LANES ? row->scratch : row->step.h; }

/* Moves the new h to its place. */
INLINE void put_new_h(const row_step *row, const REAL *h) {
    if (h != row->step.h) EACH_VECTOR(row->step.H, STORE(row->step.h + j, LOAD(h + j)));
}

/* ---- one gate -------------------------------------------------------------------------------------------- */

/* The arguments of a product with one gate: out = begin + panels a + init, which is added to the finished sums. They
 * are no struct: building one would take as long as a small product. */
#define ONE_GATE_PARAMS                                                                                                \
    const row_step *row, int64_t n, int64_t k, const REAL *a, const REAL *panels, const REAL *init, REAL *out

INLINE void one_gate_group(const int vectors, int64_t j, ONE_GATE_PARAMS) {
    unit_sums sum = {{splat(0)}, {splat(0)}, {splat(0)}, {splat(0)}};
    if (row) begin_sums(1, vectors, row, j, sum);
    ADD_RECURRENT(1, vectors, k, a, panels, j, sum);
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const int64_t begin = j + v * LANES, lanes = v < vectors - 1 ? LANES : unit_lanes(n, begin);
        if (init) sum[v][0] = LOAD(init + begin) + sum[v][0];
    }
    store_sums(1, vectors, n, j, sum, out);
}

/* begin: W_ih x + bias of `row`, zeros where that is NULL; init (n,), NULL: zeros, may be out; a (k,), out (n,). */
OUT_OF_LINE void multiply_one_gate(ONE_GATE_PARAMS, int reverse_panels) {
#define GROUP(vectors, j) one_gate_group(vectors, j, row, n, k, a, panels, init, out)
    EACH_GROUP(n, reverse_panels, MOST_UNITS, GROUP);
#undef GROUP
}

/* out = W_ih x + bias + W_hh h of a cell with one gate */
INLINE void multiply_vanilla(const row_step *row, REAL *out) {
    const int64_t H = row->step.H;
    multiply_one_gate(row, H, H, row->operand, row->recurrent[0], NULL, out, row->reverse_panels);
}
#endif
