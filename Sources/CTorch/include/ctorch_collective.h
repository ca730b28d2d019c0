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
/// does, and is met at the address that it reaches another host from, or at the interface that GLOO_SOCKET_IFNAME names.
/// `name` keeps the keys of one run apart from those of another at the same store. Every later call fails after
/// `timeout_ms` without the others, or at once when one of their connections is closed.
ctorch_status ctorch_group_open(const char *host, uint16_t port, ptrdiff_t rank, ptrdiff_t size, bool store_is_served,
                                const char *name, ptrdiff_t timeout_ms, ctorch_group *out);
void ctorch_group_close(ctorch_group group);

/// A group of `size` ranks within this process, into `out`: each is to be used by a thread of its own.
ctorch_status ctorch_group_open_within(size_t size, ptrdiff_t timeout_ms, ctorch_group *out);

/// The sum over all ranks, in place and with the same bits on each. On the CPU; every rank calls with the same shapes
/// and types in the same order.
ctorch_status ctorch_group_sum(ctorch_group group, const ctorch_tensor *tensors, size_t count);

/// The elements that the rank `roots[i]` has of tensor i, in place. As ctorch_group_sum.
ctorch_status ctorch_group_broadcast(ctorch_group group, const ctorch_tensor *tensors, const ptrdiff_t *roots,
                                     size_t count);

/// `input` of every rank, in the order of ranks, in a new tensor with one more dimension in front. The same shape and
/// type on every rank.
ctorch_status ctorch_group_gather(ctorch_group group, ctorch_tensor input, ctorch_tensor *out);

/// Messages between ranks: rank senders[i] sends the elements of its tensor i to rank receivers[i], or to all others
/// where that is negative, which have them in their tensor i when this returns. A rank leaves out the messages that are
/// neither from it nor for it. Those between two ranks have tags[i] that differ; those to all are in the same order on
/// every rank. On the CPU, contiguous, of the same sizes at both ends.
ctorch_status ctorch_group_carry(ctorch_group group, const ctorch_tensor *tensors, const ptrdiff_t *senders,
                                 const ptrdiff_t *receivers, const ptrdiff_t *tags, size_t count);

/// `input` itself, which every rank has; its gradient is the sum of those that the ranks find.
ctorch_status ctorch_group_copied(ctorch_group group, ctorch_tensor input, ctorch_tensor *out);

/// The sum of every rank's `input`; the gradient, which every rank finds, goes to each as it is.
ctorch_status ctorch_group_summed(ctorch_group group, ctorch_tensor input, ctorch_tensor *out);

/// Rows of a matrix of `count` rows, of which `part` [n, D] are those from `first` on and other ranks have the others:
/// index [N] int64 -> [N, D], with the gradient to `part`.
ctorch_status ctorch_group_rows(ctorch_group group, ctorch_tensor part, ptrdiff_t first, ptrdiff_t count,
                                ctorch_tensor index, ctorch_tensor *out);

/// ctorch_token_scores with a head of `count` rows, of which `part` [n, D] are those from `first` on and other ranks
/// have the others; hidden and targets are the same on every rank, and so are the results and the gradient of hidden.
ctorch_status ctorch_group_token_scores(
    ctorch_group group, ctorch_tensor hidden, ctorch_tensor part, ptrdiff_t first, ptrdiff_t count,
    ctorch_tensor targets, double temperature, ptrdiff_t chunk_elements, ptrdiff_t kept_elements,
    ctorch_tensor *log_probabilities, ctorch_tensor *entropies);

#ifdef __cplusplus
}
#endif
#endif
