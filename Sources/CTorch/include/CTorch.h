// A thin C header over libtorch's C++ API, split by subject. Only the room Tensors imports it.
#ifndef CTORCH_H
#define CTORCH_H

#include "ctorch_attention.h"
#include "ctorch_autograd.h"
#include "ctorch_base.h"
#include "ctorch_blocks.h"
#include "ctorch_collective.h"
#include "ctorch_create.h"
#include "ctorch_layer.h"
#include "ctorch_elementwise.h"
#include "ctorch_engine.h"
#include "ctorch_index.h"
#include "ctorch_linear.h"
#include "ctorch_optimizer.h"
#include "ctorch_packed.h"
#include "ctorch_reduce.h"
#include "ctorch_sampling.h"
#include "ctorch_scores.h"
#include "ctorch_shape.h"

#endif
