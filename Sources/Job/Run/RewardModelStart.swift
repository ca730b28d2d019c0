internal import Foundation
internal import Models
internal import PolicyUpdater
internal import Tensors

/// What the training of a reward model starts from: a language model's trunk with heads of zeros, or a reward model with the heads it has.
struct RewardModelStart {
    let trunk: Transformer
    /// w `[heads, hidden]`.
    let head: Tensor

    /// - Throws: ``JobError`` for a reward model with another number of heads.
    @TensorActor
    init(_ folder: URL, heads: [String], _ type: ElementType) throws {
        if try SequenceClassifier.isIn(folder) {
            let classifier = try SequenceClassifier.load(folder, elementType: type)
            guard classifier.labelCount == heads.count else {
                throw JobError(
                    place: "reward_heads",
                    message: "\(heads.count) heads, and \(folder.path) has \(classifier.labelCount) labels")
            }
            (trunk, head) = (classifier.trunk, classifier.head)
            return
        }
        let model = try ModelFolder.load(folder, elementType: type)
        let configuration = try model.configuration.withoutHead
        let names = Set(configuration.parameterShapes.map(\.name))
        trunk = try Transformer(
            configuration: configuration, parameters: model.parametersByName.filter { names.contains($0.key) })
        head = try Tensor.zeros([heads.count, configuration.hiddenSize], type, device: model.device)
    }
}
