// A whole layer in one call, as sampling passes it: of prompts, and of a decoding step.
#ifndef CTORCH_LAYER_H
#define CTORCH_LAYER_H

#include "ctorch_attention.h"
#include "ctorch_index.h"
#include "ctorch_packed.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What a layer multiplies with, in this order.
enum { CTORCH_QUERY, CTORCH_KEY, CTORCH_VALUE, CTORCH_OUTPUT, CTORCH_GATE, CTORCH_UP, CTORCH_DOWN, CTORCH_PROJECTIONS };

/// The parameters of a layer: norms float32, those of queries and keys `[d]` or NULL, and matrices that were packed in one
/// way.
typedef struct ctorch_layer {
    ctorch_tensor attention_norm, query_norm, key_norm, feed_forward_norm;
    ctorch_packed_matrix projections[CTORCH_PROJECTIONS];
    double epsilon, scale;
} ctorch_layer;

/// One token of each row through a layer, hidden `[R, hidden]` to `[R, hidden]`, both float32 on the CPU:
///
///     a   = hidden + attention(rotated(norm(hidden)·Wqᵀ), …)·Woᵀ
///     out = a + (swiglu(norm(a)·Wgᵀ, norm(a)·Wuᵀ))·Wdᵀ
///
/// Keys and values join the rows' own cache before they are read, so `own_lengths` count this token already. What the
/// projections make of a row goes to its row of the runs, side by side in their order, and where these are wider by it,
/// what attention makes, `[H · d]` and the log-sum-exps `[H]`; of none where there are no runs.
/// `cosines` and `sines` are `[R, d / 2]`. The same bits as the single operations on the same rows. No gradient.
ctorch_status ctorch_decode_layer(
    ctorch_tensor hidden, const ctorch_layer *layer, ctorch_tensor cosines, ctorch_tensor sines,
    ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, const ctorch_row_run *runs,
    ptrdiff_t run_count, ctorch_tensor *out);

/// Prompts that a packed pass reads one behind the other, one element a prompt: the slot that its
/// keys go to, another one for each, and its tokens.
typedef struct ctorch_prompt_rows {
    const ptrdiff_t *slots;
    const ptrdiff_t *lengths;
    ptrdiff_t count;
} ctorch_prompt_rows;

/// All tokens of some prompts through a layer, each seeing itself and those before it in its prompt; else as
/// ``ctorch_decode_layer``. Keys and values go to their places in the prompts' slots.
ctorch_status ctorch_prefill_layer(
    ctorch_tensor hidden, const ctorch_layer *layer, ctorch_tensor cosines, ctorch_tensor sines,
    ctorch_decode_cache cache, ctorch_prompt_rows rows, const ctorch_row_run *runs, ptrdiff_t run_count,
    ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
