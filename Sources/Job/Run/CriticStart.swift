internal import Foundation
internal import Models
internal import Runs
internal import Tensors

/// Where a critic of its own weights is found.
struct CriticSource {
    /// Of the weights: the named folder or, under adapters, that of its base.
    let folder: URL
    /// What is named, where that is an adapter and adapters are trained.
    let adapter: AdapterFolder?
    /// Whether adapters are trained on what the policy's adapters are trained on: one base in memory serves both.
    let sharesBase: Bool

    /// - Parameter name: A folder, or a name in the Hugging Face cache; `nil` for the policy's own.
    init(_ name: String?, of policy: ModelSource) throws {
        let named = try name.map { try HuggingFaceCache.folder(of: $0) } ?? policy.folder
        adapter = policy.isAdapted ? try AdapterFolder(named) : nil
        folder = adapter?.base ?? named
        sharesBase = policy.isAdapted && folder.resolvedPath == policy.baseFolder.resolvedPath
    }

    /// What the critic is, with the adapters that are trained; read without any weights.
    func configuration(of policy: ModelSource) throws -> ModelConfiguration {
        let classifier = try? ClassifierConfiguration(folder: folder)
        return try policy.trained.adapted(
            classifier?.trunk ?? ModelFolder.readConfiguration(folder), adapter)
    }
}

/// What a critic of its own weights starts from: the policy's model, another, or a reward model with its head. It trains
/// beside the head what the policy trains: the parameters that `trainable` names, or adapters, those it names or fresh
/// ones.
struct CriticStart {
    let trunk: Transformer
    /// Which of the trunk's own parameters are trained, by name.
    let trainedNames: Set<String>
    /// w `[heads, hidden]`.
    let head: Tensor

    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache; `nil` for the policy's own.
    ///   - heads: Values of each state. A reward model's head values one sum: of several streams each begins at 0.
    ///   - base: The policy's parameters that nobody writes.
    ///   - seed: Addresses the draws of fresh adapters.
    /// - Throws: ``JobError`` for a model that reads other token ids, a classifier of several labels, one whose
    ///   matrices are not to be whole, or one in which `trainable` finds nothing.
    @TensorActor
    init(
        _ name: String?, of policy: ModelSource, heads: Int, _ type: JobElementType, base: [String: Tensor],
        seed: UInt64
    ) throws {
        let key = "critic_model_name_or_path"
        let source = try CriticSource(name, of: policy)
        // A base that nobody writes needs no masters.
        let own = policy.isAdapted ? type.elementType : type.masterType
        let whole: Transformer
        var found = try source.adapter?.head()
        if source.sharesBase {
            whole = try Transformer(configuration: policy.configuration.withoutAdapters, parameters: base)
        } else if try SequenceClassifier.isIn(source.folder) {
            guard policy.base == .whole else { throw JobError.notInEightBits(source.folder) }
            let classifier = try SequenceClassifier.load(source.folder, elementType: own, device: policy.device)
            (whole, found) = (classifier.trunk, found ?? classifier.head)
        } else {
            whole = try ModelFolder.load(
                source.folder, elementType: own, device: policy.device, storage: policy.base)
        }
        if let labels = found?.shape[0], labels != 1 {
            throw JobError(place: key, message: "it has \(labels) labels; a critic starts from a reward model with one")
        }
        let rows = whole.configuration.vocabularySize
        guard rows == policy.configuration.vocabularySize else {
            throw JobError(
                place: key,
                message:
                    "its embedding has \(rows) rows, the policy's \(policy.configuration.vocabularySize); a critic "
                    + "reads the policy's token ids")
        }
        head =
            try (heads == 1 ? found : nil)?.to(type.masterType).to(policy.device)
            ?? Tensor.zeros([heads, whole.configuration.hiddenSize], type.masterType, device: policy.device)
        guard policy.isAdapted || !policy.trained.names(in: whole.configuration).isEmpty else {
            throw JobError(
                place: key,
                message: "trainable finds none of its parameters; a critic trains what is trained of the policy's model"
            )
        }
        let configuration = try policy.trained.adapted(whole.configuration, source.adapter)
        trainedNames = Set(policy.trained.names(in: configuration))
        guard policy.isAdapted else {
            trunk = whole
            return
        }
        let adapters =
            try source.adapter.map {
                try $0.tensors(for: configuration, elementType: type.masterType, device: policy.device)
            } ?? configuration.freshAdapters(seed: seed, elementType: type.masterType, device: policy.device)
        trunk = try Transformer(
            configuration: configuration, parameters: whole.parametersByName.merging(adapters) { $1 })
    }
}
