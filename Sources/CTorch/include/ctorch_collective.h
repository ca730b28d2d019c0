// Several processes as one: c10d's key-value store to meet at, and its Gloo process group over it.
#ifndef CTORCH_COLLECTIVE_H
#define CTORCH_COLLECTIVE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A process group: an owning reference, given back with ctorch_group_close.
typedef struct ctorch_group_ *ctorch_group;

/// Meets the other ranks at `host`:`port`, where rank 0 serves the store unless `store_is_served` says that another
/// does. `name` keeps the keys of one run apart from those of another at the same store. Every later call fails after
/// `timeout_ms` without the others, or at once when one of their connections is closed.
ctorch_status ctorch_group_open(const char *host, uint16_t port, ptrdiff_t rank, ptrdiff_t size, bool store_is_served,
                                const char *name, ptrdiff_t timeout_ms, ctorch_group *out);
void ctorch_group_close(ctorch_group group);

/// The sum over all ranks, in place and with the same bits on each. On the CPU; every rank calls with the same shapes
/// and types in the same order.
ctorch_status ctorch_group_sum(ctorch_group group, const ctorch_tensor *tensors, size_t count);

/// The elements that the rank `roots[i]` has of tensor i, in place. As ctorch_group_sum.
ctorch_status ctorch_group_broadcast(ctorch_group group, const ctorch_tensor *tensors, const ptrdiff_t *roots,
                                     size_t count);

/// `input` of every rank, in the order of ranks, in a new tensor with one more dimension in front. The same shape and
/// type on every rank.
ctorch_status ctorch_group_gather(ctorch_group group, ctorch_tensor input, ctorch_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
