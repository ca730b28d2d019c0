// Products of matrices, and what a matrix is made of.
#ifndef CTORCH_LINEAR_H
#define CTORCH_LINEAR_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out);
/// A matrix [outputs, inputs]; `bias` may be NULL, as may its low-rank update, `down` [rank, inputs] and `up` [outputs,
/// rank]. All of one type.
typedef struct ctorch_linear_map {
    ctorch_tensor weight, bias, down, up;
} ctorch_linear_map;

/// outs[i] = input · weightᵀ + bias + scale · (input · downᵀ) · upᵀ of `count` matrices that read one `input` [n, inputs];
/// one matrix alone without update may have any leading axes. All of them have a bias, or none; all an update, or none.
/// Where `factor` [n, inputs] is not NULL, the matrices read silu(input) · factor, which is kept for no gradient.
/// Where `given` is not NULL it has these numbers already, one a matrix, and is taken for them: the gradients are those of
/// the products.
ctorch_status ctorch_linears(
    ctorch_tensor input, ctorch_tensor factor, const ctorch_linear_map *maps, ptrdiff_t count, double scale,
    const ctorch_tensor *given, ctorch_tensor *outs);
/// The right singular vectors of the `count` largest singular values of a matrix [rows, columns], as rows
/// [count, columns], the largest first; count is at most the shorter side. The signs are LAPACK's.
ctorch_status ctorch_principal_directions(ctorch_tensor matrix, ptrdiff_t count, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
