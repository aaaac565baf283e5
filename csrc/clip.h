/* Norms and gradient clipping, in place (Pascanu, Mikolov, Bengio 2013, Algorithm 1). Sums of squares are taken in
 * double; what leaves its range is done again with the largest element factored out. */

static double largest_of(int64_t n, const REAL *x) {
    REAL largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const REAL size = (REAL)fabs((double)x[i]);
        if (!(size <= largest)) largest = size; /* NaN enters, and then nothing but another NaN replaces it */
        if (largest != largest) return (double)largest;
    }
    return (double)largest;
}

/* sqrt of the sum of squares of x[i]/largest, times largest */
static double scaled_norm(int64_t n, const REAL *x) {
    const double largest = largest_of(n, x);
    if (!(largest > 0) || isinf(largest)) return largest;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)x[i] / largest) * ((double)x[i] / largest);
    return largest * sqrt(sum);
}

/* whether a sum of squares lost nothing at the ends of the range */
static int is_square(double sum) { return sum > 1e-280 && sum < 1e300; }

static double norm_of(const TYPED(kernels) * kernels, int64_t n, const REAL *x) {
    const double sum = kernels->sum_squares(n, x);
    return is_square(sum) ? sqrt(sum) : scaled_norm(n, x);
}

/* the norm of a row that is noted by its square or, with a minus sign, by itself */
static double norm_from(double square) { return square > 0 ? sqrt(square) : -square; }

/* the norm of a matrix from its rows', always added in the same order; NaN wins over Inf */
static double norm_of_rows(int64_t rows, const double *squares) {
    double sum = 0, total = 0;
    int plain = 1;
    for (int64_t i = 0; i < rows; i++) {
        sum += squares[i];
        plain &= squares[i] >= 0;
    }
    if (plain) return sqrt(sum);
    for (int64_t i = 0; i < rows; i++) {
        const double norm = norm_from(squares[i]);
        total = isnan(total) || isnan(norm) ? (double)NAN : hypot(total, norm);
    }
    return total;
}

/* A norm that is NaN or Inf scales nothing: that would write zeros or NaN over the evidence. */
static void scale_to(int64_t n, REAL *x, double norm, double max_norm) {
    if (!(norm > max_norm) || isinf(norm)) return;
    const double scale = max_norm / norm;
    for (int64_t i = 0; i < n; i++) x[i] = (REAL)((double)x[i] * scale);
}

bptt_status TYPED(bptt_clip_norm)(int64_t n, REAL *grads, double max_norm, double *norm) {
    const TYPED(kernels) *kernels = TYPED(bptt_internal_kernels)();
    if (!kernels) return BPTT_ERROR_ISA;
    if (!grads || !norm) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    if (!((REAL)max_norm > 0)) return BPTT_ERROR_THRESHOLD;
    *norm = norm_of(kernels, n, grads);
    scale_to(n, grads, *norm, max_norm);
    return BPTT_OK;
}

bptt_status TYPED(bptt_clip_value)(int64_t n, REAL *grads, double limit, double *largest) {
    const TYPED(kernels) *kernels = TYPED(bptt_internal_kernels)();
    if (!kernels) return BPTT_ERROR_ISA;
    if (!grads) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    if (!((REAL)limit > 0)) return BPTT_ERROR_THRESHOLD;
    if (largest) *largest = largest_of(n, grads);
    kernels->clamp(n, (REAL)limit, grads);
    return BPTT_OK;
}
