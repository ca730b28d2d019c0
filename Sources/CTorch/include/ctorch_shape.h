// The same elements under other shapes, and tensors put side by side.
#ifndef CTORCH_SHAPE_H
#define CTORCH_SHAPE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

ctorch_status ctorch_reshape(ctorch_tensor tensor, const ptrdiff_t *sizes, size_t rank, ctorch_tensor *out);
ctorch_status ctorch_expand(ctorch_tensor tensor, const ptrdiff_t *sizes, size_t rank, ctorch_tensor *out);
ctorch_status ctorch_transpose(ctorch_tensor tensor, ptrdiff_t a, ptrdiff_t b, ctorch_tensor *out);
ctorch_status ctorch_permute(ctorch_tensor tensor, const ptrdiff_t *axes, size_t rank, ctorch_tensor *out);
ctorch_status ctorch_unsqueeze(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out);
/// The axis must have size 1: libtorch itself would leave another size alone.
ctorch_status ctorch_squeeze(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out);
ctorch_status ctorch_narrow(
    ctorch_tensor tensor, ptrdiff_t axis, ptrdiff_t start, ptrdiff_t length, ctorch_tensor *out);
ctorch_status ctorch_select(ctorch_tensor tensor, ptrdiff_t axis, ptrdiff_t index, ctorch_tensor *out);
ctorch_status ctorch_flip(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out);
ctorch_status ctorch_concatenate(const ctorch_tensor *tensors, size_t count, ptrdiff_t axis, ctorch_tensor *out);
/// Writes `count` views, one for each size.
ctorch_status ctorch_split(
    ctorch_tensor tensor, const ptrdiff_t *sizes, size_t count, ptrdiff_t axis, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
