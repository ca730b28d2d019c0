#include "include/ctorch_autograd.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>

#include "support.hpp"

using namespace ctorch;
using torch::autograd::variable_list;

namespace {

variable_list seeds(ctorch_tensor seed) { return seed ? variable_list{unwrap(seed)} : variable_list{}; }

/// The caller's function with its context, which is released with the last reference.
struct Segment : torch::CustomClassHolder {
    Segment(ctorch_segment run, void *context, void (*release)(void *))
        : run(run), context(context), release(release) {}
    ~Segment() override { release(context); }

    at::Tensor operator()(const variable_list &inputs) const {
        std::vector<ctorch_tensor> handles(inputs.size());
        wrap_list(inputs, handles.data());
        ctorch_tensor result = nullptr;
        const ctorch_status status = run(context, handles.data(), handles.size(), &result);
        if (status.failed) {
            const std::string message = status.message ? status.message : "the checkpointed part failed";
            ctorch_status_free(status);
            TORCH_CHECK(false, message);
        }
        at::Tensor tensor = unwrap(result);
        ctorch_release(result);
        return tensor;
    }

    ctorch_segment run;
    void *context;
    void (*release)(void *);
};

using SegmentPointer = c10::intrusive_ptr<Segment>;

/// Keeps the inputs of a segment instead of what it computes in between, and computes that again for its gradient.
///
/// `anchor` is an empty leaf: it makes the result part of the graph when only tensors captured by the segment need a
/// gradient. The second run's own backward adds to the leaves that the segment captured, once per outer backward.
struct Checkpoint : torch::autograd::Function<Checkpoint> {
    static at::Tensor forward(
        torch::autograd::AutogradContext *context, const SegmentPointer &segment, const at::Tensor & /*anchor*/,
        at::TensorList inputs) {
        context->save_for_backward(inputs.vec());
        context->saved_data["segment"] = c10::IValue::make_capsule(segment);
        return (*segment)(inputs.vec());
    }

    static variable_list backward(torch::autograd::AutogradContext *context, const variable_list &gradients) {
        TORCH_CHECK(
            torch::autograd::Engine::get_default_engine().is_checkpoint_valid(),
            "a checkpoint gives its gradients to backward() only: chosen gradients would miss the tensors it captured");
        const auto segment =
            c10::static_intrusive_pointer_cast<Segment>(context->saved_data["segment"].toCapsule());
        const variable_list saved = context->get_saved_variables();
        variable_list inputs;
        for (const at::Tensor &tensor : saved) {
            inputs.push_back(tensor.detach().set_requires_grad(tensor.requires_grad()));
        }
        at::AutoGradMode recording(true);
        const at::Tensor result = (*segment)(inputs);
        if (result.requires_grad()) torch::autograd::backward({result}, {gradients[0]});
        variable_list out(2);
        for (const at::Tensor &input : inputs) out.push_back(input.requires_grad() ? input.grad() : at::Tensor());
        return out;
    }
};

}  // namespace

extern "C" {

bool ctorch_requires_gradient(ctorch_tensor tensor) { return unwrap(tensor).requires_grad(); }

ctorch_status ctorch_leaf(ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).detach().set_requires_grad(true)); });
}

ctorch_status ctorch_detach(ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).detach()); });
}

ctorch_status ctorch_gradient(ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &source = unwrap(tensor);
        // Only a leaf collects one; asking another tensor makes libtorch print a warning.
        const bool has = source.is_leaf() && source.grad().defined();
        *out = has ? wrap(source.grad()) : nullptr;
    });
}

ctorch_status ctorch_set_gradient(ctorch_tensor tensor, ctorch_tensor gradient) {
    return guarded([&] {
        at::Tensor &target = unwrap(tensor);
        TORCH_CHECK(target.is_leaf(), "only a leaf holds a gradient");
        if (!gradient) {
            target.mutable_grad() = at::Tensor();
            return;
        }
        const at::Tensor &source = unwrap(gradient);
        TORCH_CHECK(
            source.sizes() == target.sizes() && source.scalar_type() == target.scalar_type() &&
                source.device() == target.device(),
            "the gradient is ", source.toString(), " ", source.sizes(), ", the tensor ", target.toString(), " ",
            target.sizes());
        target.mutable_grad() = source.detach();
    });
}

bool ctorch_gradient_mode(void) { return at::GradMode::is_enabled(); }
void ctorch_set_gradient_mode(bool records) { at::GradMode::set_enabled(records); }

ctorch_status ctorch_backward(ctorch_tensor tensor, ctorch_tensor seed, bool keeps_graph) {
    return guarded([&] { torch::autograd::backward({unwrap(tensor)}, seeds(seed), keeps_graph); });
}

ctorch_status ctorch_gradients(
    ctorch_tensor tensor, ctorch_tensor seed, const ctorch_tensor *inputs, size_t count, bool keeps_graph,
    ctorch_tensor *out) {
    return guarded([&] {
        wrap_list(torch::autograd::grad({unwrap(tensor)}, unwrap_list(inputs, count), seeds(seed), keeps_graph), out);
    });
}

ctorch_status ctorch_checkpoint(
    ctorch_segment run, void *context, void (*release)(void *context), const ctorch_tensor *inputs, size_t count,
    ctorch_tensor *out) {
    return guarded([&] {
        const auto segment = c10::make_intrusive<Segment>(run, context, release);
        const at::Tensor anchor = at::empty({0}).set_requires_grad(true);
        const variable_list list = unwrap_list(inputs, count);
        // Only as a TensorList are the tensors of a list seen as inputs.
        *out = wrap(Checkpoint::apply(segment, anchor, at::TensorList(list)));
    });
}

}  // extern "C"
