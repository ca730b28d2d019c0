// Products of matrices, and what a matrix is made of.
#ifndef CTORCH_LINEAR_H
#define CTORCH_LINEAR_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out);
/// input · weightᵀ + bias; `bias` may be NULL.
ctorch_status ctorch_linear(ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor *out);
/// The same + scale · (input · downᵀ) · upᵀ: `input` [n, inputs], `down` [rank, inputs], `up` [outputs, rank], all of
/// one type.
ctorch_status ctorch_adapted_linear(
    ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor down, ctorch_tensor up, double scale,
    ctorch_tensor *out);
/// The right singular vectors of the `count` largest singular values of a matrix [rows, columns], as rows
/// [count, columns], the largest first; count is at most the shorter side. The signs are LAPACK's.
ctorch_status ctorch_principal_directions(ctorch_tensor matrix, ptrdiff_t count, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
