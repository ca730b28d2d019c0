// Products of matrices, and what a matrix is made of.
#ifndef CTORCH_LINEAR_H
#define CTORCH_LINEAR_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out);
/// input · weightᵀ + bias; `bias` may be NULL. Where `given` is not NULL it has these numbers already and is taken for them:
/// the gradients are those of the product.
ctorch_status ctorch_linear(
    ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor given, ctorch_tensor *out);
/// A matrix [outputs, inputs] and its low-rank update: `down` [rank, inputs], `up` [outputs, rank], all of one type;
/// `bias` may be NULL.
typedef struct ctorch_adapted_matrix {
    ctorch_tensor weight, bias, down, up;
} ctorch_adapted_matrix;

/// outs[i] = input · weightᵀ + bias + scale · (input · downᵀ) · upᵀ of `count` matrices that read one `input` [n, inputs].
/// All of them have a bias, or none. `given` has what they come to already, as in ctorch_linear, one a matrix, or is NULL.
ctorch_status ctorch_adapted_linears(
    ctorch_tensor input, const ctorch_adapted_matrix *matrices, ptrdiff_t count, double scale,
    const ctorch_tensor *given, ctorch_tensor *outs);
/// The right singular vectors of the `count` largest singular values of a matrix [rows, columns], as rows
/// [count, columns], the largest first; count is at most the shorter side. The signs are LAPACK's.
ctorch_status ctorch_principal_directions(ctorch_tensor matrix, ptrdiff_t count, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
