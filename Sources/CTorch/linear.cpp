#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "include/ctorch_linear.h"
#include "include/ctorch_optimizer.h"
#include "support.hpp"

using namespace ctorch;

namespace {

/// Sixteen running sums: without them each addition would wait for the one before it.
template <class Element>
double sum_of_squares(const Element *values, int64_t count) {
    constexpr int64_t lanes = 16;
    double sums[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (int64_t lane = 0; lane < lanes; ++lane) {
            const double value = static_cast<double>(values[i + lane]);
            sums[lane] += value * value;
        }
    }
    for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}

double sum_of_squares(const at::Tensor &x) {
    const bool plain = x.is_cpu() && x.is_contiguous();
    if (plain && x.scalar_type() == at::kFloat) return sum_of_squares(x.const_data_ptr<float>(), x.numel());
    if (plain && x.scalar_type() == at::kDouble) return sum_of_squares(x.const_data_ptr<double>(), x.numel());
    const double norm = at::linalg_vector_norm(x, 2, {}, false, at::kDouble).item<double>();
    return norm * norm;
}

/// The fused kernel walks raw memory by the parameter's size: another size or layout must be caught here.
void check_moments(const at::Tensor &parameter, const at::Tensor &other, const char *what, size_t index) {
    TORCH_CHECK(
        other.sizes() == parameter.sizes() && other.scalar_type() == parameter.scalar_type() &&
            other.device() == parameter.device(),
        what, " ", index, " is ", other.toString(), " ", other.sizes(), ", its parameter ", parameter.toString(), " ",
        parameter.sizes());
    TORCH_CHECK(
        other.is_contiguous() && parameter.is_contiguous(), what, " ", index, " or its parameter is not contiguous");
}

}  // namespace

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

ctorch_status ctorch_adamw_step(
    const ctorch_tensor *parameters, const ctorch_tensor *gradients, const ctorch_tensor *first_moments,
    const ctorch_tensor *second_moments, size_t count, ctorch_adamw settings) {
    return guarded([&] {
        if (count == 0) return;
        at::NoGradGuard guard;
        const auto values = unwrap_list(parameters, count);
        auto slopes = unwrap_list(gradients, count);
        const auto first = unwrap_list(first_moments, count), second = unwrap_list(second_moments, count);
        for (size_t i = 0; i < count; ++i) {
            slopes[i] = slopes[i].contiguous();
            check_moments(values[i], slopes[i], "gradient", i);
            check_moments(values[i], first[i], "first moment", i);
            check_moments(values[i], second[i], "second moment", i);
        }
        const at::Tensor step = at::full({}, static_cast<double>(settings.step), values[0].options().dtype(at::kFloat));
        const std::vector<at::Tensor> steps(count, step);
        at::_fused_adamw_(
            values, slopes, first, second, {}, steps, settings.learning_rate, settings.beta1, settings.beta2,
            settings.weight_decay, settings.epsilon, /*amsgrad=*/false, /*maximize=*/false);
    });
}

ctorch_status ctorch_norm(const ctorch_tensor *tensors, size_t count, double *out) {
    return guarded([&] {
        at::NoGradGuard guard;
        double total = 0;
        for (size_t i = 0; i < count; ++i) total += sum_of_squares(unwrap(tensors[i]));
        *out = std::sqrt(total);
    });
}

ctorch_status ctorch_scale_in_place(const ctorch_tensor *tensors, size_t count, double factor) {
    return guarded([&] {
        if (count == 0) return;
        at::NoGradGuard guard;
        at::_foreach_mul_(unwrap_list(tensors, count), factor);
    });
}

}  // extern "C"
