// Small operations of a transformer block, fused: one pass over memory where composed operations take several.
#ifndef CTORCH_BLOCKS_H
#define CTORCH_BLOCKS_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// z / sqrt(mean(z²) + epsilon) · weight over the last axis, and z itself, where z is x, or x + added where `added` is not
/// NULL; with gradients, which to z are one sum.
ctorch_status ctorch_rms_norm(
    ctorch_tensor x, ctorch_tensor added, ctorch_tensor weight, double epsilon, ctorch_tensor outs[2]);

/// x [tokens, heads, d] turned by angles whose cosines and sines are [tokens, d / 2]: element i pairs with i + d / 2.
/// Gradient to x only.
ctorch_status ctorch_rotary(ctorch_tensor x, ctorch_tensor cosines, ctorch_tensor sines, ctorch_tensor *out);

/// gate · sigmoid(gate) · up, with gradients.
ctorch_status ctorch_swiglu(ctorch_tensor gate, ctorch_tensor up, ctorch_tensor *out);

/// input [rows, width], of float32 or float64, with a share p of its elements at 0 and the others times 1 / (1 - p).
/// Column c of a row is kept where word c % 4 of Philox4x32-10 is at least p · 2³²; the first one here is `first`, of
/// rows that are parts of wider ones. `addresses` [rows, 2] int64 on the CPU are the halves of each row's counter, the
/// lower first, whose lowest 24 bits are 0 and take c / 4. With a gradient to the input, whose mask is made again.
ctorch_status ctorch_dropout(
    ctorch_tensor input, ctorch_tensor addresses, ptrdiff_t first, double p, uint64_t key, ctorch_tensor *out);

/// Philox4x32-10 of one counter, four words with the lowest first, which its draw takes the place of.
void ctorch_philox(uint32_t words[4], uint32_t key0, uint32_t key1);

#ifdef __cplusplus
}
#endif
#endif
