// Products of matrices: libtorch's own. What could take their place was measured on the matrices of a model of 135 M
// parameters (hidden 576, feed-forward 1536) and 1,024 or 1,536 tokens, MKL with AVX2, one thread by its own time:
// weights packed once for all passes (cblas_sgemm_pack) save 0 to 3 % of a product; queries, keys and values in one, or
// gate and up in one, 1 to 3 %; tokens in tiles, for whichever thread is free, between 15 % lost and 1 % saved; and a
// weight's gradient added in place (beta 1) takes as long as one written.
#include "include/ctorch_linear.h"

#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include "support.hpp"

using namespace ctorch;

extern "C" {

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::matmul(unwrap(a), unwrap(b))); });
}

ctorch_status ctorch_linear(ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor *out) {
    return guarded([&] {
        *out = wrap(
            bias ? at::linear(unwrap(input), unwrap(weight), unwrap(bias)) : at::linear(unwrap(input), unwrap(weight)));
    });
}

ctorch_status ctorch_principal_directions(ctorch_tensor matrix, ptrdiff_t count, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &a = unwrap(matrix);
        TORCH_CHECK(a.dim() == 2, "a matrix has two axes, not ", a.dim());
        TORCH_CHECK(
            count >= 1 && count <= a.size(1) && count <= a.size(0), count, " directions of a matrix ", a.sizes());
        // A = QR has the right singular vectors of R, which is no larger than the shorter side.
        const at::Tensor r = std::get<1>(at::linalg_qr(a, "r"));
        const at::Tensor directions = std::get<2>(at::linalg_svd(r, /*full_matrices=*/false));
        *out = wrap(directions.narrow(0, 0, count).clone(at::MemoryFormat::Contiguous));
    });
}

}  // extern "C"
