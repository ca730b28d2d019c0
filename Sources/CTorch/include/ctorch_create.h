// Making tensors, reading them, and changing what their elements are or where they live. Sizes are in elements.
#ifndef CTORCH_CREATE_H
#define CTORCH_CREATE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Copies `count` elements in row-major order; `count` must be the product of the sizes.
ctorch_status ctorch_from_values(
    const void *values, size_t count, ctorch_type type, const ptrdiff_t *sizes, size_t rank, ctorch_device device,
    ctorch_tensor *out);
/// Over memory of somebody else, on the CPU and never written: `release(owner)` is called once, when no tensor reads it
/// any more, or at once where this fails.
ctorch_status ctorch_from_memory(
    const void *values, size_t count, ctorch_type type, const ptrdiff_t *sizes, size_t rank, void *owner,
    void (*release)(void *owner), ctorch_tensor *out);
/// Elements that nobody has written: whatever the memory holds, of which the system gives pages as they are written.
ctorch_status ctorch_empty(
    const ptrdiff_t *sizes, size_t rank, ctorch_type type, ctorch_device device, ctorch_tensor *out);
ctorch_status ctorch_full(
    const ptrdiff_t *sizes, size_t rank, double value, ctorch_type type, ctorch_device device, ctorch_tensor *out);
/// int64: 0, 1, …, count − 1.
ctorch_status ctorch_arange(ptrdiff_t count, ctorch_device device, ctorch_tensor *out);

ptrdiff_t ctorch_rank(ctorch_tensor tensor);
/// `axis` must be in 0 ..< rank.
ptrdiff_t ctorch_size(ctorch_tensor tensor, ptrdiff_t axis);
ptrdiff_t ctorch_count(ctorch_tensor tensor);
ctorch_device ctorch_device_of(ctorch_tensor tensor);
/// The memory that the elements lie in, which tensors may share: an identity of it, and its bytes.
ctorch_status ctorch_storage(ctorch_tensor tensor, const void **identity, ptrdiff_t *bytes);
ctorch_status ctorch_type_of(ctorch_tensor tensor, ctorch_type *out);

/// Copies the elements in row-major order, converted to `type`, into `count` elements of the caller's memory.
ctorch_status ctorch_read(ctorch_tensor tensor, ctorch_type type, void *values, size_t count);
/// The first element in memory, for a contiguous tensor on the CPU; anything else is refused.
ctorch_status ctorch_pointer(ctorch_tensor tensor, void **out);

ctorch_status ctorch_to_type(ctorch_tensor tensor, ctorch_type type, ctorch_tensor *out);
ctorch_status ctorch_to_device(ctorch_tensor tensor, ctorch_device device, ctorch_tensor *out);
ctorch_status ctorch_contiguous(ctorch_tensor tensor, ctorch_tensor *out);
ctorch_status ctorch_clone(ctorch_tensor tensor, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
