// Inside CTorch only: sums and maxima over the ranks of a group, for operations that have gradients.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include "include/ctorch_collective.h"

namespace ctorch {

/// A group as a graph keeps it alive.
using GroupPointer = c10::intrusive_ptr<torch::CustomClassHolder>;
GroupPointer shared_group(ctorch_group group);

/// What the tensors of all ranks come to, in a new tensor with the same bits on each. Narrow types are added up in
/// float32.
at::Tensor sum_over(const GroupPointer &group, const at::Tensor &tensor);
at::Tensor maximum_over(const GroupPointer &group, const at::Tensor &tensor);

}  // namespace ctorch
