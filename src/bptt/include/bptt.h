/* bptt: recurrent networks trained by backpropagation through time on the CPU.
 *
 * The one public header of the C core. The core is C11, allocates nothing but a bptt_team where asked to,
 * prints nothing and keeps no state between calls but the table of kernels it chose for this machine.
 *
 * CONVENTIONS
 *   Sizes      T steps, B batch rows, I inputs, H hidden units, O outputs, L layers, D directions (1 or 2),
 *              G blocks of gates (1; GRU 3; LSTM 4).
 *   Arrays     C-contiguous and time-major: x is (T,B,I), a state is (L*D,B,H), an output is (T,B,Y) where
 *              Y = O with a readout and D*H without one. An LSTM's state is h (L*D,B,H) and behind it c (L*D,B,H).
 *              Every size and offset is counted in ELEMENTS.
 *   Ownership  The caller owns every buffer. The core reads and writes them during the call only and keeps
 *              no pointer. bptt_sizes_f32/_f64 says how large each must be. No more alignment is asked for than
 *              that of the type. Buffers that a call writes must not overlap any other buffer of that call unless
 *              said so. NULL is allowed only where the comment says what it means.
 *   Types      Every function that touches data has two forms, _f32 (float) and _f64 (double).
 *   Errors     Every function returns bptt_status; anything but BPTT_OK means that no buffer was written
 *              (BPTT_ERROR_INTERRUPTED excepted).
 *   Threads    Every function may be called from any thread; calls on separate buffers run in parallel.
 *              Threads that a call makes are joined before it returns; those of a bptt_team wait for the next
 *              call. The results are the same to the bit for any number of threads. For a small network and a large
 *              batch, backward computes the gradients of the parameters for 2, 4 or 8 parts of the batch and adds
 *              them up at the end: how many parts depends on sizes alone. If bptt_options.poll forks, the call that
 *              goes on in the child ends with BPTT_ERROR_INTERRUPTED where it used several threads: the child does
 *              not have them.
 *   Growth     Later versions add functions, and fields at the ends of structs. struct_size says which fields a caller
 *              knows: those it does not know count as zero, so a program built against an older header still works.
 *              Structs without struct_size, and the arguments of functions, stay as they are.
 *   NaN, Inf   pass through as IEEE 754 says; nothing hides them. What a reset or a carry of 0 cuts off stops there.
 */
#ifndef BPTT_H
#define BPTT_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header. */
#define BPTT_VERSION_MAJOR 0
#define BPTT_VERSION_MINOR 1
#define BPTT_VERSION_PATCH 0

/* The prefix of every function's declaration: empty unless the includer defined it. */
#ifndef BPTT_API
#define BPTT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status -------------------------------------------------------------------------------------- */

/* The result of every function that can fail. */
typedef enum bptt_status {
    BPTT_OK = 0,
    BPTT_ERROR_NULL = 1,      /* a required pointer is NULL */
    BPTT_ERROR_STRUCT = 2,    /* struct_size is not set, or larger than this library's struct */
    BPTT_ERROR_CELL = 3,      /* the cell is not one of bptt_cell */
    BPTT_ERROR_SIZE = 4,      /* a size is zero or negative (O may be zero), or a tensor's index is beyond the last */
    BPTT_ERROR_OVERFLOW = 5,  /* sizes multiply beyond what memory can address */
    BPTT_ERROR_OPTION = 6,    /* an option, a reduction or a field of the spec is out of its range, NaN, or
                                 does not go with another */
    BPTT_ERROR_THRESHOLD = 7, /* a clipping threshold is NaN or, in the array's type, not above zero */
    BPTT_ERROR_LABEL = 8,     /* a label is neither a class nor the ignored one */
    BPTT_ERROR_WINDOW = 9,    /* k1 < 1, or k2 < k1, or a window beyond the last */
    BPTT_ERROR_HYPERPARAMETER = 10, /* an optimiser's number is NaN or out of its range, or becomes Inf or 0 in the
                                       array's type */
    BPTT_ERROR_INTERRUPTED = 11,    /* bptt_options.poll asked to stop: outputs and gradients are unfinished */
    BPTT_ERROR_ISA = 12,            /* BPTT_ISA names a kernel set that is unknown or does not run here */
    BPTT_ERROR_LENGTHS = 13,        /* a length is not in 1..T, or above the one before it */
    BPTT_ERROR_MEMORY = 14,         /* malloc failed */
    BPTT_ERROR_TOKEN = 15,          /* an integer input is not in 0..V-1 */
    BPTT_ERROR_PACKED = 16          /* packed was not written by this library's bptt_pack for the same spec, type and
                                       kernel set */
} bptt_status;

/* One English sentence without a full stop; never NULL, also for numbers that are no status. */
BPTT_API const char *bptt_status_string(bptt_status status);

/* The version of the library that runs, as "major.minor.patch" (the macros are what you compiled against). */
BPTT_API const char *bptt_version(void);

/* The kernel set in use ("portable", "generic", "avx2", "avx512", "neon"), or NULL if BPTT_ISA in the environment names
 * none that runs here. bptt_isa_choices: the names that run here, best last, as "portable, generic, avx2". */
BPTT_API const char *bptt_isa(void);
BPTT_API const char *bptt_isa_choices(void);

/* ---- the network --------------------------------------------------------------------------------- */

/* The cells. s is the logistic function, * goes by elements.
 *   tanh, relu, sigmoid, identity  h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) with f by name (Elman 1990)
 *   LSTM    blocks i,f,g,o:  i,f,o = s(.), g = tanh(.),  c_t = f*c_{t-1} + i*g,  h_t = o*tanh(c_t) (Hochreiter &
 *           Schmidhuber 1997; Gers et al. 2000); with peepholes (Gers et al. 2002) i and f also see p*c_{t-1}, o sees
 *           p*c_t
 *   GRU     blocks r,z,n:  r,z = s(.),  n = tanh(W_in x + b_in + r*(W_hn h + b_hn)), or with reset_before
 *           n = tanh(W_in x + b_in + W_hn (r*h) + b_hn),  h_t = (1-z)*n + z*h_{t-1} (Cho et al. 2014)
 * With a leak a (bptt_spec.leak, learn_leak) the first four are leaky integrators (Jaeger et al. 2007):
 * h_t = (1-a)*h_{t-1} + a*f(z_t), z_t the argument of f above. a = dt/tau is Euler's step of tau dh/dt = -h + f(z). */
typedef enum bptt_cell {
    BPTT_CELL_TANH = 0,
    BPTT_CELL_RELU = 1,
    BPTT_CELL_SIGMOID = 2,
    BPTT_CELL_IDENTITY = 3,
    BPTT_CELL_LSTM = 4,
    BPTT_CELL_GRU = 5
} bptt_cell;

/* The name of a cell as Python users write it ("tanh", "lstm", ...); NULL for a number that is no cell, so that
 * counting up from 0 lists them all. */
BPTT_API const char *bptt_cell_name(int cell);

/* What the network is. Set struct_size = sizeof(bptt_spec) and zero what you do not use. */
typedef struct bptt_spec {
    size_t struct_size;
    int64_t input_size;       /* I >= 1 */
    int64_t hidden_size;      /* H >= 1 */
    int64_t output_size;      /* O >= 1: a readout o_t = W_ho h_t + b_o of the last layer; 0: none, the output is h_t */
    int32_t cell;             /* bptt_cell */
    int32_t bias;             /* 1: with b_ih, b_hh and b_o; 0: without */
    int32_t num_layers;       /* L; 0 means 1. A layer's inputs are the states of the one below */
    int32_t bidirectional;    /* 1: each layer also runs from the last step to the first; outputs lie side by side */
    int32_t reset_before;     /* GRU: 1: the reset gate acts before the product with W_hn */
    int32_t peepholes;        /* LSTM: 1: the gates see the cell state */
    int32_t learn_state;      /* 1: the initial state is a parameter, the same for all rows, where none is given */
    int32_t one_hot;          /* 1: the inputs are integers 0..V-1 with V = input_size, see INTEGER INPUTS */
    double dropout;           /* in [0,1), to the nearest 2^-16 below 1: share of the inputs of layers above the
                                 first that training drops */
    double recurrent_dropout; /* in [0,1): share of h_{t-1} that training drops before the product with W_hh, the same
                                 units at all steps (Gal & Ghahramani 2016) */
    int64_t num_embeddings;   /* V >= 1: the inputs are integers 0..V-1, see INTEGER INPUTS; 0: none */
    int64_t padding_row;      /* r+1: row r of the embedding, 0 <= r < V, gets no gradient; 0: all rows get theirs */
    double leak;              /* tanh, relu, sigmoid, identity: a in (0,1]; 1 or 0: no leak */
    double noise;             /* standard deviation, >= 0, of the noise that training adds to the pre-activations of
                                 every step: xi_t of W_ih x_t + b_ih + noise * xi_t, standard normal */
    int64_t learn_leak;       /* 1: a = s(leak_l{k}), a trained value for each unit in (0,1); leak is not used then */
} bptt_spec;

/* INTEGER INPUTS. A network with one_hot or num_embeddings takes integers (bptt_options.tokens) in place of x; x and dx
 * are NULL, as an integer has no gradient. NaN or Inf in a column or row that no integer picks reaches nothing. The
 * time of a call depends on how many integers it gets and not on V (that of bptt_pack does). Gradients of a column or
 * row are summed as all others: for each part of the batch chunk by chunk as backward goes over the steps, within a
 * chunk in the order of (t,b); neither depends on threads.
 *   one_hot         the integer v stands for the unit vector e_v of V = input_size elements, which is never made:
 *                   W_ih x_t + b_ih is column v of W_ih plus b_ih, to the bit what a product with e_v gives
 *   num_embeddings  the integer v picks row v of the trained tensor `embedding` (V,I), which is the input x_t (as
 *                   PyTorch's nn.Embedding in front of the network; padding_row is its padding_idx + 1) */

/* One named tensor inside the flat parameter buffer (gradients lie in the same places of their own buffer).
 * Names and shapes are PyTorch's, for each layer k and direction ("" or "_reverse"): weight_ih_l{k} (G*H,I or D*H),
 * weight_hh_l{k} (G*H,H), bias_ih_l{k} (G*H), bias_hh_l{k} (G*H), weight_peephole_l{k} (3,H: i,f,o), leak_l{k} (H);
 * then weight_ho (O,D*H), bias_o (O), state_h0 (L*D,H), state_c0 (L*D,H), and embedding (V,I) at the end: what lies
 * before it is one array whose size does not grow with V. Rows of W are output units. */
typedef struct bptt_tensor {
    char name[32];
    int64_t offset, rows, cols; /* cols = 0: a vector of `rows` elements */
} bptt_tensor;

/* How many tensors the flat buffer holds, and the index-th of them in memory order. */
BPTT_API bptt_status bptt_tensor_count(const bptt_spec *spec, int64_t *count);
BPTT_API bptt_status bptt_tensor_at(const bptt_spec *spec, int64_t index, bptt_tensor *tensor);

/* Threads that stay between calls: making one takes longer than a small call. A team has none until a call with
 * bptt_options.team needs some; they sleep between calls, after at most 1 ms of waiting awake. It serves one call at a
 * time (others meanwhile make threads of their own), and in a child of fork() it begins anew.
 *   bptt_team_make  *team receives a new team; BPTT_ERROR_MEMORY if malloc fails
 *   bptt_team_free  ends its threads; NULL is allowed, a team in use is not */
typedef struct bptt_team bptt_team;
BPTT_API bptt_status bptt_team_make(bptt_team **team);
BPTT_API void bptt_team_free(bptt_team *team);

/* Options of one call. NULL in place of the struct means all defaults; zero in a field means its default.
 * Set struct_size = sizeof(bptt_options). Pointers marked "typed" are float* in _f32, double* in _f64 calls. Forward
 * and backward may be given the same struct: each checks all numbers, and does not read nor write what the other's
 * fields
 * ("forward only", "backward only") point to. */
typedef struct bptt_options {
    size_t struct_size;
    int32_t threads;        /* most threads to use; 0: one per processor. Small work uses fewer, forward of a large
                               network at most 24, backward at most 64, where the batch has parts one for each. */
    int32_t carry_per_row;  /* carry is (T,B) instead of (T,) */
    const uint8_t *reset;   /* (T,B), nonzero: a sequence begins at this step of this row. Its entering state is zero,
                               and no gradient crosses there, in either direction, NaN and Inf neither. Backward
                               needs the same array as forward. NULL: never. */
    const void *carry;      /* typed (T,) or (T,B), backward only: scales the gradient that flows between step
                               t+1 and step t; exactly 0 cuts it, NaN and Inf included. carry[T-1]
                               scales nothing. NULL: 1 (Tallec & Ollivier 2017 give 1/(1-c)). */
    double step_clip_norm;  /* backward only: scale each row of dL/dh_t to a norm of at most this */
    double step_clip_value; /* backward only: clamp each element of dL/dh_t to +- this, after the norm */
    void *step_norms;       /* typed (L*D,T), backward only: receives ||dL/dh_t||, Frobenius over rows and units,
                               before any per-step clip. NULL: not wanted. */
    int64_t dy_start;       /* backward only: dy holds steps dy_start..T-1; earlier outputs have no gradient */
    int64_t tape_steps;     /* the tape was sized for this many steps; 0: for T */
    int64_t tape_first;     /* the call works on steps tape_first..tape_first+T-1 of the tape; if it is above zero
                               and state0 is NULL, forward continues from the state that the tape holds */
    int (*poll)(void *);    /* called from the calling thread every few milliseconds of work; a nonzero
                               result ends the call with BPTT_ERROR_INTERRUPTED. NULL: never. */
    void *poll_context;
    const int64_t *lengths; /* (B,), each in 1..T and none above the one before: row b has steps 0..lengths[b]-1.
                               Later outputs are zero, the final state is that of the row's last step, and the
                               reverse direction starts there. Backward needs the same as forward. NULL: all T. */
    int64_t segment;        /* k > 0: checkpoints: the tape holds only the state that enters every k-th step, and
                               backward computes the others again, k steps at a time (Chen et al. 2016). One
                               direction only, without tape_steps and tape_first. 0: the tape holds everything. */
    int64_t *forward_steps; /* the number of steps that this call computed forward is added here. NULL: not wanted */
    int32_t training;       /* 1: dropout and noise act. Backward needs the same training, dropout_seed and first_step
                               as forward. */
    int32_t state_given;    /* backward only, with learn_state: 1: forward had a state0 or continued from the tape, so
                               the learned state gets no gradient */
    uint64_t dropout_seed;  /* dropout masks and noise are functions of this number and of layer, direction, step, row
                               and unit */
    int64_t first_step;     /* index of this call's step 0 within the whole sequence; selects masks and noise */
    bptt_team *team;        /* threads that stay between calls, so that smaller work is worth sharing out; NULL: the
                               call makes its threads and joins them */
    const int64_t *tokens;  /* (T,B), each in 0..V-1: the inputs of a network that takes integers, which must have them,
                               and of no other. Those beyond a row's length are not read. Backward needs the same as
                               forward. */
    void *states;           /* typed (T,L*D,B,H), for an LSTM h of all steps and behind it c of all steps; forward only:
                               receives the state after every step, zeros beyond a row's length. NULL: not wanted */
    const void *dstates;    /* typed, the same shape, backward only: gradient of the loss with respect to these states,
                               beside those that reach them by the outputs and the next step. NULL: zeros */
} bptt_options;

/* Why a call on a network was refused: one English sentence without a full stop about the first argument that is wrong.
 * It names the argument or the member of its struct, what that must be and what it was, as
 * "hidden_size must be at least 1, got 0".
 *   text  receives the sentence, cut off to `size` bytes with the 0 at its end; may be NULL: nothing is written
 *   returns its whole length without the 0, as snprintf does. Where nothing is wrong, 0, and text becomes empty
 * The rules are those of bptt_sizes, bptt_forward and bptt_backward of the same type. Integers are looked at where
 * options have tokens; whether a buffer that a call needs is NULL, this function cannot see. bptt_pack, bptt_step,
 * bptt_tape_shift and learners check the spec by the same rules, with T = 1 or tape_steps and without options, before
 * their own. */
BPTT_API int bptt_explain_f32(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options, char *text,
                              size_t size);
BPTT_API int bptt_explain_f64(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options, char *text,
                              size_t size);

/* Sizes of the buffers of a call, in elements of the type asked; of the options only tape_steps and segment matter.
 * With the same segment they never fall as T or tape_steps grow. Set struct_size before the call. */
typedef struct bptt_sizes {
    size_t struct_size;
    int64_t params;        /* parameters, and as many gradients */
    int64_t state;         /* one state, (L*D,B,H), twice that for an LSTM */
    int64_t output;        /* y and dy, (T,B,Y) */
    int64_t tape;          /* what forward leaves for backward; ((T or tape_steps) + 1, B, H) for one vanilla layer
                              without a leak */
    int64_t forward_work;  /* scratch of bptt_forward */
    int64_t backward_work; /* scratch of bptt_backward */
    int64_t packed;        /* weights packed by bptt_pack */
    int64_t step_work;     /* scratch of bptt_step */
} bptt_sizes;

/* The sizes of the buffers of calls on T steps and B rows. */
BPTT_API bptt_status bptt_sizes_f32(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                    bptt_sizes *sizes);
BPTT_API bptt_status bptt_sizes_f64(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                    bptt_sizes *sizes);

/* Forward over T steps.
 *   params  (params)   flat parameters
 *   x       (T,B,I)    inputs; NULL where they are bptt_options.tokens
 *   state0  (state)    the initial state, which enters step 0; NULL: zeros or the learned state (see tape_first)
 *   y       (T,B,Y)    receives the outputs; NULL: not wanted
 *   state1  (state)    receives the state after the last step; NULL: not wanted; may be state0
 *   tape    (tape)     receives what backward needs (one vanilla layer without a leak: the initial state, then h_0 ..
 *                      h_{T-1}; the layout of others may change); NULL: no backward will follow, and with one
 *                      direction memory does not grow with T
 *   work    (forward_work) */
BPTT_API bptt_status bptt_forward_f32(const bptt_spec *spec, int64_t T, int64_t B, const float *params, const float *x,
                                      const float *state0, float *y, float *state1, float *tape, float *work,
                                      const bptt_options *options);
BPTT_API bptt_status bptt_forward_f64(const bptt_spec *spec, int64_t T, int64_t B, const double *params,
                                      const double *x, const double *state0, double *y, double *state1, double *tape,
                                      double *work, const bptt_options *options);

/* Backward over the T steps of the tape (Rumelhart, Hinton, Williams 1986; Werbos 1990).
 *   params, x, tape     those of the forward call (parameters changed since then are used as they are)
 *   dy       (T-dy_start,B,Y)  gradient of the loss with respect to the outputs; NULL: zeros
 *   dstate1  (state)    gradient with respect to the state after the last step; NULL: zeros
 *   dx       (T,B,I)    receives the gradient with respect to x; NULL: not wanted, or the inputs are tokens
 *   dstate0  (state)    receives the gradient with respect to the initial state; NULL: not wanted; may be dstate1
 *   grads    (params)   the gradients with respect to the parameters are ADDED here; NULL: not wanted
 *   work     (backward_work) */
BPTT_API bptt_status bptt_backward_f32(const bptt_spec *spec, int64_t T, int64_t B, const float *params, const float *x,
                                       const float *tape, const float *dy, const float *dstate1, float *dx,
                                       float *dstate0, float *grads, float *work, const bptt_options *options);
BPTT_API bptt_status bptt_backward_f64(const bptt_spec *spec, int64_t T, int64_t B, const double *params,
                                       const double *x, const double *tape, const double *dy, const double *dstate1,
                                       double *dx, double *dstate0, double *grads, double *work,
                                       const bptt_options *options);

/* Moves the last `keep` steps of the first `used` steps of a tape (and the state that enters them) to its
 * front, so that forward can continue at tape_first = keep. used >= 1, 0 <= keep <= used <= tape_steps, those of the
 * tape. One direction only. */
BPTT_API bptt_status bptt_tape_shift_f32(const bptt_spec *spec, int64_t B, int64_t tape_steps, int64_t used,
                                         int64_t keep, float *tape);
BPTT_API bptt_status bptt_tape_shift_f64(const bptt_spec *spec, int64_t B, int64_t tape_steps, int64_t used,
                                         int64_t keep, double *tape);

/* One step at a time, weights packed once. One direction only; without dropout and noise. bptt_step_tokens is bptt_step
 * for a network that takes integers, and for no other. A step allocates nothing, takes no lock and makes no system
 * call, so a real-time thread may call it. For a batch of one it gives the bits of bptt_forward on a batch of one, for
 * a larger one those of bptt_forward on as many rows.
 *   packed  (packed)     written by bptt_pack; valid until the parameters change, for steps of any number of rows. It
 *                        may be copied to any address of the type's alignment and gives the same bits there; a copy is
 *                        as fast where both addresses are aligned to 64 bytes. What was not packed by this version of
 *                        the library for the same spec, type and kernel set is BPTT_ERROR_PACKED. (Steps on
 *                        consecutive samples, x + I each time, reuse the cache best.)
 *   x       (B,I)        the input of this step
 *   tokens  (B,)         the same as integers
 *   state   (state)      read and overwritten
 *   y       (B,Y)        receives the output; NULL: not wanted; may overlap x
 *   work    (step_work)  */
BPTT_API bptt_status bptt_pack_f32(const bptt_spec *spec, const float *params, float *packed);
BPTT_API bptt_status bptt_pack_f64(const bptt_spec *spec, const double *params, double *packed);
BPTT_API bptt_status bptt_step_f32(const bptt_spec *spec, int64_t B, const float *packed, const float *x, float *state,
                                   float *y, float *work);
BPTT_API bptt_status bptt_step_f64(const bptt_spec *spec, int64_t B, const double *packed, const double *x,
                                   double *state, double *y, double *work);
BPTT_API bptt_status bptt_step_tokens_f32(const bptt_spec *spec, int64_t B, const float *packed, const int64_t *tokens,
                                          float *state, float *y, float *work);
BPTT_API bptt_status bptt_step_tokens_f64(const bptt_spec *spec, int64_t B, const double *packed, const int64_t *tokens,
                                          double *state, double *y, double *work);

/* ---- learning at every step, forward in time ------------------------------------------------------- */

/* The influence J_t = ds_t/dparams of the parameters on the state is carried forward: J_t = D_t J_{t-1} + I_t, with the
 * state s_t (h, for an LSTM h and c), D_t = ds_t/ds_{t-1}, and I_t for what step t itself makes of the parameters. The
 * gradient of step t's loss is (dl_t/ds_t) J_t. There is no tape of the sequence: memory does not grow with its length.
 *   RTRL    all of J (Williams & Zipser 1989): exact. At fixed parameters the gradients of all steps add up to what
 *           bptt_backward gives. Where parameters change between steps, J is that of the path that was taken. D_t is
 *           applied for a span of steps at once (Schmidhuber 1992): every span-th step takes about (states*H)^2 * P
 *           operations, a backward about states*H * P
 *   SNAP1   of J only the entries that I_t can fill, those of each parameter for its own unit; D_t acts on them by its
 *           diagonal, for an LSTM by each unit's 2 x 2 block (Menick et al. 2021). Biased. An embedding acts on all
 *           units within a step: all of its influence is kept. So would all be with reset_before, which is an error
 *
 * One layer in one direction, without recurrent_dropout. */
typedef enum bptt_method { BPTT_METHOD_RTRL = 0, BPTT_METHOD_SNAP1 = 1 } bptt_method;

/* Sizes of the buffers of a learner, in elements of the type asked. Set struct_size before the call. */
typedef struct bptt_learner_sizes {
    size_t struct_size;
    int64_t memory;    /* what a learner keeps from call to call: the influence, and a tape of `span` steps */
    int64_t work;      /* scratch of bptt_learner_step and bptt_learner_backward */
    int64_t influence; /* the part of memory that is the influence: RTRL B * states*H * P, SNAP1 B * states * P, with P
                          the parameters without the readout, rounded up to a cache line. In SNAP1 each entry of an
                          embedding counts as states*H. */
    int64_t span;      /* steps on the tape: of RTRL H/2, at least 8 and at most 64; of SNAP1 1 */
} bptt_learner_sizes;

/* A learner of B rows.
 *   sizes     the sizes of its buffers
 *   reset     begins anew: the state becomes state0 or, where that is NULL, zeros or the learned state; of the
 *             parameters only the learned state has an influence then. Comes first, for all rows
 *   step      one step: y from x, or from the tokens of a network that takes integers; the influence follows
 *   backward  adds the gradients of the last step's loss to grads; rows that were reset since then add nothing. The
 *             readout is that of params as they are now. Several losses of a step may each have their backward
 *
 *   params  (params)     may change between calls
 *   rows    (B,)         nonzero: this row begins anew; NULL: all do
 *   state0  (state)      does not depend on the parameters; NULL: see reset; may be state
 *   state   (state)      read and overwritten by step
 *   x       (B,I)        NULL where the inputs are tokens
 *   y       (B,Y)        receives the output; NULL: not wanted; may overlap x
 *   dy      (B,Y)        gradient of the step's loss with respect to y
 *   grads   (params)     the gradients are ADDED here
 *   memory  (memory)     belongs to the learner. BPTT_ERROR_OPTION unless reset has filled it, at this address, for the
 *                        same spec, method, B, type and kernel set. 8 bytes of it are read also where another argument
 *                        is wrong
 *   work    (work)
 *   options              threads, team, tokens (B,), training, dropout_seed and first_step; others that are set are
 *                        BPTT_ERROR_OPTION. With training a step has the noise that step first_step of bptt_forward has
 *                        with the same dropout_seed: count first_step from 0, so that the steps of a sequence equal one
 *                        forward over it. backward needs no noise. NULL: defaults */
BPTT_API bptt_status bptt_learner_sizes_f32(const bptt_spec *spec, bptt_method method, int64_t B,
                                            bptt_learner_sizes *sizes);
BPTT_API bptt_status bptt_learner_sizes_f64(const bptt_spec *spec, bptt_method method, int64_t B,
                                            bptt_learner_sizes *sizes);
BPTT_API bptt_status bptt_learner_reset_f32(const bptt_spec *spec, bptt_method method, int64_t B, const float *params,
                                            const uint8_t *rows, const float *state0, float *state, float *memory);
BPTT_API bptt_status bptt_learner_reset_f64(const bptt_spec *spec, bptt_method method, int64_t B, const double *params,
                                            const uint8_t *rows, const double *state0, double *state, double *memory);
BPTT_API bptt_status bptt_learner_step_f32(const bptt_spec *spec, bptt_method method, int64_t B, const float *params,
                                           const float *x, float *state, float *y, float *memory, float *work,
                                           const bptt_options *options);
BPTT_API bptt_status bptt_learner_step_f64(const bptt_spec *spec, bptt_method method, int64_t B, const double *params,
                                           const double *x, double *state, double *y, double *memory, double *work,
                                           const bptt_options *options);
BPTT_API bptt_status bptt_learner_backward_f32(const bptt_spec *spec, bptt_method method, int64_t B,
                                               const float *params, const float *dy, float *grads, float *memory,
                                               float *work, const bptt_options *options);
BPTT_API bptt_status bptt_learner_backward_f64(const bptt_spec *spec, bptt_method method, int64_t B,
                                               const double *params, const double *dy, double *grads, double *memory,
                                               double *work, const bptt_options *options);

/* ---- windows of truncated BPTT (Williams & Peng 1990) -------------------------------------------- */

/* Every k1 steps backward runs over at most k2 steps: the losses of steps start..stop-1 enter, the gradient
 * flows back to step `back` and no further. Each loss enters exactly once. */
typedef struct bptt_window {
    int64_t start, stop, back; /* 0 <= back <= start < stop <= T */
} bptt_window;

/* How many windows T steps have, and the index-th of them, counted from 0. 1 <= k1 <= k2. */
BPTT_API bptt_status bptt_window_count(int64_t T, int64_t k1, int64_t k2, int64_t *count);
BPTT_API bptt_status bptt_window_at(int64_t T, int64_t k1, int64_t k2, int64_t index, bptt_window *window);

/* ---- gradient clipping, in place (Pascanu, Mikolov, Bengio 2013) --------------------------------- */

/* If the Euclidean norm of the n elements is above max_norm (> 0, may be Inf), scale them by max_norm/norm.
 * *norm receives the norm before. If that is NaN or Inf nothing is scaled. */
BPTT_API bptt_status bptt_clip_norm_f32(int64_t n, float *grads, double max_norm, double *norm);
BPTT_API bptt_status bptt_clip_norm_f64(int64_t n, double *grads, double max_norm, double *norm);

/* x *= factor. To clip several arrays to one norm, measure each by bptt_clip_norm with INFINITY as max_norm; if the
 * root of the sum of the squares of these norms is above the limit, scale each array by limit / root. */
BPTT_API bptt_status bptt_scale_f32(int64_t n, float *x, double factor);
BPTT_API bptt_status bptt_scale_f64(int64_t n, double *x, double factor);

/* Clamp the n elements to [-limit, limit] (limit > 0, may be Inf); NaN stays NaN. *largest (NULL: not wanted)
 * receives the largest absolute value before, NaN if there is any NaN. */
BPTT_API bptt_status bptt_clip_value_f32(int64_t n, float *grads, double limit, double *largest);
BPTT_API bptt_status bptt_clip_value_f64(int64_t n, double *grads, double limit, double *largest);

/* ---- constraints on parameters, in place ----------------------------------------------------------- */

/* What an element may be. Dale's law asks that each column of W_hh has one sign; a mask sets elements to zero. */
typedef enum bptt_rule {
    BPTT_RULE_ZERO = 0,          /* only 0 */
    BPTT_RULE_AT_LEAST_ZERO = 1, /* x = max(0, x) */
    BPTT_RULE_AT_MOST_ZERO = 2,  /* x = min(0, x) */
    BPTT_RULE_FREE = 3           /* anything */
} bptt_rule;

/* Sets each of the n elements of x to the nearest number that its rule allows; a NaN stays, unless only 0 is allowed.
 *   rules       (n)  each a bptt_rule; other numbers are free
 *   masks_only  0: for parameters, after an optimiser's step; 1: only BPTT_RULE_ZERO acts: for gradients before the
 *               step, so that masked ones count in no norm and what the optimiser keeps of them stays zero, or for
 *               what it keeps itself
 * To bound the norm of each unit's incoming weights, give each row of the matrix to bptt_clip_norm. */
BPTT_API bptt_status bptt_constrain_f32(int64_t n, const int8_t *rules, int masks_only, float *x);
BPTT_API bptt_status bptt_constrain_f64(int64_t n, const int8_t *rules, int masks_only, double *x);

/* ---- losses: value and gradient in one pass ------------------------------------------------------ */

/* Whether a loss is the mean or the sum of its terms. */
typedef enum bptt_reduction { BPTT_REDUCTION_MEAN = 0, BPTT_REDUCTION_SUM = 1 } bptt_reduction;

/* All take N rows (steps times batch rows) of C columns, an optional mask (N,) whose zeros leave a row out,
 * and write the gradient with respect to their first array to dy (N,C) (NULL: not wanted; rows left out get 0).
 * MEAN divides by the elements that count: rows * C, for cross-entropy the rows, for the weighted one the sum of the
 * weights of their labels; if that is 0, loss and gradient are. *loss is double in both types.
 *   mse                   sum (y - target)^2
 *   cross_entropy         sum_rows -log softmax(logits)[label]; labels (N,) in 0..C-1, `ignore` leaves a row out
 *   binary_cross_entropy  sum -target*log s(z) - (1-target)*log(1-s(z)), z the logits, s the logistic function
 *   huber                 sum (y - target)^2 / 2 where |y - target| <= delta, else delta (|y - target| - delta/2);
 *                         delta > 0 in the type of the arrays, may be Inf
 *   weighted_cross_entropy  cross_entropy with class weights w (C,), finite and >= 0 (NULL: all 1), and label_smoothing
 *                         e in [0, 1]: sum_rows (1-e) w[label] (-log p[label]) + e/C sum_c w[c] (-log p[c]), p =
 *                         softmax(logits)
 * Infinite logits give the limit: 0 where the logit is certain of the target, Inf where it rules the target out, NaN
 * where there is no limit (two logits of +Inf, or all of -Inf, in a row of cross_entropy). */
BPTT_API bptt_status bptt_mse_f32(int64_t N, int64_t C, const float *y, const float *target, const uint8_t *mask,
                                  bptt_reduction reduction, float *dy, double *loss);
BPTT_API bptt_status bptt_mse_f64(int64_t N, int64_t C, const double *y, const double *target, const uint8_t *mask,
                                  bptt_reduction reduction, double *dy, double *loss);
BPTT_API bptt_status bptt_cross_entropy_f32(int64_t N, int64_t C, const float *logits, const int64_t *labels,
                                            int64_t ignore, const uint8_t *mask, bptt_reduction reduction, float *dy,
                                            double *loss);
BPTT_API bptt_status bptt_cross_entropy_f64(int64_t N, int64_t C, const double *logits, const int64_t *labels,
                                            int64_t ignore, const uint8_t *mask, bptt_reduction reduction, double *dy,
                                            double *loss);
BPTT_API bptt_status bptt_binary_cross_entropy_f32(int64_t N, int64_t C, const float *logits, const float *target,
                                                   const uint8_t *mask, bptt_reduction reduction, float *dy,
                                                   double *loss);
BPTT_API bptt_status bptt_binary_cross_entropy_f64(int64_t N, int64_t C, const double *logits, const double *target,
                                                   const uint8_t *mask, bptt_reduction reduction, double *dy,
                                                   double *loss);
BPTT_API bptt_status bptt_weighted_cross_entropy_f32(int64_t N, int64_t C, const float *logits, const int64_t *labels,
                                                     int64_t ignore, const float *weight, double label_smoothing,
                                                     const uint8_t *mask, bptt_reduction reduction, float *dy,
                                                     double *loss);
BPTT_API bptt_status bptt_weighted_cross_entropy_f64(int64_t N, int64_t C, const double *logits, const int64_t *labels,
                                                     int64_t ignore, const double *weight, double label_smoothing,
                                                     const uint8_t *mask, bptt_reduction reduction, double *dy,
                                                     double *loss);
BPTT_API bptt_status bptt_huber_f32(int64_t N, int64_t C, const float *y, const float *target, double delta,
                                    const uint8_t *mask, bptt_reduction reduction, float *dy, double *loss);
BPTT_API bptt_status bptt_huber_f64(int64_t N, int64_t C, const double *y, const double *target, double delta,
                                    const uint8_t *mask, bptt_reduction reduction, double *dy, double *loss);

/* ---- optimisers: one step over n parameters, in place --------------------------------------------- */

/* g below is grads + weight_decay * params. State buffers (n,) start at zero (adagrad: at any value >= 0).
 *   sgd      velocity = momentum*velocity + g; params -= lr * (nesterov ? g + momentum*velocity : velocity);
 *            velocity may be NULL if momentum is 0
 *   rmsprop  square = alpha*square + (1-alpha)*g^2; params -= lr * g / (sqrt(square) + eps) (Hinton 2012)
 *   adagrad  square += g^2; params -= lr * g / (sqrt(square) + eps) (Duchi, Hazan, Singer 2011)
 *   adam     Kingma & Ba 2015, `step` counts from 1; decoupled: weight decay as in AdamW (Loshchilov 2019)
 * lr, momentum, eps and weight_decay are 0, or above 0 and finite in the type of the arrays. Of adam lr/(1-beta1^step),
 * and with decoupled lr*weight_decay, must be finite in it too. */
BPTT_API bptt_status bptt_sgd_f32(int64_t n, float *params, const float *grads, float *velocity, double lr,
                                  double momentum, int nesterov, double weight_decay);
BPTT_API bptt_status bptt_sgd_f64(int64_t n, double *params, const double *grads, double *velocity, double lr,
                                  double momentum, int nesterov, double weight_decay);
BPTT_API bptt_status bptt_rmsprop_f32(int64_t n, float *params, const float *grads, float *square, double lr,
                                      double alpha, double eps, double weight_decay);
BPTT_API bptt_status bptt_rmsprop_f64(int64_t n, double *params, const double *grads, double *square, double lr,
                                      double alpha, double eps, double weight_decay);
BPTT_API bptt_status bptt_adagrad_f32(int64_t n, float *params, const float *grads, float *square, double lr,
                                      double eps, double weight_decay);
BPTT_API bptt_status bptt_adagrad_f64(int64_t n, double *params, const double *grads, double *square, double lr,
                                      double eps, double weight_decay);
BPTT_API bptt_status bptt_adam_f32(int64_t n, float *params, const float *grads, float *mean, float *square,
                                   int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay,
                                   int decoupled);
BPTT_API bptt_status bptt_adam_f64(int64_t n, double *params, const double *grads, double *mean, double *square,
                                   int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay,
                                   int decoupled);

#ifdef __cplusplus
}
#endif
#endif
