package import Models
internal import Planning
package import Tensors

extension TensorTransfer {
    /// How ranks that have every layer of a model in so many parts come to have it in another number of parts: the steps
    /// of the transfer plan from the one layout to the other, as a plan's file and `plumbline reshard` have it, layer
    /// after layer. What every rank has and needs whole is not moved, nor what is not trained: of a model with adapters its
    /// own parameters, while what is cut of an adapter goes with the rows or columns of its matrix.
    ///
    /// - Parameters:
    ///   - trained: The names of the parameters that are trained, of a model without adapters; all for `nil`.
    ///   - source: Ranks that share each layer, as it lies there; 1 for whole ones.
    ///   - target: The same, as it is needed.
    /// - Throws: ``JobError`` where the plan's shape of the model and the model's parameters are cut otherwise.
    package init(
        of model: ModelConfiguration, training trained: Set<String>? = nil, from source: Int, to target: Int
    ) throws {
        let plan = TransferPlan(ModelShape(model), from: source, to: target)
        let shapes =
            model.adapters == nil
            ? model.parameterShapes.filter { trained?.contains($0.name) ?? true } : model.adapterShapes
        let cut = Set(shapes.filter { $0.sharedAxis != nil }.map(\.name))
        let updates = Dictionary(uniqueKeysWithValues: model.lowRankUpdates.map { ($0.weight, $0) })
        /// What moves where the model itself would move a rectangle.
        func moving(_ region: Region) -> Region? {
            guard let adapters = model.adapters else { return (trained?.contains(region.name) ?? true) ? region : nil }
            guard let update = updates[region.name] else { return nil }
            return cut.contains(update.up)
                ? Region(name: update.up, rows: region.rows, columns: 0..<adapters.rank)
                : Region(name: update.down, rows: 0..<adapters.rank, columns: region.columns)
        }
        var moved: Set<String> = []
        var rounds: [[Step]] = []
        for layer in 0..<plan.source.shape.layerCount {
            let tensors = plan.source.shape.tensors(ofLayer: layer)
            let steps = plan.steps.compactMap { step -> Step? in
                let piece = plan.pieces[step.piece]
                guard piece.sourceShard != nil || piece.targetShard != nil, piece.layers.contains(layer) else {
                    return nil
                }
                let regions = plan.regions(of: piece, inLayer: layer).compactMap { region in
                    moving(
                        Region(
                            name: tensors[region.tensor].name, rows: region.block.rows, columns: region.block.columns))
                }
                moved.formUnion(regions.map(\.name))
                return regions.isEmpty
                    ? nil : Step(sender: step.sender, receivers: step.receivers, regions: regions)
            }
            if !steps.isEmpty { rounds.append(steps) }
        }
        self.init(rounds: rounds)
        guard moved == cut else {
            let name = moved.symmetricDifference(cut).sorted()[0]
            throw JobError(
                place: TensorParallelism.trainingKey, message: "\(name) is cut otherwise in a plan of the model")
        }
    }
}

extension ParameterReallocation {
    /// Between two layouts of a run's ranks.
    ///
    /// - Parameters:
    ///   - trained: The names of the parameters that are trained, of a model without adapters.
    ///   - source: The ranks that share each layer with this one as it lies there; `nil` for whole ones.
    ///   - target: The same, as it is needed.
    ///   - all: Those between which parts move: the fewest that both divide.
    /// - Throws: ``JobError`` where the plan's shape of the model and the model's parameters are cut otherwise.
    init(
        of model: ModelConfiguration, training trained: Set<String>, from source: ProcessGroup?,
        to target: ProcessGroup?, over all: ProcessGroup
    ) throws {
        func shards(_ group: ProcessGroup?) -> ParameterShards? { group.map { model.shards(over: $0.sharingTensors) } }
        self.init(
            from: shards(source), to: shards(target), over: all.sharingTensors,
            try TensorTransfer(of: model, training: trained, from: source?.size ?? 1, to: target?.size ?? 1))
    }
}

extension TransferPlan {
    /// Ranks between which parts of each layer move from one number of them to another, the fewest that both divide: a
    /// run has so many, or a multiple of them that do the same.
    static func ranks(from source: Int, to target: Int) -> Int {
        (1...target).first { ($0 * source).isMultiple(of: target) }! * source
    }

    /// From so many shards of every layer to so many others, on the same ranks.
    fileprivate init(_ shape: ModelShape, from source: Int, to target: Int) {
        let ranks = Array(0..<Self.ranks(from: source, to: target))
        func sharded(_ degree: Int) -> ShardedModel {
            let strategy = Strategy(1, degree, ranks.count / degree)
            guard let model = ShardedModel(shape, strategy, ranks: ranks) else {
                preconditionFailure("a model of one stage is on as many ranks as it is for")
            }
            return model
        }
        self.init(from: sharded(source), to: sharded(target), devicesPerNode: ranks.count)
    }
}
