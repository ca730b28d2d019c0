// Gradients: leaves, the gradient mode of the calling thread, backward, and checkpointing.
#ifndef CTORCH_AUTOGRAD_H
#define CTORCH_AUTOGRAD_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

bool ctorch_requires_gradient(ctorch_tensor tensor);
/// A leaf that shares the elements of `tensor` and collects a gradient.
ctorch_status ctorch_leaf(ctorch_tensor tensor, ctorch_tensor *out);
ctorch_status ctorch_detach(ctorch_tensor tensor, ctorch_tensor *out);
/// Sets NULL when the tensor has collected none.
ctorch_status ctorch_gradient(ctorch_tensor tensor, ctorch_tensor *out);
/// `gradient` NULL: forget it.
ctorch_status ctorch_set_gradient(ctorch_tensor tensor, ctorch_tensor gradient);

bool ctorch_gradient_mode(void);
void ctorch_set_gradient_mode(bool records);

/// `seed` NULL: the tensor has one element and the seed is 1.
ctorch_status ctorch_backward(ctorch_tensor tensor, ctorch_tensor seed, bool keeps_graph);
/// Writes one gradient for each of the `count` inputs; an input the tensor does not depend on is refused.
ctorch_status ctorch_gradients(
    ctorch_tensor tensor, ctorch_tensor seed, const ctorch_tensor *inputs, size_t count, bool keeps_graph,
    ctorch_tensor *out);

/// Part of a computation that can be run again. It owns the input handles it is given, and the caller owns `*out`. The
/// message of a failed status is allocated with malloc.
typedef ctorch_status (*ctorch_segment)(void *context, const ctorch_tensor *inputs, size_t count, ctorch_tensor *out);
/// Runs `segment` without recording it, and once more with recording when backward arrives. `release(context)` is
/// called when no backward can need it any more, also when this call fails.
ctorch_status ctorch_checkpoint(
    ctorch_segment segment, void *context, void (*release)(void *context), const ctorch_tensor *inputs, size_t count,
    ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
