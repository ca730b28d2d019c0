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

/// A matrix that was packed. `scales` is NULL for float32, `bias` may be NULL.
typedef struct ctorch_packed_matrix {
    ctorch_tensor packed, scales, bias;
    int64_t outputs;
} ctorch_packed_matrix;

/// outs[i] = input · matrixᵀ + bias of `count` matrices that were packed in one way: `[rows, inputs]` float32 to
/// `[rows, outputs]`. Together they are multiplied as one, without a wait between them.
///
/// An element is summed over the inputs in order, whatever rows stand beside it: rows do not depend on each other, nor
/// on the number of threads. With a gradient to the input, which unpacks the matrix a few outputs at a time.
ctorch_status ctorch_packed_linears(
    ctorch_tensor input, const ctorch_packed_matrix *matrices, ptrdiff_t count, ctorch_tensor *outs);

#ifdef __cplusplus
}
#endif
#endif
