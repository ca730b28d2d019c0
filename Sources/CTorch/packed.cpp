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
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

constexpr int64_t panel_width = CTORCH_PANEL_WIDTH;
/// Inputs that are multiplied before the next rows take their turn: such a piece of a panel, 16 KiB of float32, stays in
/// the first cache while every block of rows is multiplied with it.
constexpr int64_t depth = 128;
/// Rows whose sums are held in registers at a time.
constexpr int most_rows = 12;
/// Rows whose outputs of a panel are fetched before they are written: 8 KiB beside what the first cache holds already.
constexpr int64_t rows_fetched = 64;
/// Numbers of the rows that are multiplied with one panel: they stay in the second cache from panel to panel.
constexpr int64_t inputs_together = 192 << 10;

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

/// Sixteen stored weights as numbers.
template <class Weight>
CTORCH_INLINE void widen(const Weight *from, Lanes<float> &to) {
    typedef float Vector __attribute__((vector_size(64)));
    to = __builtin_convertvector(*reinterpret_cast<const typename Stored<Weight>::Type *>(from), Vector);
}

/// Weights that are fetched into the second cache while others are multiplied: `step` bytes with every input. Without it
/// the processor reads memory or multiplies, in turns.
struct Ahead {
    const char *at;
    int64_t step;
};

/// Adds the products of `count` inputs to the sums of `rows` rows and `16 · lanes` outputs of a panel.
///
/// `x` is `[count, rows]`, `sums` is `[rows, 32]`.
template <class Weight, int rows, int lanes>
CTORCH_INLINE void accumulate(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
#pragma clang fp contract(fast)
    Lanes<float> sum[rows][lanes];
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            sum[row][lane] = *reinterpret_cast<Lanes<float> *>(sums + row * panel_width + lane * lane_count);
    for (int64_t i = 0; i < count; ++i) {
        // A panel's inputs are two lines of 64 bytes at most.
        __builtin_prefetch(ahead.at + i * ahead.step, 0, 2);
        __builtin_prefetch(ahead.at + i * ahead.step + ahead.step / 2, 0, 2);
        Lanes<float> weight[lanes];
        for (int lane = 0; lane < lanes; ++lane) widen(panel + i * panel_width + lane * lane_count, weight[lane]);
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
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
        accumulate<Weight, rows, 2>(panel, x, count, sums, ahead);
    }
};

/// With 16 registers of 8 numbers or fewer.
template <class Weight, int rows>
struct HalfPanels {
    static CTORCH_INLINE void run(const Weight *panel, const float *x, int64_t count, float *sums, Ahead ahead) {
        const Ahead first{ahead.at, ahead.step / 2}, second{ahead.at + count * first.step, first.step};
        accumulate<Weight, rows, 1>(panel, x, count, sums, first);
        accumulate<Weight, rows, 1>(panel + lane_count, x, count, sums + lane_count, second);
    }
};

template <class Weight>
using Kernel = void (*)(const Weight *, const float *, int64_t, float *, Ahead);

template <class Weight, int... rows>
Kernel<Weight> kernel(int64_t wanted, std::integer_sequence<int, rows...>) {
    // `kernels[n]` takes n + 1 rows.
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    static constexpr Kernel<Weight> wide[] = {
        run_avx512<WholePanel<Weight, rows + 1>, const Weight *, const float *, int64_t, float *, Ahead>...};
    static constexpr Kernel<Weight> narrow[] = {
        run_avx2<HalfPanels<Weight, rows + 1>, const Weight *, const float *, int64_t, float *, Ahead>...};
    if (instruction_set() == InstructionSet::avx512) return wide[wanted - 1];
    if (instruction_set() == InstructionSet::avx2) return narrow[wanted - 1];
#endif
    static constexpr Kernel<Weight> plain[] = {HalfPanels<Weight, rows + 1>::run...};
    return plain[wanted - 1];
}

/// The kernel for a number of rows, 1 to `most_rows`.
template <class Weight>
Kernel<Weight> kernel(int64_t rows) {
    return kernel<Weight>(rows, std::make_integer_sequence<int, most_rows>());
}

/// How many rows a kernel of this processor takes at most: its sums and two more numbers fill the registers.
int64_t rows_at_a_time() {
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    if (instruction_set() == InstructionSet::avx512) return most_rows;
#endif
    return most_rows / 2;
}

/// Weights in eight bits become numbers once for all blocks of rows.
struct WidenedPiece {
    static CTORCH_INLINE void run(const int8_t *from, int64_t count, float *to) {
        for (int64_t i = 0; i < count; i += lane_count) widen(from + i, *reinterpret_cast<Lanes<float> *>(to + i));
    }
};

/// The sums `[rows, 32]` of a whole panel, scaled and moved, become outputs.
struct PanelOutputs {
    static CTORCH_INLINE void run(
        const float *sums, int64_t rows, const float *scales, const float *bias, float *out, int64_t outputs) {
        const auto lanes = [](const float *at) -> const Lanes<float> & {
            return *reinterpret_cast<const Lanes<float> *>(at);
        };
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < panel_width; i += lane_count) {
                Lanes<float> y = lanes(sums + row * panel_width + i);
                if (scales) y *= lanes(scales + i);
                if (bias) y += lanes(bias + i);
                *reinterpret_cast<Lanes<float> *>(out + row * outputs + i) = y;
            }
    }
};

/// `[rows, inputs]`, of which a row begins `stride` numbers behind the one before, becomes `[inputs, rows]`, four by four;
/// the last four may be some of those before.
void turn(const float *x, int64_t rows, int64_t inputs, int64_t stride, float *to) {
    typedef float Four __attribute__((vector_size(16), aligned(4)));
    if (rows < 4 || inputs < 4) {
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < inputs; ++i) to[i * rows + row] = x[row * stride + i];
        return;
    }
    for (int64_t next_row = 0; next_row < rows; next_row += 4) {
        const int64_t row = std::min(next_row, rows - 4);
        for (int64_t next = 0; next < inputs; next += 4) {
            const int64_t i = std::min(next, inputs - 4);
            const auto read = [&](int64_t one) -> const Four & {
                return *reinterpret_cast<const Four *>(x + (row + one) * stride + i);
            };
            const Four first = __builtin_shufflevector(read(0), read(1), 0, 4, 1, 5),
                       second = __builtin_shufflevector(read(2), read(3), 0, 4, 1, 5),
                       third = __builtin_shufflevector(read(0), read(1), 2, 6, 3, 7),
                       fourth = __builtin_shufflevector(read(2), read(3), 2, 6, 3, 7);
            const auto write = [&](int64_t one) -> Four & { return *reinterpret_cast<Four *>(to + (i + one) * rows + row); };
            write(0) = __builtin_shufflevector(first, second, 0, 1, 4, 5);
            write(1) = __builtin_shufflevector(first, second, 2, 3, 6, 7);
            write(2) = __builtin_shufflevector(third, fourth, 0, 1, 4, 5);
            write(3) = __builtin_shufflevector(third, fourth, 2, 3, 6, 7);
        }
    }
}

/// Rows cut into blocks of about one size, each with its inputs turned: `[inputs, rows of the block]`.
class Blocks {
  public:
    Blocks(const float *x, int64_t rows, int64_t inputs)
        : rows_(rows), inputs_(inputs), count_((rows + rows_at_a_time() - 1) / rows_at_a_time()),
          turned_(std::make_unique_for_overwrite<float[]>(rows * inputs)) {
        // Some inputs of one block; each number goes to a line that it shares with few others.
        constexpr int64_t inputs_of_task = 256, operations_of_number = 4;
        const int64_t pieces = (inputs + inputs_of_task - 1) / inputs_of_task;
        const int64_t operations = operations_of_number * rows * inputs / std::max<int64_t>(1, count_ * pieces);
        parallel_tasks(count_ * pieces, operations, [&](int64_t task, int) {
            const int64_t block = task / pieces, from = task % pieces * inputs_of_task;
            turn(
                x + start(block) * inputs_ + from, height(block), std::min(inputs_of_task, inputs_ - from), inputs_,
                turned_.get() + start(block) * inputs_ + from * height(block));
        });
    }

    int64_t count() const { return count_; }
    int64_t start(int64_t block) const { return rows_ * block / count_; }
    int64_t height(int64_t block) const { return start(block + 1) - start(block); }
    const float *inputs(int64_t block, int64_t from) const {
        return turned_.get() + start(block) * inputs_ + from * height(block);
    }

  private:
    int64_t rows_, inputs_, count_;
    std::unique_ptr<float[]> turned_;
};

/// A packed matrix as its elements lie, and where its outputs go.
template <class Weight>
struct Part {
    const Weight *packed;
    const float *scales, *bias;
    float *out;
    int64_t outputs;

    int64_t panels() const { return (outputs + panel_width - 1) / panel_width; }
};

/// Multiplies blocks of rows with every part; the panels of all parts are cut among the threads as if they were one matrix.
template <class Weight>
void multiply(const Blocks &blocks, const std::vector<Part<Weight>> &parts, int64_t inputs) {
    int64_t panels = 0;
    for (const auto &part : parts) panels += part.panels();
    const auto elements_of = [&](const Part<Weight> &part, int64_t panel) {
        return part.packed + panel * inputs * panel_width;
    };
    const auto found = [&](int64_t panel) {
        auto part = parts.begin();
        for (; panel >= part->panels(); ++part) panel -= part->panels();
        return std::pair(part, panel);
    };
    const int64_t threads = thread_count();
    const int64_t together = std::clamp<int64_t>(inputs_together / (most_rows * inputs), 4, 32);
    const int64_t height = most_rows * std::min(together, blocks.count());
    const int64_t groups = (blocks.count() + together - 1) / together, own = (height + depth) * panel_width;
    const auto all = std::make_unique_for_overwrite<float[]>(threads * own);
    // As long as the threads take turns, each of them has panels that lie one behind the other.
    const auto panel_of = [&](int64_t task) {
        const int64_t turn = task % threads;
        return turn * (panels / threads) + std::min(turn, panels % threads) + task / threads;
    };
    parallel_tasks(groups * panels, height * inputs * panel_width, [&](int64_t task, int thread) {
        const auto [part, panel] = found(panel_of(task % panels));
        const int64_t first_block = task / panels * together;
        const int64_t last_block = std::min(first_block + together, blocks.count());
        const int64_t top = blocks.start(first_block), rows = blocks.start(last_block) - top;
        float *sums = all.get() + thread * own, *widened = sums + height * panel_width;
        std::fill_n(sums, rows * panel_width, 0.0f);
        // What this thread multiplies next.
        const int64_t next_task = std::min(task + threads, groups * panels - 1);
        const auto [next_part, next_panel] = found(panel_of(next_task % panels));
        const int64_t column = panel * panel_width, width = std::min(panel_width, part->outputs - column);
        float *to = part->out + top * part->outputs + column;
        const int64_t step = panel_width * sizeof(Weight) / (last_block - first_block);
        for (int64_t from = 0; from < inputs; from += depth) {
            const int64_t count = std::min(depth, inputs - from);
            const Weight *piece = elements_of(*part, panel) + from * panel_width;
            const Weight *next =
                from + count < inputs ? piece + count * panel_width : elements_of(*next_part, next_panel);
            // Outputs that are not in a cache when they are written would be waited for at the end.
            if (from + count == inputs && rows <= rows_fetched)
                for (int64_t row = 0; row < rows; ++row) {
                    __builtin_prefetch(to + row * part->outputs, 1);
                    __builtin_prefetch(to + row * part->outputs + width - 1, 1);
                }
            Ahead ahead{reinterpret_cast<const char *>(next), step};
            const auto multiplied = [&](const auto *weights) {
                for (int64_t block = first_block; block < last_block; ++block, ahead.at += count * step)
                    kernel<std::remove_cvref_t<decltype(*weights)>>(blocks.height(block))(
                        weights, blocks.inputs(block, from), count, sums + (blocks.start(block) - top) * panel_width,
                        ahead);
            };
            if constexpr (std::is_same_v<Weight, int8_t>) {
                if (last_block - first_block > 1) {
                    dispatch<WidenedPiece>(piece, count * panel_width, widened);
                    multiplied(static_cast<const float *>(widened));
                    continue;
                }
            }
            multiplied(piece);
        }
        const float *scales = part->scales ? part->scales + column : nullptr,
                    *bias = part->bias ? part->bias + column : nullptr;
        if (width == panel_width) {
            dispatch<PanelOutputs>(static_cast<const float *>(sums), rows, scales, bias, to, part->outputs);
            return;
        }
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < width; ++i)
                to[row * part->outputs + i] =
                    sums[row * panel_width + i] * (scales ? scales[i] : 1) + (bias ? bias[i] : 0);
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

/// A packed matrix.
struct Packed {
    at::Tensor weights;
    std::optional<at::Tensor> scales, bias;
    int64_t outputs;

    template <class Weight>
    Part<Weight> part(at::Tensor &out) const {
        const void *elements = scales ? static_cast<const void *>(weights.const_data_ptr<uint8_t>())
                                      : weights.const_data_ptr<float>();
        return {
            static_cast<const Weight *>(elements), scales ? scales->const_data_ptr<float>() : nullptr,
            bias ? bias->const_data_ptr<float>() : nullptr, out.mutable_data_ptr<float>(), outputs};
    }
};

template <class Weight>
void multiply(
    const Blocks &blocks, const std::vector<Packed> &matrices, std::vector<at::Tensor> &outs, int64_t inputs) {
    std::vector<Part<Weight>> parts;
    for (size_t i = 0; i < matrices.size(); ++i) parts.push_back(matrices[i].part<Weight>(outs[i]));
    multiply(blocks, parts, inputs);
}

std::vector<at::Tensor> products(const at::Tensor &input, const std::vector<Packed> &matrices) {
    const at::Tensor x = input.contiguous();
    const int64_t rows = x.size(0), inputs = x.size(1);
    std::vector<at::Tensor> outs;
    for (const Packed &matrix : matrices) outs.push_back(at::empty({rows, matrix.outputs}, x.options()));
    if (rows == 0) return outs;
    const Blocks blocks(x.const_data_ptr<float>(), rows, inputs);
    matrices[0].scales ? multiply<int8_t>(blocks, matrices, outs, inputs)
                       : multiply<float>(blocks, matrices, outs, inputs);
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
        for (const ctorch_packed_matrix *one = matrices; one < matrices + count; ++one) {
            const at::Tensor &weights = unwrap(one->packed);
            const int64_t outputs = one->outputs;
            TORCH_CHECK(
                x.dim() == 2 && x.is_cpu() && x.scalar_type() == at::kFloat && x.size(1) == weights.size(1), "input ",
                x.toString(), " ", x.sizes(), " must be [rows, ", weights.size(1), "] float32 on the CPU");
            TORCH_CHECK(
                weights.size(0) == (outputs + panel_width - 1) / panel_width, "a packed matrix of ", weights.size(0),
                " panels has not ", outputs, " outputs");
            TORCH_CHECK(
                !one->bias || (unwrap(one->bias).scalar_type() == at::kFloat && unwrap(one->bias).numel() == outputs),
                "bias ", one->bias ? unwrap(one->bias).toString() : "", " must be ", outputs, " numbers in float32");
            TORCH_CHECK(!one->scales == !matrices->scales, "matrices that are packed in two ways are not read together");
            read.push_back(
                {weights, one->scales ? std::optional(unwrap(one->scales)) : std::nullopt,
                 one->bias ? std::optional(unwrap(one->bias).detach().contiguous()) : std::nullopt, outputs});
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
