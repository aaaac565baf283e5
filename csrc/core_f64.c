/* Everything above the kernels for double. */
#define REAL_BITS 64
#include "base/real.h"
#include "forward_mode/api.h"
#include "network/api.h"
#include "train/clip.h"
#include "train/constrain.h"
#include "train/loss.h"
#include "train/optim.h"
