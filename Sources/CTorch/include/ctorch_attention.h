// Attention over packed groups (training and prefill) and over caches (decoding).
#ifndef CTORCH_ATTENTION_H
#define CTORCH_ATTENTION_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What attends to what in a packed run of tokens. All numbers are packed token indices or counts.
typedef struct ctorch_attention_plan {
    /// Runs that attend causally to themselves: start, length. Every token stands in exactly one.
    const ptrdiff_t *runs;
    /// How many consecutive runs share one padded call.
    const ptrdiff_t *run_buckets;
    size_t run_bucket_count;
    /// Blocks whose queries also see all of a prompt: query start, query length, prompt start, prompt length.
    const ptrdiff_t *blocks;
    /// How many consecutive blocks, all of one prompt length, share one padded call.
    const ptrdiff_t *block_buckets;
    size_t block_bucket_count;
} ctorch_attention_plan;

/// query [tokens, H, d], key and value [tokens, Hkv, d] -> [tokens, H, d], with gradients. H is a multiple of Hkv;
/// query head h reads key head h / (H / Hkv). `composed` forces matrix products and softmax in place of our kernel, which
/// reads float32 on the CPU, or of libtorch's flash kernel. `log_sums` [tokens, H], the logarithms of the sums of
/// exponentials, have no gradient. Where `known_out` and `known_log_sums` are not NULL they have both already, and are
/// taken for them: the gradients are those of attention.
ctorch_status ctorch_shared_prompt_attention(
    ctorch_tensor query, ctorch_tensor key, ctorch_tensor value, ctorch_attention_plan plan, double scale,
    bool composed, ctorch_tensor known_out, ctorch_tensor known_log_sums, ctorch_tensor *out, ctorch_tensor *log_sums);

/// The caches of one layer. Keys [slots, Hkv, tiles, d, 16]: key t is lane t % 16 of tile t / 16. Values [slots, Hkv,
/// capacity, d].
typedef struct ctorch_decode_cache {
    ctorch_tensor keys;
    ctorch_tensor values;
} ctorch_decode_cache;

/// keys and values [count, Hkv, d] into the cache: token i at positions[i] of slots[i], no two at one place. No gradient.
ctorch_status ctorch_cache_write(
    ctorch_decode_cache cache, ctorch_tensor keys, ctorch_tensor values, const ptrdiff_t *slots,
    const ptrdiff_t *positions,
    ptrdiff_t count);

/// One element a row.
typedef struct ctorch_decode_rows {
    const ptrdiff_t *prompt_slots;
    const ptrdiff_t *prompt_lengths;
    const ptrdiff_t *own_slots;
    const ptrdiff_t *own_lengths;
    ptrdiff_t count;
} ctorch_decode_rows;

/// query [R, H, d] -> [R, H, d]: row i attends to the first prompt_lengths[i] keys of its prompt slot and the first
/// own_lengths[i] of its own slot. `log_sums` [R, H] as of attention over packed groups. `composed` forces libtorch's
/// operations in place of our kernel. No gradient.
ctorch_status ctorch_decode_attention(
    ctorch_tensor query, ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, double scale,
    bool composed, ctorch_tensor *out, ctorch_tensor *log_sums);

#ifdef __cplusplus
}
#endif
#endif
