package import Tensors

// What a model costs, for plans and benchmarks: numbers of parameters and bytes that follow from its configuration.
extension ModelConfiguration {
    /// Numbers to learn; a tied head counts once.
    package var parameterCount: Int { parameterShapes.reduce(0) { $0 + $1.count } }

    package func parameterBytes(_ type: ElementType) -> Int { parameterCount * type.byteCount }

    /// Numbers of the adapters' tensors; 0 without adapters.
    package var adapterCount: Int { adapterShapes.reduce(0) { $0 + $1.count } }

    /// Numbers of the matrices that adapters add to.
    package var adaptedMatrixCount: Int {
        let names = Set(adaptedProjections.map { $0 + ".weight" })
        return parameterShapes.reduce(0) { $0 + (names.contains($1.name) ? $1.count : 0) }
    }

    /// Keys and values of one token in a ``KeyValueCache``.
    package func keyValueBytesPerToken(_ type: ElementType) -> Int { 2 * layers * keyValueWidth * type.byteCount }

    /// What a training pass keeps of each packed token until its backward: in each layer the inputs of both norms, of
    /// the projections and of attention, attention's two parts (over the prompt and over the completion) and their
    /// joint result, and gate and up of the feed-forward part. One layer's worth more is for its gradients.
    ///
    /// With checkpoints a layer keeps its input alone, and one layer at a time is computed anew. With adapters on a
    /// frozen model the inputs of the projections that have none are not kept, and those of the others also in the
    /// adapters' type; where something of them is dropped, each projection keeps its own.
    ///
    /// - Parameters:
    ///   - base: What the matrices under adapters are kept as.
    ///   - ranks: How many share the layers: each has its part of the heads and of the feed-forward part.
    package func activationBytesPerToken(
        _ type: ElementType, checkpointsBlocks: Bool, base: WeightStorage = .whole, ranks: Int = 1
    ) -> Int {
        let heads = (normalizesQueriesAndKeys ? 5 : 4) * queryWidth + (normalizesQueriesAndKeys ? 3 : 2) * keyValueWidth
        let shared = (heads + 2 * intermediateSize + ranks - 1) / ranks
        let layer = (4 * hiddenSize + shared) * type.byteCount + adapterActivationBytes(type, base, ranks)
        let kept =
            checkpointsBlocks ? layers * hiddenSize * type.byteCount + 2 * layer : (layers + 1) * layer
        return kept + 2 * hiddenSize * type.byteCount
    }

    /// What a pass keeps less of a token whose state nobody asks for, at least: in the last layer it gives keys and values
    /// alone.
    ///
    /// - Parameter ranks: As of ``activationBytesPerToken(_:checkpointsBlocks:base:ranks:)``.
    package func unwantedBytesPerToken(_ type: ElementType, ranks: Int = 1) -> Int {
        (hiddenSize + (2 * intermediateSize + ranks - 1) / ranks) * type.byteCount
    }

    /// What adapters change of the bytes a layer keeps of each token.
    private func adapterActivationBytes(_ type: ElementType, _ base: WeightStorage, _ ranks: Int) -> Int {
        guard let adapters else { return 0 }
        func isAdapted(_ parts: String...) -> Bool {
            parts.contains { part in adaptedProjections.contains { $0.hasSuffix(part) } }
        }
        let inputs = [
            (isAdapted("q_proj", "k_proj", "v_proj"), hiddenSize), (isAdapted("gate_proj", "up_proj"), hiddenSize),
        ]
        // The activation is made again for a gradient where one operation has matrix and adapter.
        let activation = isAdapted("down_proj") ? (intermediateSize + ranks - 1) / ranks : 0
        let drops = adapters.dropout > 0
        let unkept = inputs.reduce(0) { $0 + ($1.0 && !drops ? 0 : $1.1) } * type.byteCount
        let apart = type.byteCount < 4 || base != .whole ? activation * max(4, type.byteCount) : 0
        let widened = type.byteCount < 4 ? inputs.reduce(0) { $0 + ($1.0 ? $1.1 : 0) } * 4 : 0
        let downs = drops ? adapterShapes.filter { $0.shape[0] == adapters.rank } : []
        let widths = downs.map { $0.largestPart(of: ranks).shape[1] }
        let narrowed = adaptedProjections.count * adapters.rank / layers * max(4, type.byteCount)
        return (drops ? 0 : widened + apart) + narrowed + widths.reduce(0, +) / layers * max(4, type.byteCount) - unkept
    }
}
