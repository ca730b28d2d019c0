#include "include/ctorch_create.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <memory>

#include "support.hpp"

using namespace ctorch;

namespace {

at::TensorOptions options(ctorch_type type, ctorch_device where) {
    return at::TensorOptions().dtype(scalar_type(type)).device(device(where));
}

}  // namespace

extern "C" {

ctorch_status ctorch_from_values(
    const void *values, size_t count, ctorch_type type, const ptrdiff_t *shape, size_t rank, ctorch_device where,
    ctorch_tensor *out) {
    return guarded([&] {
        at::Tensor tensor = at::empty(sizes(shape, rank), at::TensorOptions().dtype(scalar_type(type)));
        TORCH_CHECK(
            static_cast<size_t>(tensor.numel()) == count, count, " values do not fill the shape ", tensor.sizes());
        if (count > 0) std::memcpy(tensor.mutable_data_ptr(), values, count * tensor.element_size());
        *out = wrap(where.cuda_index < 0 ? std::move(tensor) : tensor.to(device(where)));
    });
}

ctorch_status ctorch_from_memory(
    const void *values, size_t count, ctorch_type type, const ptrdiff_t *shape, size_t rank, void *owner,
    void (*release)(void *owner), ctorch_tensor *out) {
    return guarded([&] {
        const std::shared_ptr<void> kept(owner, release);
        const at::IntArrayRef extents = sizes(shape, rank);
        int64_t numel = 1;
        for (const int64_t extent : extents) numel *= extent;
        TORCH_CHECK(static_cast<size_t>(numel) == count, count, " values do not fill the shape ", extents);
        *out = wrap(at::from_blob(
            const_cast<void *>(values), extents, [kept](void *) {}, at::TensorOptions().dtype(scalar_type(type))));
    });
}

ctorch_status ctorch_empty(
    const ptrdiff_t *shape, size_t rank, ctorch_type type, ctorch_device where, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::empty(sizes(shape, rank), options(type, where))); });
}

ctorch_status ctorch_full(
    const ptrdiff_t *shape, size_t rank, double value, ctorch_type type, ctorch_device where, ctorch_tensor *out) {
    return guarded([&] {
        *out = wrap(
            value == 0 ? at::zeros(sizes(shape, rank), options(type, where))
                       : at::full(sizes(shape, rank), value, options(type, where)));
    });
}

ctorch_status ctorch_arange(ptrdiff_t count, ctorch_device where, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::arange(static_cast<int64_t>(count), options(CTORCH_INT64, where))); });
}

ptrdiff_t ctorch_rank(ctorch_tensor tensor) { return unwrap(tensor).dim(); }
ptrdiff_t ctorch_size(ctorch_tensor tensor, ptrdiff_t axis) { return unwrap(tensor).sizes()[axis]; }
ptrdiff_t ctorch_count(ctorch_tensor tensor) { return unwrap(tensor).numel(); }

ctorch_device ctorch_device_of(ctorch_tensor tensor) {
    const at::Device where = unwrap(tensor).device();
    return ctorch_device{where.is_cpu() ? -1 : static_cast<int32_t>(where.index())};
}

ctorch_status ctorch_storage(ctorch_tensor tensor, const void **identity, ptrdiff_t *bytes) {
    return guarded([&] {
        const at::Storage &storage = unwrap(tensor).storage();
        *identity = storage.unsafeGetStorageImpl();
        *bytes = static_cast<ptrdiff_t>(storage.nbytes());
    });
}

ctorch_status ctorch_type_of(ctorch_tensor tensor, ctorch_type *out) {
    return guarded([&] { *out = type_code(unwrap(tensor).scalar_type()); });
}

ctorch_status ctorch_read(ctorch_tensor tensor, ctorch_type type, void *values, size_t count) {
    return guarded([&] {
        at::Tensor source = unwrap(tensor).detach();
        TORCH_CHECK(static_cast<size_t>(source.numel()) == count, source.numel(), " elements, asked for ", count);
        source = source.to(at::kCPU).to(scalar_type(type)).contiguous();
        if (count > 0) std::memcpy(values, source.const_data_ptr(), count * source.element_size());
    });
}

ctorch_status ctorch_pointer(ctorch_tensor tensor, void **out) {
    return guarded([&] {
        const at::Tensor &source = unwrap(tensor);
        TORCH_CHECK(source.is_cpu(), "the elements are on ", source.device(), ", not in this process's memory");
        TORCH_CHECK(source.is_contiguous(), "the elements are not in row-major order");
        *out = const_cast<void *>(source.const_data_ptr());
    });
}

ctorch_status ctorch_to_type(ctorch_tensor tensor, ctorch_type type, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).to(scalar_type(type))); });
}

ctorch_status ctorch_to_device(ctorch_tensor tensor, ctorch_device where, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).to(device(where))); });
}

ctorch_status ctorch_contiguous(ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).contiguous()); });
}

ctorch_status ctorch_clone(ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).clone(at::MemoryFormat::Contiguous)); });
}

}  // extern "C"
