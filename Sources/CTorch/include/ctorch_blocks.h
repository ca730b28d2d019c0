// Small operations of a transformer block, fused: one pass over memory where composed operations take several.
#ifndef CTORCH_BLOCKS_H
#define CTORCH_BLOCKS_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// x / sqrt(mean(x²) + epsilon) · weight over the last axis, with gradients.
ctorch_status ctorch_rms_norm(ctorch_tensor x, ctorch_tensor weight, double epsilon, ctorch_tensor *out);

/// x [tokens, heads, d] turned by angles whose cosines and sines are [tokens, d / 2]: element i pairs with i + d / 2.
/// Gradient to x only.
ctorch_status ctorch_rotary(ctorch_tensor x, ctorch_tensor cosines, ctorch_tensor sines, ctorch_tensor *out);

/// gate · sigmoid(gate) · up, with gradients.
ctorch_status ctorch_swiglu(ctorch_tensor gate, ctorch_tensor up, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
