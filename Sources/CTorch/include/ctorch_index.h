// Elements and rows chosen by int64 tensors, and changes in place, which record no gradient.
#ifndef CTORCH_INDEX_H
#define CTORCH_INDEX_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

ctorch_status ctorch_index_select(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor *out);
ctorch_status ctorch_gather(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor *out);
ctorch_status ctorch_index_add(
    ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor source, ctorch_tensor *out);

/// Sizes must be equal: nothing is broadcast into a tensor.
ctorch_status ctorch_copy_in_place(ctorch_tensor tensor, ctorch_tensor source);
ctorch_status ctorch_add_in_place(ctorch_tensor tensor, ctorch_tensor source, double scale);
ctorch_status ctorch_multiply_in_place(ctorch_tensor tensor, double factor);
ctorch_status ctorch_fill_in_place(ctorch_tensor tensor, double value);

#ifdef __cplusplus
}
#endif
#endif
