// What an optimizer does to whole lists of tensors, in place and without recording gradients.
#ifndef CTORCH_OPTIMIZER_H
#define CTORCH_OPTIMIZER_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ctorch_adamw {
    /// 1 for the first step.
    ptrdiff_t step;
    double learning_rate, beta1, beta2, epsilon, weight_decay;
} ctorch_adamw;

/// The four lists have `count` tensors each; those of one index agree in sizes, type and device and are contiguous.
ctorch_status ctorch_adamw_step(
    const ctorch_tensor *parameters, const ctorch_tensor *gradients, const ctorch_tensor *first_moments,
    const ctorch_tensor *second_moments, size_t count, ctorch_adamw settings);

/// Numbers of a block that share a scale.
#define CTORCH_CODE_BLOCK 256

/// A tensor of numbers kept as bytes: number i is (what its byte stands for) · scales[i / CTORCH_CODE_BLOCK].
typedef struct ctorch_codes {
    /// uint8.
    ctorch_tensor bytes;
    /// float32, one a block.
    ctorch_tensor scales;
} ctorch_codes;

/// AdamW whose moments are kept as bytes, the first one's of both signs, the second one's of none. The step is that of
/// the moments before they are rounded to bytes.
ctorch_status ctorch_adamw_8bit_step(
    ctorch_tensor parameter, ctorch_tensor gradient, ctorch_codes first_moment, ctorch_codes second_moment,
    ctorch_adamw settings);
/// The numbers that the bytes stand for, in float32.
ctorch_status ctorch_decoded(ctorch_codes codes, bool is_signed, ctorch_tensor *out);

typedef struct ctorch_lion {
    double learning_rate, beta1, beta2, weight_decay;
} ctorch_lion;

/// The three agree in sizes, type and device and are contiguous.
ctorch_status ctorch_lion_step(
    ctorch_tensor parameter, ctorch_tensor gradient, ctorch_tensor momentum, ctorch_lion settings);

/// √(sum of squares over every element of every tensor), added in float64.
ctorch_status ctorch_norm(const ctorch_tensor *tensors, size_t count, double *out);
ctorch_status ctorch_scale_in_place(const ctorch_tensor *tensors, size_t count, double factor);

#ifdef __cplusplus
}
#endif
#endif
