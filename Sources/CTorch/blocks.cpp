#include "include/ctorch_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "block_kernels.hpp"
#include "gate.hpp"
#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool has_kernel(const at::Tensor &x) {
    return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

/// Calls `body` with a zero of the tensor's element type, float32 or float64.
template <class Body>
void with_type(const at::Tensor &x, const Body &body) {
    x.scalar_type() == at::kFloat ? body(0.0f) : body(0.0);
}

// ---- RMS norm ----

template <class T>
struct AddRow {
    static CTORCH_INLINE void run(const T *x, const T *y, T *sum, int64_t size) {
        for (int64_t i = 0; i < size; ++i) sum[i] = x[i] + y[i];
    }
};

/// With a = g·w and s the row's scale: dx = s·a − x·s³·mean(a·x), and dw gains g·x·s where it is asked for. What goes to x
/// beside the norm is added, where something does.
template <class T>
struct NormRowGradient {
    static CTORCH_INLINE void run(
        const T *x, const T *weight, const T *gradient, const T *beside, T scale, T *by_x, T *by_weight, int64_t size) {
#pragma clang fp reassociate(on) contract(fast)
        T product = 0;
        for (int64_t i = 0; i < size; ++i) product += gradient[i] * weight[i] * x[i];
        const T factor = product * scale * scale * scale / size;
        if (beside)
            for (int64_t i = 0; i < size; ++i) by_x[i] = gradient[i] * weight[i] * scale - x[i] * factor + beside[i];
        else
            for (int64_t i = 0; i < size; ++i) by_x[i] = gradient[i] * weight[i] * scale - x[i] * factor;
        if (by_weight)
            for (int64_t i = 0; i < size; ++i) by_weight[i] += gradient[i] * x[i] * scale;
    }
};

/// Rows are cut into blocks whose number does not depend on the threads, so that sums over rows repeat to the bit.
int64_t block_count(int64_t rows) { return std::min<int64_t>(16, (rows + 31) / 32); }

/// The norm of x, or of x + y, and behind it what it is the norm of, which goes on beside it: the gradients of both meet in
/// one pass.
struct Norm : torch::autograd::Function<Norm> {
    /// - Parameter added: y, or nothing.
    static variable_list forward(
        AutogradContext *context, const at::Tensor &input, const at::Tensor &weight, at::TensorList added,
        double epsilon) {
        const at::Tensor x = input.contiguous(), w = weight.contiguous(),
                         y = added.empty() ? at::Tensor() : added[0].contiguous();
        const int64_t size = x.size(-1), rows = x.numel() / std::max<int64_t>(size, 1), blocks = block_count(rows);
        at::Tensor out = at::empty_like(x), scales = at::empty({rows}, x.options()),
                   sum = y.defined() ? at::empty_like(x) : at::Tensor();
        with_type(x, [&](auto zero) {
            using T = decltype(zero);
            const T *from = x.const_data_ptr<T>(), *by = w.const_data_ptr<T>(),
                    *other = y.defined() ? y.const_data_ptr<T>() : nullptr;
            T *to = out.mutable_data_ptr<T>(), *scale = scales.mutable_data_ptr<T>(),
              *both = other ? sum.mutable_data_ptr<T>() : nullptr;
            parallel_tasks(blocks, 4 * x.numel() / std::max<int64_t>(blocks, 1), [&](int64_t block, int) {
                for (int64_t row = rows * block / blocks; row < rows * (block + 1) / blocks; ++row) {
                    const int64_t at = row * size;
                    if (other) dispatch<AddRow<T>>(from + at, other + at, both + at, size);
                    dispatch<NormRow<T>>(
                        other ? both + at : from + at, by, to + at, scale + row, size, static_cast<T>(epsilon));
                }
            });
        });
        context->set_materialize_grads(false);
        context->saved_data["adds"] = y.defined();
        context->save_for_backward({y.defined() ? sum : x, w, scales});
        return {out, y.defined() ? sum : input};
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1], &scales = saved[2];
        // In the order of forward's arguments: x, the weight, y where there is one, epsilon.
        const bool adds = context->saved_data["adds"].toBool();
        variable_list found(adds ? 4 : 3);
        const auto give = [&](const at::Tensor &by_x) {
            found[0] = by_x;
            if (adds) found[2] = by_x;
            return found;
        };
        if (!gradients[0].defined()) return give(gradients[1]);
        const at::Tensor g = gradients[0].contiguous(),
                         beside = gradients[1].defined() ? gradients[1].contiguous() : at::Tensor();
        const bool is_learned = context->needs_input_grad(1);
        const int64_t size = x.size(-1), rows = x.numel() / std::max<int64_t>(size, 1), blocks = block_count(rows);
        at::Tensor by_x = at::empty_like(x),
                   by_block = at::zeros({is_learned ? std::max<int64_t>(blocks, 1) : 0, size}, w.options());
        with_type(x, [&](auto zero) {
            using T = decltype(zero);
            const T *from = x.const_data_ptr<T>(), *by = w.const_data_ptr<T>(), *gradient = g.const_data_ptr<T>(),
                    *scale = scales.const_data_ptr<T>(), *more = beside.defined() ? beside.const_data_ptr<T>() : nullptr;
            T *to = by_x.mutable_data_ptr<T>(), *sums = by_block.mutable_data_ptr<T>();
            parallel_tasks(blocks, 4 * x.numel() / std::max<int64_t>(blocks, 1), [&](int64_t block, int) {
                for (int64_t row = rows * block / blocks; row < rows * (block + 1) / blocks; ++row)
                    dispatch<NormRowGradient<T>>(
                        from + row * size, by, gradient + row * size, more ? more + row * size : nullptr, scale[row],
                        to + row * size, is_learned ? sums + block * size : nullptr, size);
            });
        });
        if (is_learned) found[1] = by_block.sum(0);
        return give(by_x);
    }
};

at::Tensor composed_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon) {
    const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
    const at::Tensor scale = at::rsqrt(wide.pow(2).mean(-1, true) + epsilon);
    return (wide * scale).to(x.scalar_type()) * weight;
}

// ---- Rotary positions ----

at::Tensor turn(const at::Tensor &input, const at::Tensor &cosines, const at::Tensor &sines, int sign) {
    const int64_t tokens = input.size(0), heads = input.size(1), half = input.size(2) / 2;
    const bool packed = input.stride(2) == 1 && input.stride(1) == input.size(2);
    const at::Tensor x = packed ? input : input.contiguous();
    at::Tensor out = at::empty({tokens, heads, 2 * half}, x.options());
    with_type(x, [&](auto zero) {
        using T = decltype(zero);
        const T *from = x.const_data_ptr<T>(), *c = cosines.const_data_ptr<T>(), *s = sines.const_data_ptr<T>();
        T *to = out.mutable_data_ptr<T>();
        const int64_t stride = x.stride(0), blocks = std::min<int64_t>(64, (tokens + 7) / 8);
        parallel_tasks(blocks, 2 * x.numel() / std::max<int64_t>(blocks, 1), [&](int64_t block, int) {
            for (int64_t token = tokens * block / blocks; token < tokens * (block + 1) / blocks; ++token)
                dispatch<TurnToken<T>>(
                    from + token * stride, c + token * half, s + token * half, to + token * heads * 2 * half, heads,
                    half,
                    static_cast<T>(sign));
        });
    });
    return out;
}

struct Rotary : torch::autograd::Function<Rotary> {
    static at::Tensor forward(
        AutogradContext *context, const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines) {
        const at::Tensor c = cosines.to(x.scalar_type()).contiguous(), s = sines.to(x.scalar_type()).contiguous();
        context->save_for_backward({c, s});
        return turn(x, c, s, 1);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        return {turn(gradients[0], saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
    }
};

at::Tensor composed_rotary(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines) {
    const int64_t half = x.size(2) / 2;
    const at::Tensor first = x.narrow(2, 0, half), second = x.narrow(2, half, half);
    const at::Tensor c = cosines.to(x.scalar_type()).unsqueeze(1), s = sines.to(x.scalar_type()).unsqueeze(1);
    return at::cat({first * c - second * s, second * c + first * s}, 2);
}

// ---- Gated activation ----

/// With o = sigmoid(gate): d gate = g·up·o·(1 + gate·(1 − o)), d up = g·gate·o; and gate·o·up once more where there is
/// room for it.
template <class T>
struct GateBlockGradient {
    static CTORCH_INLINE void run(
        const T *gate, const T *up, const T *gradient, T *by_gate, T *by_up, T *output, int64_t count) {
        for (int64_t i = 0; i < count; i += lane_count) {
            Lanes<T> g, u, d, open;
            read_lanes(gate + i, count - i, g);
            read_lanes(up + i, count - i, u);
            read_lanes(gradient + i, count - i, d);
            sigmoid<T>(g, open);
            write_lanes<T>(d * u * open * (1 + g * (1 - open)), count - i, by_gate + i);
            write_lanes<T>(d * g * open, count - i, by_up + i);
            if (output) write_lanes<T>(g * open * u, count - i, output + i);
        }
    }
};

constexpr int64_t gate_block = 8192;

/// Calls `body(start, count)` for the blocks of so many numbers.
template <class Body>
void gate_blocks(int64_t count, const Body &body) {
    parallel_tasks((count + gate_block - 1) / gate_block, 8 * gate_block, [&](int64_t block, int) {
        body(block * gate_block, std::min(gate_block, count - block * gate_block));
    });
}

struct Gate : torch::autograd::Function<Gate> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &gate, const at::Tensor &up) {
        context->save_for_backward({gate, up});
        return gated(gate, up);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const GateGradients found = gate_gradients(saved[0], saved[1], gradients[0], /*with_output=*/false);
        return {found.by_gate, found.by_up};
    }
};

}  // namespace

at::Tensor gated(const at::Tensor &gate_input, const at::Tensor &up_input) {
    if (!has_kernel(gate_input)) return gate_input * at::sigmoid(gate_input) * up_input;
    const at::Tensor gate = gate_input.contiguous(), up = up_input.contiguous();
    at::Tensor out = at::empty_like(gate);
    with_type(gate, [&](auto zero) {
        using T = decltype(zero);
        const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>();
        T *to = out.mutable_data_ptr<T>();
        gate_blocks(gate.numel(), [&](int64_t start, int64_t count) {
            dispatch<GateBlock<T>>(g + start, u + start, to + start, count);
        });
    });
    return out;
}

GateGradients gate_gradients(
    const at::Tensor &gate_input, const at::Tensor &up_input, const at::Tensor &gradient_input, bool with_output) {
    if (!has_kernel(gate_input)) {
        const at::Tensor open = at::sigmoid(gate_input), by_product = gradient_input * open;
        return {
            by_product * up_input * (1 + gate_input * (1 - open)), by_product * gate_input,
            with_output ? gated(gate_input, up_input) : at::Tensor()};
    }
    const at::Tensor gate = gate_input.contiguous(), up = up_input.contiguous(), gradient = gradient_input.contiguous();
    GateGradients found{at::empty_like(gate), at::empty_like(up), with_output ? at::empty_like(gate) : at::Tensor()};
    with_type(gate, [&](auto zero) {
        using T = decltype(zero);
        const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>(), *d = gradient.const_data_ptr<T>();
        T *by_gate = found.by_gate.template mutable_data_ptr<T>(), *by_up = found.by_up.template mutable_data_ptr<T>(),
          *output = with_output ? found.output.template mutable_data_ptr<T>() : nullptr;
        gate_blocks(gate.numel(), [&](int64_t start, int64_t count) {
            dispatch<GateBlockGradient<T>>(
                g + start, u + start, d + start, by_gate + start, by_up + start, output ? output + start : nullptr,
                count);
        });
    });
    return found;
}

}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_rms_norm(
    ctorch_tensor x, ctorch_tensor added, ctorch_tensor weight, double epsilon, ctorch_tensor *outs) {
    return guarded([&] {
        const at::Tensor &input = unwrap(x), &by = unwrap(weight);
        TORCH_CHECK(
            input.dim() >= 1 && by.dim() == 1 && by.size(0) == input.size(-1) && by.device() == input.device(), "weight ",
            by.sizes(), " must have one element for each of the last axis of ", input.sizes(), ", on its device");
        std::vector<at::Tensor> others;
        if (added) others.push_back(unwrap(added));
        TORCH_CHECK(
            !added || (others[0].sizes() == input.sizes() && others[0].scalar_type() == input.scalar_type() &&
                       others[0].device() == input.device()),
            "x ", input.toString(), " ", input.sizes(), " and what is added must have one shape, type and device");
        if (has_kernel(input) && by.scalar_type() == input.scalar_type()) {
            wrap_list(Norm::apply(input, by, at::TensorList(others), epsilon), outs);
            return;
        }
        const at::Tensor sum = added ? input + others[0] : input;
        wrap_list({composed_norm(sum, by, epsilon), sum}, outs);
    });
}

extern "C" ctorch_status ctorch_rotary(
    ctorch_tensor x, ctorch_tensor cosines, ctorch_tensor sines, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &input = unwrap(x), &c = unwrap(cosines), &s = unwrap(sines);
        TORCH_CHECK(
            input.dim() == 3 && input.size(2) % 2 == 0, "x ", input.sizes(), " must be [tokens, heads, even size]");
        const std::vector<int64_t> expected = {input.size(0), input.size(2) / 2};
        TORCH_CHECK(
            c.sizes() == at::IntArrayRef(expected) && s.sizes() == c.sizes(), "cosines ", c.sizes(), " and sines ",
            s.sizes(), " must be ", at::IntArrayRef(expected));
        *out = wrap(has_kernel(input) ? Rotary::apply(input, c, s) : composed_rotary(input, c, s));
    });
}

extern "C" ctorch_status ctorch_swiglu(ctorch_tensor gate, ctorch_tensor up, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &g = unwrap(gate), &u = unwrap(up);
        TORCH_CHECK(
            g.sizes() == u.sizes() && g.scalar_type() == u.scalar_type(), "gate ", g.sizes(), " and up ", u.sizes(),
            " must have one shape and element type");
        *out = wrap(Gate::apply(g, u));
    });
}
