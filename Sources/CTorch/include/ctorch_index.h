// Elements and rows chosen by int64 tensors; changes in place and copies of rows, which record no gradient.
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

/// Rows first ..< first + count of a matrix [rows, columns]; of no matrix where `matrix` is NULL.
typedef struct ctorch_row_run {
    ctorch_tensor matrix;
    ptrdiff_t first, count;
} ctorch_row_run;

/// Copies what `sources` [rows, widths] have of each row, side by side, into the rows of the runs. Rows that belong to no
/// matrix are left out. All of one type.
ctorch_status ctorch_store_rows(
    const ctorch_tensor *sources, ptrdiff_t source_count, const ctorch_row_run *runs, ptrdiff_t run_count);
/// The way back, into new tensors [rows, widths]: zeros in rows that belong to no matrix; `like` has the type and the device.
ctorch_status ctorch_collect_rows(
    const ctorch_row_run *runs, ptrdiff_t run_count, const ptrdiff_t *widths, ptrdiff_t width_count, ctorch_tensor like,
    ctorch_tensor *outs);

#ifdef __cplusplus
}
#endif
#endif
