/* Everything above the kernels for float, and what is the same in both types. */
#define REAL_BITS 32
#include "base/real.h"
#include "cells/shapes.h"
#include "forward_mode/api.h"
#include "network/api.h"
#include "train/clip.h"
#include "train/constrain.h"
#include "train/loss.h"
#include "train/optim.h"
