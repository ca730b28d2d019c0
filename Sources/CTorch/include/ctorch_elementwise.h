// Operations on each element, with one or two operands.
#ifndef CTORCH_ELEMENTWISE_H
#define CTORCH_ELEMENTWISE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ctorch_unary_op {
    CTORCH_NEGATE = 0,
    CTORCH_EXP,
    CTORCH_EXPM1,
    CTORCH_LOG,
    CTORCH_SQRT,
    CTORCH_RSQRT,
    CTORCH_SQUARE,
    CTORCH_ABS,
    CTORCH_SIGN,
    CTORCH_SIGMOID,
    CTORCH_LOG_SIGMOID,
    CTORCH_TANH,
    CTORCH_COS,
    CTORCH_SIN,
    CTORCH_LOG_GAMMA,
    CTORCH_DIGAMMA,
    CTORCH_LOGICAL_NOT
} ctorch_unary_op;

typedef enum ctorch_binary_op {
    CTORCH_ADD = 0,
    CTORCH_SUBTRACT,
    CTORCH_MULTIPLY,
    CTORCH_DIVIDE,
    CTORCH_MINIMUM,
    CTORCH_MAXIMUM,
    CTORCH_GREATER,
    CTORCH_LESS,
    CTORCH_LESS_EQUAL,
    CTORCH_EQUAL,
    CTORCH_LOGICAL_AND
} ctorch_binary_op;

ctorch_status ctorch_unary(ctorch_unary_op op, ctorch_tensor tensor, ctorch_tensor *out);
/// Ranks are equal, or one operand has rank 0: the caller checks (ctorch_ranks_fit).
ctorch_status ctorch_binary(ctorch_binary_op op, ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out);
bool ctorch_ranks_fit(ctorch_tensor a, ctorch_tensor b);
/// A whole number stays a whole number beside a tensor of integers.
ctorch_status ctorch_binary_scalar(ctorch_binary_op op, ctorch_tensor a, double b, ctorch_tensor *out);
/// b − a and b / a.
ctorch_status ctorch_scalar_minus(double b, ctorch_tensor a, ctorch_tensor *out);
ctorch_status ctorch_scalar_over(double b, ctorch_tensor a, ctorch_tensor *out);
ctorch_status ctorch_clamp(ctorch_tensor tensor, double low, double high, ctorch_tensor *out);
ctorch_status ctorch_where(ctorch_tensor condition, ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out);
/// `value` where the mask is true, the tensor's element elsewhere.
ctorch_status ctorch_masked_fill(ctorch_tensor tensor, ctorch_tensor mask, double value, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
