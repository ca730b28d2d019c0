package import Models
internal import Planning
package import Tensors

extension TensorTransfer {
    /// How ranks that have a model in parts come to have it whole, each of them: the steps of the transfer plan from the
    /// one layout to the other, as a plan's file and `plumbline reshard` have it, layer after layer. What every rank has
    /// is not moved.
    ///
    /// - Parameter degree: Of the ranks, which share every layer.
    /// - Throws: ``JobError`` where the plan's shape of the model and the model's parameters are cut otherwise.
    package init(gathering model: ModelConfiguration, from degree: Int) throws {
        let plan = TransferPlan(gathering: ModelShape(model), from: degree)
        self.init(
            rounds: (0..<plan.source.shape.layerCount).map { layer -> [Step] in
                let tensors = plan.source.shape.tensors(ofLayer: layer)
                return plan.steps.compactMap { step -> Step? in
                    let piece = plan.pieces[step.piece]
                    guard piece.sourceShard != nil, piece.layers.contains(layer) else { return nil }
                    let regions = plan.regions(of: piece, inLayer: layer).map { region in
                        Region(
                            name: tensors[region.tensor].name, rows: region.block.rows, columns: region.block.columns)
                    }
                    return regions.isEmpty
                        ? nil : Step(sender: step.sender, receivers: step.receivers, regions: regions)
                }
            }.filter { !$0.isEmpty })
        let moved = Set(rounds.joined().flatMap(\.regions).map(\.name))
        let cut = Set(model.parameterShapes.filter { $0.sharedAxis != nil }.map(\.name))
        guard moved == cut else {
            let name = moved.symmetricDifference(cut).sorted()[0]
            throw JobError(place: "tensor_parallel_size", message: "\(name) is cut otherwise in a plan of the model")
        }
    }
}

extension TransferPlan {
    /// From shards of every layer to whole ones on each of the same ranks.
    fileprivate init(gathering shape: ModelShape, from degree: Int) {
        let ranks = Array(0..<degree)
        guard let source = ShardedModel(shape, Strategy(1, degree, 1), ranks: ranks),
            let target = ShardedModel(shape, Strategy(1, 1, degree), ranks: ranks)
        else { preconditionFailure("a model of one stage is on as many ranks as it is for") }
        self.init(from: source, to: target, devicesPerNode: degree)
    }
}
