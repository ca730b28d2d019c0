// Matrices in the order in which products of few rows read them.
#ifndef CTORCH_PACKED_H
#define CTORCH_PACKED_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Outputs that stand side by side in a packed matrix.
#define CTORCH_PANEL_WIDTH 32

/// Packs `[outputs, inputs]` float32 on the CPU as `[panels, inputs, 32]`: the elements of 32 outputs for one input
/// stand side by side, with zeros behind the last output.
ctorch_status ctorch_pack(ctorch_tensor matrix, ctorch_tensor *out);

/// As ctorch_pack in whole numbers of eight bits, one scale an output:
///
///     scale[o] = max_i |matrix[o, i]| / 127, and 1 for an output of zeros
///     out = matrix / scale, rounded to the nearest, ties to even, from -127 to 127; its eight bits as uint8
///
/// `scales` is `[panels * 32]` float32, 1 behind the last output.
ctorch_status ctorch_pack_int8(ctorch_tensor matrix, ctorch_tensor *out, ctorch_tensor *scales);

/// input · matrixᵀ + bias for the matrix that was packed: `[rows, inputs]` float32 to `[rows, outputs]`.
///
/// An element is summed over the inputs in order, whatever rows stand beside it: rows do not depend on each other, nor
/// on the number of threads. With a gradient to the input, which unpacks the matrix a few outputs at a time.
///
/// `scales` is NULL for float32, `bias` may be NULL.
ctorch_status ctorch_packed_linear(
    ctorch_tensor input, ctorch_tensor packed, ctorch_tensor scales, ctorch_tensor bias, int64_t outputs,
    ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
