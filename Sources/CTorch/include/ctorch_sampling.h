// Drawing the next token of every row from its logits.
#ifndef CTORCH_SAMPLING_H
#define CTORCH_SAMPLING_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The distribution a token is drawn from, in the order of the fields. Neutral: 1, 1, 0, 1, 0.
typedef struct ctorch_policy_distribution {
    double repetition_penalty;
    double temperature;
    ptrdiff_t top_k;
    double top_p;
    double min_p;
} ctorch_policy_distribution;

/// One element a row. `seen` lists the tokens of rows end to end, row i's in seen_offsets[i] ..< seen_offsets[i + 1];
/// both may be NULL when the penalty is 1.
typedef struct ctorch_sampling_rows {
    ptrdiff_t count;
    const double *uniforms;
    const bool *greedy;
    const ptrdiff_t *seen;
    const ptrdiff_t *seen_offsets;
} ctorch_sampling_rows;

/// logits [R, V]. Writes R tokens, their log-probs under the distribution drawn from (0 for greedy rows) and under the
/// policy at the temperature, without penalty and filters. A row whose largest logit is not finite is an error.
ctorch_status ctorch_sample_tokens(
    ctorch_tensor logits, ctorch_policy_distribution distribution, ctorch_sampling_rows rows, ptrdiff_t *tokens,
    float *sampling_log_probabilities, float *policy_log_probabilities);

#ifdef __cplusplus
}
#endif
#endif
