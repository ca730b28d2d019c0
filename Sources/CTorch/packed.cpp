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

#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

constexpr int64_t panel_width = CTORCH_PANEL_WIDTH;
/// Inputs that are multiplied before the next rows take their turn: a piece of a panel stays in the second cache.
constexpr int64_t depth = 1024;
/// Rows whose sums are held in registers at a time.
constexpr int most_rows = 12;
/// Blocks of rows that are multiplied with one panel: their inputs stay in the second cache, too.
constexpr int64_t blocks_together = 8;

/// Sixteen stored weights.
template <class Weight>
struct Stored;
template <>
struct Stored<float> {
    typedef float Type __attribute__((vector_size(64), aligned(4)));
};
template <>
struct Stored<int8_t> {
    typedef int8_t Type __attribute__((vector_size(16), aligned(1)));
};

/// Adds the products of `count` inputs to the sums of `rows` rows and `16 · lanes` outputs of a panel.
///
/// `x` is `[count, rows]`, `sums` is `[rows, 32]`.
template <class Weight, int rows, int lanes>
CTORCH_INLINE void accumulate(const Weight *panel, const float *x, int64_t count, float *sums) {
#pragma clang fp contract(fast)
    typedef float Vector __attribute__((vector_size(64)));
    Vector sum[rows][lanes];
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            sum[row][lane] = *reinterpret_cast<Lanes<float> *>(sums + row * panel_width + lane * lane_count);
    for (int64_t i = 0; i < count; ++i) {
        Vector weight[lanes];
        for (int lane = 0; lane < lanes; ++lane)
            weight[lane] = __builtin_convertvector(
                *reinterpret_cast<const typename Stored<Weight>::Type *>(panel + i * panel_width + lane * lane_count),
                Vector);
        for (int row = 0; row < rows; ++row)
            for (int lane = 0; lane < lanes; ++lane) sum[row][lane] += weight[lane] * x[i * rows + row];
    }
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            *reinterpret_cast<Lanes<float> *>(sums + row * panel_width + lane * lane_count) = sum[row][lane];
}

/// With 32 registers of 16 numbers.
template <class Weight, int rows>
struct WholePanel {
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums) {
        accumulate<Weight, rows, 2>(panel, x, count, sums);
    }
};

/// With 16 registers of 8 numbers or fewer.
template <class Weight, int rows>
struct HalfPanels {
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums) {
        accumulate<Weight, rows, 1>(panel, x, count, sums);
        accumulate<Weight, rows, 1>(panel + lane_count, x, count, sums + lane_count);
    }
};

template <class Weight>
using Kernel = void (*)(const Weight *, const float *, int64_t, float *);

template <class Weight, int... rows>
Kernel<Weight> kernel(int64_t wanted, std::integer_sequence<int, rows...>) {
    // `kernels[n]` takes n + 1 rows.
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    static constexpr Kernel<Weight> wide[] = {
        run_avx512<WholePanel<Weight, rows + 1>, const Weight *, const float *, int64_t, float *>...};
    static constexpr Kernel<Weight> narrow[] = {
        run_avx2<HalfPanels<Weight, rows + 1>, const Weight *, const float *, int64_t, float *>...};
    if (instruction_set() == InstructionSet::avx512) return wide[wanted - 1];
    if (instruction_set() == InstructionSet::avx2) return narrow[wanted - 1];
#endif
    static constexpr Kernel<Weight> plain[] = {HalfPanels<Weight, rows + 1>::run...};
    return plain[wanted - 1];
}

/// How many rows a kernel of this processor takes at most: its sums and two more numbers fill the registers.
int64_t rows_at_a_time() {
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    if (instruction_set() == InstructionSet::avx512) return most_rows;
#endif
    return most_rows / 2;
}

/// Rows cut into blocks of about one size, each with its inputs turned: `[inputs, rows of the block]`.
class Blocks {
  public:
    Blocks(const float *x, int64_t rows, int64_t inputs)
        : rows_(rows), inputs_(inputs), count_((rows + rows_at_a_time() - 1) / rows_at_a_time()), turned_(rows * inputs) {
        parallel_tasks(count_, most_rows * inputs, [&](int64_t block, int) {
            const int64_t first = start(block), height = this->height(block);
            float *to = turned_.data() + first * inputs_;
            for (int64_t row = 0; row < height; ++row)
                for (int64_t i = 0; i < inputs_; ++i) to[i * height + row] = x[(first + row) * inputs_ + i];
        });
    }

    int64_t count() const { return count_; }
    int64_t start(int64_t block) const { return rows_ * block / count_; }
    int64_t height(int64_t block) const { return start(block + 1) - start(block); }
    const float *inputs(int64_t block, int64_t from) const {
        return turned_.data() + start(block) * inputs_ + from * height(block);
    }

  private:
    int64_t rows_, inputs_, count_;
    std::vector<float> turned_;
};

template <class Weight>
void multiply(
    const Blocks &blocks, const Weight *packed, const float *scales, const float *bias, float *out, int64_t inputs,
    int64_t outputs) {
    const int64_t panels = (outputs + panel_width - 1) / panel_width, height = most_rows * blocks_together;
    const int64_t groups = (blocks.count() + blocks_together - 1) / blocks_together;
    std::vector<float> all_sums(static_cast<size_t>(thread_count() * height * panel_width));
    parallel_tasks(groups * panels, height * inputs * panel_width, [&](int64_t task, int thread) {
        const int64_t panel = task % panels, first_block = task / panels * blocks_together;
        const int64_t last_block = std::min(first_block + blocks_together, blocks.count());
        const int64_t top = blocks.start(first_block), rows = blocks.start(last_block) - top;
        float *sums = all_sums.data() + thread * height * panel_width;
        std::fill_n(sums, rows * panel_width, 0.0f);
        for (int64_t from = 0; from < inputs; from += depth) {
            const int64_t count = std::min(depth, inputs - from);
            const Weight *piece = packed + (panel * inputs + from) * panel_width;
            for (int64_t block = first_block; block < last_block; ++block)
                kernel<Weight>(blocks.height(block), std::make_integer_sequence<int, most_rows>())(
                    piece, blocks.inputs(block, from), count, sums + (blocks.start(block) - top) * panel_width);
        }
        const int64_t column = panel * panel_width, width = std::min(panel_width, outputs - column);
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < width; ++i)
                out[(top + row) * outputs + column + i] = sums[row * panel_width + i] * (scales ? scales[column + i] : 1) +
                                                          (bias ? bias[column + i] : 0);
    });
}

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

at::Tensor product(
    const at::Tensor &input, const at::Tensor &weights, const std::optional<at::Tensor> &scales,
    const std::optional<at::Tensor> &bias, int64_t outputs) {
    const at::Tensor x = input.contiguous();
    const int64_t rows = x.size(0), inputs = x.size(1);
    at::Tensor y = at::empty({rows, outputs}, x.options());
    if (rows == 0) return y;
    const Blocks blocks(x.const_data_ptr<float>(), rows, inputs);
    const float *by = bias ? bias->const_data_ptr<float>() : nullptr;
    float *to = y.mutable_data_ptr<float>();
    if (scales)
        multiply(
            blocks, reinterpret_cast<const int8_t *>(weights.const_data_ptr<uint8_t>()), scales->const_data_ptr<float>(),
            by, to, inputs, outputs);
    else
        multiply(blocks, weights.const_data_ptr<float>(), nullptr, by, to, inputs, outputs);
    return y;
}

/// Outputs whose weights are unpacked together for a gradient: all that is ever held of the matrix in float32.
constexpr int64_t unpacked_together = 8 * panel_width;

/// The gradient goes to the input alone, and reads the packed matrix.
struct PackedProduct : torch::autograd::Function<PackedProduct> {
    static at::Tensor forward(
        torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &weights,
        const std::optional<at::Tensor> &scales, const std::optional<at::Tensor> &bias, int64_t outputs) {
        context->saved_data["weights"] = weights;
        context->saved_data["scales"] = scales;
        context->saved_data["outputs"] = outputs;
        return product(x, weights, scales, bias, outputs);
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
        return {out, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

}  // namespace
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

extern "C" ctorch_status ctorch_packed_linear(
    ctorch_tensor input, ctorch_tensor packed, ctorch_tensor scales, ctorch_tensor bias, int64_t outputs,
    ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &weights = unwrap(packed);
        TORCH_CHECK(
            unwrap(input).dim() == 2 && unwrap(input).is_cpu() && unwrap(input).scalar_type() == at::kFloat &&
                unwrap(input).size(1) == weights.size(1),
            "input ", unwrap(input).toString(), " ", unwrap(input).sizes(), " must be [rows, ", weights.size(1),
            "] float32 on the CPU");
        TORCH_CHECK(
            weights.size(0) == (outputs + panel_width - 1) / panel_width, "a packed matrix of ", weights.size(0),
            " panels has not ", outputs, " outputs");
        TORCH_CHECK(
            !bias || (unwrap(bias).scalar_type() == at::kFloat && unwrap(bias).numel() == outputs), "bias ",
            bias ? unwrap(bias).toString() : "", " must be ", outputs, " numbers in float32");
        const auto factors = scales ? std::optional(unwrap(scales)) : std::nullopt;
        const auto offset = bias ? std::optional(unwrap(bias).detach().contiguous()) : std::nullopt;
        *out = wrap(
            at::GradMode::is_enabled() && unwrap(input).requires_grad()
                ? PackedProduct::apply(unwrap(input), weights, factors, offset, outputs)
                : product(unwrap(input).detach(), weights, factors, offset, outputs));
    });
}
