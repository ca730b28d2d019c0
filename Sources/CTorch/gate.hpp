// Inside CTorch only: the gated activation and its gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace ctorch {

/// gate · sigmoid(gate) · up.
at::Tensor gated(const at::Tensor &gate, const at::Tensor &up);

struct GateGradients {
    at::Tensor by_gate, by_up;
    /// ``gated`` once more; undefined where it is not asked for.
    at::Tensor output;
};

/// - Parameter gradient: That by ``gated``.
GateGradients gate_gradients(
    const at::Tensor &gate, const at::Tensor &up, const at::Tensor &gradient, bool with_output);

}  // namespace ctorch
