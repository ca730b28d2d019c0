extension MemoryModel {
    /// What a call holds in a run of this build; `nil` for more stages than layers. Where it is otherwise than ReaL's:
    ///
    /// - Beside int8 weights it computes in float32, packs the head in float32 and reads everything else where it is
    ///   trained.
    /// - Pieces are sampled one after the other, so that keys and values of one are there at a time.
    /// - Each rank has all masters, and all of a model of which it trains less, as adapters.
    /// - Of moments that are offloaded a step has one parameter's.
    package mutating func demandOfRun(_ call: CallSpec, _ assignment: Assignment) -> MemoryDemand? {
        let (work, strategy, layout) = (call.work, assignment.strategy, assignment.layout)
        guard let part = size(strategy.pipeline, strategy.tensor), let whole = size(strategy.pipeline, 1) else {
            return nil
        }
        var computed = assignment
        if layout == .int8 { computed.layout = .fp32Packed }
        var demand = demand(call, computed, part)
        if layout == .int8 {
            demand.weights = part.packed + 4 * part.packedRows + 4 * shape.scoredWords * shape.hiddenSize
        }
        switch call.kind {
        case .generate:
            let (_, piece) = Self.sequences(of: call, assignment)
            demand.cache = keyValueBytes(ofToken: part, computed) * work.tokens(of: piece)
        case .train:
            if layout != .fp32Master { demand.weights += demand.gradients }
            if call.leavesSomeUntrained(of: shape) {
                demand.weights += Self.weightBytes(whole, layout) - Self.weightBytes(part, layout)
            }
            demand.optimizer = Self.share(part.bytes(work.stateShare(of: shape)), strategy.data)
            if assignment.after.contains(.offloadOptimizer) {
                demand.activations = max(demand.activations, largestState(work, strategy.tensor))
            }
        case .infer, .host: break
        }
        return demand
    }

    /// Bytes that an optimizer keeps of the largest tensor that it may step, on one of so many ranks that share it.
    private func largestState(_ work: CallSpec.Work, _ degree: Int) -> Int {
        let trained = work.optimizer?.parameters ?? shape.parameterCount
        guard trained > 0 else { return 0 }
        let each = work.stateShare(of: shape) / work.trainedShare(of: shape)
        let largest = [0, 1].flatMap { shape.tensors(ofLayer: $0) }.map(\.count).max() ?? 0
        return Int(each * Double(Self.share(min(largest, trained), degree)))
    }
}
