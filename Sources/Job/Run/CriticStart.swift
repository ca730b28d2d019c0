internal import Models
internal import Tensors

/// What a critic of its own weights starts from: the policy's model, another, or a reward model with its head.
struct CriticStart {
    let trunk: Transformer
    /// w `[1, hidden]`; `nil` for zeros.
    let head: Tensor?

    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache; `nil` for the policy's own.
    ///   - type: Of the weights.
    /// - Throws: ``JobError`` for a model that reads other token ids, or a classifier of several labels.
    @TensorActor
    init(_ name: String?, of policy: ModelSource, _ type: ElementType) throws {
        let key = "critic_model_name_or_path"
        let folder = try name.map { try HuggingFaceCache.folder(of: $0) } ?? policy.folder
        if try SequenceClassifier.isIn(folder) {
            let classifier = try SequenceClassifier.load(folder, elementType: type, device: policy.device)
            guard classifier.labelCount == 1 else {
                throw JobError(
                    place: key,
                    message: "it has \(classifier.labelCount) labels; a critic starts from a reward model with one")
            }
            (trunk, head) = (classifier.trunk, classifier.head)
        } else {
            (trunk, head) = (try ModelFolder.load(folder, elementType: type, device: policy.device), nil)
        }
        let rows = trunk.configuration.vocabularySize
        guard rows == policy.configuration.vocabularySize else {
            throw JobError(
                place: key,
                message:
                    "its embedding has \(rows) rows, the policy's \(policy.configuration.vocabularySize); a critic "
                    + "reads the policy's token ids")
        }
    }
}
