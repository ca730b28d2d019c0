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
/// √(sum of squares over every element of every tensor), added in float64.
ctorch_status ctorch_norm(const ctorch_tensor *tensors, size_t count, double *out);
ctorch_status ctorch_scale_in_place(const ctorch_tensor *tensors, size_t count, double factor);

#ifdef __cplusplus
}
#endif
#endif
