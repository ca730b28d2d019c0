// Operations along an axis: sums, extremes, softmax.
#ifndef CTORCH_REDUCE_H
#define CTORCH_REDUCE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ctorch_reduction {
    CTORCH_SUM = 0,
    CTORCH_MEAN,
    CTORCH_MAX,
    CTORCH_ARGMAX
} ctorch_reduction;

/// Over every element; the result has rank 0.
ctorch_status ctorch_reduce_all(ctorch_reduction op, ctorch_tensor tensor, ctorch_tensor *out);
ctorch_status ctorch_reduce(
    ctorch_reduction op, ctorch_tensor tensor, ptrdiff_t axis, bool keeps_axis, ctorch_tensor *out);
ctorch_status ctorch_softmax(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out);
ctorch_status ctorch_log_softmax(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out);
/// The k largest along the last axis, largest first, and where they stand as int64.
ctorch_status ctorch_top_k(ctorch_tensor tensor, ptrdiff_t k, ctorch_tensor *values, ctorch_tensor *indices);
ctorch_status ctorch_all_finite(ctorch_tensor tensor, bool *out);
/// out[s] = sum of the values whose segment is s, added in float64 in the order of the values.
ctorch_status ctorch_segment_sum(ctorch_tensor values, ctorch_tensor segments, ptrdiff_t count, ctorch_tensor *out);
/// A digest of the elements' bits and indices: any changed bit and any swap of two unequal elements changes it. The
/// elements lie in runs of `run`, whose indices begin at `first`, `first + stride`, …: those of a part of a matrix are
/// the whole's, so that the digests of its parts add up, wrapping, to its own.
ctorch_status ctorch_digest(ctorch_tensor tensor, uint64_t seed, ptrdiff_t first, ptrdiff_t run, ptrdiff_t stride,
                            uint64_t *out);

#ifdef __cplusplus
}
#endif
#endif
