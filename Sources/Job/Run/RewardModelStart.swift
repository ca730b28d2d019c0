internal import Foundation
internal import Models
internal import PolicyUpdater
internal import Tensors

/// What the training of a reward model starts from: a language model's trunk with heads of zeros, or a reward model
/// with the heads it has.
struct RewardModelStart {
    let trunk: Transformer
    /// w `[heads, hidden]`.
    let head: Tensor

    /// - Parameters:
    ///   - type: Of the trunk.
    ///   - headType: Of the heads.
    ///   - storage: Of the blocks' matrices.
    /// - Throws: ``JobError`` for a reward model with another number of heads, or one whose matrices are not to be whole.
    @TensorActor
    init(
        _ folder: URL, heads: [String], _ type: ElementType, headType: ElementType, device: Device,
        storage: WeightStorage = .whole
    ) throws {
        if try SequenceClassifier.isIn(folder) {
            guard storage == .whole else { throw JobError.notInEightBits(folder) }
            let classifier = try SequenceClassifier.load(folder, elementType: type, device: device)
            guard classifier.labelCount == heads.count else {
                throw JobError(
                    place: "reward_heads",
                    message: "\(heads.count) heads, and \(folder.path) has \(classifier.labelCount) labels")
            }
            (trunk, head) = (classifier.trunk, try classifier.head.to(headType))
            return
        }
        trunk = try ModelFolder.load(folder, elementType: type, device: device, storage: storage).withoutHead
        head = try Tensor.zeros([heads.count, trunk.configuration.hiddenSize], headType, device: trunk.device)
    }
}

extension JobError {
    static func notInEightBits(_ classifier: URL) -> JobError {
        JobError(
            place: "load_in_8bit",
            message: "\(classifier.path) is a reward model, which is not read in eight bits; expected a language model")
    }
}
