// Log-probs, entropies and logits from hidden states, without ever holding a logit for every token and word at once.
#ifndef CTORCH_SCORES_H
#define CTORCH_SCORES_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// hidden [N, D], head [V, D], targets [N] int64 -> log-probs [N] and entropies [N]; both carry gradients to hidden and
/// head. `chunk_elements` logits are computed at one time; where all of them are at most `kept_elements`, they are kept for
/// the backward pass.
ctorch_status ctorch_token_scores(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor targets, double temperature, ptrdiff_t chunk_elements,
    ptrdiff_t kept_elements, ctorch_tensor *log_probabilities, ctorch_tensor *entropies);

/// hidden [N, D], head [V, D], support [N, K] int64 -> logits [N, K] of the given words, with gradients.
ctorch_status ctorch_support_logits(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor support, ctorch_tensor *logits);

/// Two policies at the same positions, hidden [N, D] with head [V, D] and others [N, D'] with head [V, D'] -> the
/// generalized Jensen-Shannon divergence of the two over the whole vocabulary, [N]: at beta 1 KL of the first from the
/// second, at 0 of the second from the first. Carries gradients to the first's hidden and head.
ctorch_status ctorch_divergence(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor other_hidden, ctorch_tensor other_head,
    double temperature, double beta, ptrdiff_t chunk_elements, ctorch_tensor *divergence);

#ifdef __cplusplus
}
#endif
#endif
