/* Everything above the kernels, compiled once per type by f32.c and f64.c. All of it is static to that unit but the
 * public functions. */
#include <stdatomic.h>

#include "bptt.h"
#include "real.h"

#include "kernels.h"
#include "spec.h"
#include "threads.h"

#include "clip.h"

#include "call.h"

#include "tape.h"

#include "weights.h"

#include "dropout.h"

#include "vanilla.h"

#include "lstm.h"

#include "gru.h"

#include "forward.h"

#include "flow.h"

#include "gradients.h"

#include "backward.h"

#include "network.h"

#include "loss.h"

#include "optim.h"
