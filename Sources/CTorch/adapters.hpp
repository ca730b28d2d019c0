// Inside CTorch only: the gradients of low-rank updates of matrices.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace ctorch {

struct AdapterGradients {
    /// tᵢ = s·dyᵢ·Bᵢ side by side, [tokens, Σ ranks].
    at::Tensor by_narrow;
    /// dA = tᵀ·x, all below each other, [Σ ranks, inputs].
    at::Tensor by_down;
    /// dBᵢ = s·dyᵢᵀ·(x·Aᵢᵀ), [outputs, rank] each.
    std::vector<at::Tensor> by_up;
};

/// Of yᵢ = … + s·(x·Aᵢᵀ)·Bᵢᵀ, for the matrices that read one input.
///
/// - Parameters:
///   - gradients: dyᵢ, [tokens, outputs] each, contiguous.
///   - x: [tokens, inputs], contiguous; undefined where only tᵢ are asked for.
///   - down: All Aᵢ below each other.
///   - ups: Bᵢ, one a gradient.
AdapterGradients adapter_gradients(
    const std::vector<at::Tensor> &gradients, const at::Tensor &x, const at::Tensor &down, const at::Tensor *ups,
    double scale);

}  // namespace ctorch
