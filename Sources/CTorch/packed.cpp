#include "include/ctorch_packed.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <vector>

#include "packed_product.hpp"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

void check_matrix(const at::Tensor &matrix) {
    TORCH_CHECK(
        matrix.dim() == 2 && matrix.is_cpu() && matrix.scalar_type() == at::kFloat && matrix.size(1) > 0, "a matrix of ",
        matrix.toString(), " ", matrix.sizes(), " cannot be packed; expected [outputs, inputs] float32 on the CPU");
}

int64_t panel_count(const at::Tensor &matrix) { return (matrix.size(0) + panel_width - 1) / panel_width; }

/// Calls `put(output, input, index)` for every element of a matrix, with its index in the packed one.
template <class Put>
void for_each_element(const at::Tensor &matrix, const Put &put) {
    const int64_t outputs = matrix.size(0), inputs = matrix.size(1);
    parallel_tasks(panel_count(matrix), inputs * panel_width, [&](int64_t panel, int) {
        const int64_t column = panel * panel_width, width = std::min(panel_width, outputs - column);
        for (int64_t i = 0; i < inputs; ++i)
            for (int64_t lane = 0; lane < width; ++lane)
                put(column + lane, i, (panel * inputs + i) * panel_width + lane);
    });
}

/// Writes some panels as rows: `[width, inputs]` for the outputs from `column` on.
template <class Weight>
void unpack(const Weight *packed, const float *scales, int64_t inputs, int64_t column, int64_t width, float *out) {
    parallel_tasks(width, inputs, [&](int64_t row, int) {
        const int64_t output = column + row;
        const Weight *from = packed + output / panel_width * inputs * panel_width + output % panel_width;
        const float scale = scales ? scales[output] : 1;
        for (int64_t i = 0; i < inputs; ++i) out[row * inputs + i] = static_cast<float>(from[i * panel_width]) * scale;
    });
}

void unpack(
    const at::Tensor &weights, const std::optional<at::Tensor> &scales, int64_t column, int64_t width, at::Tensor &out) {
    const int64_t inputs = weights.size(1);
    float *to = out.mutable_data_ptr<float>();
    if (scales)
        unpack(
            reinterpret_cast<const int8_t *>(weights.const_data_ptr<uint8_t>()), scales->const_data_ptr<float>(), inputs,
            column, width, to);
    else
        unpack<float>(weights.const_data_ptr<float>(), nullptr, inputs, column, width, to);
}

/// A packed matrix.
struct Packed {
    at::Tensor weights;
    std::optional<at::Tensor> scales, bias;
    int64_t outputs;
};

template <class Weight>
void multiply(
    const at::Tensor &x, const std::vector<Packed> &matrices, const std::vector<at::Tensor> &outs) {
    const int64_t rows = x.size(0), inputs = x.size(1), threads = thread_count();
    const Blocks blocks(rows, inputs);
    const float *from = x.const_data_ptr<float>();
    std::vector<float *> places;
    for (const at::Tensor &out : outs)
        for (int64_t row = 0; row < rows; ++row) places.push_back(out.mutable_data_ptr<float>() + row * out.size(1));
    std::vector<Part<Weight>> parts;
    for (size_t i = 0; i < matrices.size(); ++i) {
        const Packed &one = matrices[i];
        parts.push_back({
            static_cast<const Weight *>(one.weights.const_data_ptr()),
            one.scales ? one.scales->const_data_ptr<float>() : nullptr,
            one.bias ? one.bias->const_data_ptr<float>() : nullptr, one.outputs, places.data() + i * rows});
    }
    const Product<Weight> product(blocks, std::move(parts), inputs, threads);
    parallel_phases(
        rows * inputs * blocks.operations_of_number + product.count() * product.operations(),
        Phase{blocks.tasks(), [&](int64_t task, int) {
            blocks.write(task, [&](int64_t row, int64_t, int64_t input, int64_t) {
                return std::pair(from + row * inputs + input, inputs);
            });
        }},
        Phase{product.count(), product});
}

std::vector<at::Tensor> products(const at::Tensor &input, const std::vector<Packed> &matrices) {
    const at::Tensor x = input.contiguous();
    std::vector<at::Tensor> outs;
    for (const Packed &matrix : matrices) outs.push_back(at::empty({x.size(0), matrix.outputs}, x.options()));
    if (x.size(0) > 0) matrices[0].scales ? multiply<int8_t>(x, matrices, outs) : multiply<float>(x, matrices, outs);
    return outs;
}

/// Outputs whose weights are unpacked together for a gradient: all that is ever held of the matrix in float32.
constexpr int64_t unpacked_together = 8 * panel_width;

/// The gradient goes to the input alone, and reads the packed matrix.
struct PackedProduct : torch::autograd::Function<PackedProduct> {
    static at::Tensor forward(
        torch::autograd::AutogradContext *context, const at::Tensor &x, const Packed &matrix) {
        context->saved_data["weights"] = matrix.weights;
        context->saved_data["scales"] = matrix.scales;
        context->saved_data["outputs"] = matrix.outputs;
        return products(x, {matrix})[0];
    }

    static torch::autograd::variable_list backward(
        torch::autograd::AutogradContext *context, const torch::autograd::variable_list &gradients) {
        const at::Tensor weights = context->saved_data["weights"].toTensor();
        const auto scales = context->saved_data["scales"].toOptional<at::Tensor>();
        const int64_t outputs = context->saved_data["outputs"].toInt(), inputs = weights.size(1);
        const at::Tensor &gradient = gradients[0];
        at::Tensor out = at::zeros({gradient.size(0), inputs}, gradient.options());
        const int64_t most = std::min(outputs, unpacked_together);
        at::Tensor some = at::empty({most, inputs}, gradient.options());
        for (int64_t column = 0; column < outputs; column += most) {
            const int64_t width = std::min(most, outputs - column);
            at::Tensor rows = some.narrow(0, 0, width);
            unpack(weights, scales, column, width, rows);
            at::addmm_out(out, out, gradient.narrow(1, column, width), rows);
        }
        return {out, at::Tensor()};
    }
};

}  // namespace

void check_packed(const ctorch_packed_matrix &matrix, int64_t inputs) {
    const at::Tensor &weights = unwrap(matrix.packed);
    TORCH_CHECK(
        weights.dim() == 3 && weights.size(1) == inputs, "a packed matrix ", weights.sizes(), " does not read ", inputs,
        " inputs");
    TORCH_CHECK(
        weights.size(0) == (matrix.outputs + panel_width - 1) / panel_width, "a packed matrix of ", weights.size(0),
        " panels has not ", matrix.outputs, " outputs");
    if (!matrix.bias) return;
    const at::Tensor &bias = unwrap(matrix.bias);
    TORCH_CHECK(
        bias.scalar_type() == at::kFloat && bias.numel() == matrix.outputs, "bias ", bias.toString(), " must be ",
        matrix.outputs, " numbers in float32");
}

}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_pack(ctorch_tensor matrix, ctorch_tensor *out) {
    return guarded([&] {
        const at::NoGradGuard no_gradients;
        check_matrix(unwrap(matrix));
        const at::Tensor from = unwrap(matrix).contiguous();
        at::Tensor packed = at::zeros({panel_count(from), from.size(1), panel_width}, from.options());
        const float *elements = from.const_data_ptr<float>();
        float *to = packed.mutable_data_ptr<float>();
        const int64_t inputs = from.size(1);
        for_each_element(
            from, [=](int64_t output, int64_t i, int64_t index) { to[index] = elements[output * inputs + i]; });
        *out = wrap(packed);
    });
}

extern "C" ctorch_status ctorch_pack_int8(ctorch_tensor matrix, ctorch_tensor *out, ctorch_tensor *scales) {
    return guarded([&] {
        const at::NoGradGuard no_gradients;
        check_matrix(unwrap(matrix));
        const at::Tensor from = unwrap(matrix).contiguous();
        const int64_t outputs = from.size(0), inputs = from.size(1);
        at::Tensor packed = at::zeros({panel_count(from), inputs, panel_width}, from.options().dtype(at::kByte));
        at::Tensor by_output = at::ones({panel_count(from) * panel_width}, from.options());
        const float *elements = from.const_data_ptr<float>();
        auto *to = reinterpret_cast<int8_t *>(packed.mutable_data_ptr<uint8_t>());
        float *scale = by_output.mutable_data_ptr<float>();
        std::atomic<bool> is_finite{true};
        parallel_tasks(outputs, inputs, [&](int64_t output, int) {
            float largest = 0;
            for (int64_t i = 0; i < inputs; ++i) {
                const float size = std::abs(elements[output * inputs + i]);
                if (!std::isfinite(size)) is_finite = false;
                largest = std::max(largest, size);
            }
            if (largest > 0) scale[output] = largest / 127;
        });
        TORCH_CHECK(is_finite, "a matrix with an element that is not finite cannot be packed in eight bits");
        for_each_element(from, [=](int64_t output, int64_t i, int64_t index) {
            const float rounded = std::nearbyint(elements[output * inputs + i] / scale[output]);
            to[index] = static_cast<int8_t>(std::clamp(rounded, -127.0f, 127.0f));
        });
        *out = wrap(packed);
        *scales = wrap(by_output);
    });
}

extern "C" ctorch_status ctorch_packed_linears(
    ctorch_tensor input, const ctorch_packed_matrix *matrices, ptrdiff_t count, ctorch_tensor *outs) {
    return guarded([&] {
        const at::Tensor &x = unwrap(input);
        TORCH_CHECK(count > 0, "no packed matrix");
        std::vector<Packed> read;
        TORCH_CHECK(
            x.dim() == 2 && x.is_cpu() && x.scalar_type() == at::kFloat, "input ", x.toString(), " ", x.sizes(),
            " must be [rows, inputs] float32 on the CPU");
        for (const ctorch_packed_matrix *one = matrices; one < matrices + count; ++one) {
            check_packed(*one, x.size(1));
            TORCH_CHECK(!one->scales == !matrices->scales, "matrices that are packed in two ways are not read together");
            read.push_back(
                {unwrap(one->packed), one->scales ? std::optional(unwrap(one->scales)) : std::nullopt,
                 one->bias ? std::optional(unwrap(one->bias).detach().contiguous()) : std::nullopt, one->outputs});
        }
        const bool is_learned = at::GradMode::is_enabled() && x.requires_grad();
        std::vector<at::Tensor> found;
        if (is_learned)
            for (const Packed &matrix : read) found.push_back(PackedProduct::apply(x, matrix));
        else
            found = products(x.detach(), read);
        for (ptrdiff_t i = 0; i < count; ++i) outs[i] = wrap(found[i]);
    });
}
