package import Foundation
package import Tensors

/// A transformer with a score head: what a published reward model is.
///
///     scores[text, label] = head[label] · hidden[text's last token that is no padding]
///
/// As `…ForSequenceClassification` of transformers computes it; the head has no bias.
package final class SequenceClassifier {
    package let configuration: ClassifierConfiguration
    package let trunk: Transformer
    /// `[labels, hidden]`.
    package let head: Tensor

    /// The head's name in a file.
    static let headName = "score.weight"

    private init(configuration: ClassifierConfiguration, trunk: Transformer, head: Tensor) {
        self.configuration = configuration
        self.trunk = trunk
        self.head = head
    }

    /// Numbers a text gets.
    package var labelCount: Int { head.shape[0] }

    /// Whether a folder's weights have a score head; of an adapter, whether it is a classifier's.
    package static func isIn(_ folder: URL) throws -> Bool {
        if let adapter = try AdapterFolder(folder) { return adapter.isClassifier }
        return try ModelFolder.weights(folder).names.contains(headName)
    }

    /// Reads a folder: `config.json` and `model.safetensors` or its shards, or an adapter and its base. A
    /// language-model head beside the score head is passed over.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` for a folder that holds no sequence classifier,
    ///   ``ModelError/weights(path:problems:)`` listing all tensors that are missing, unknown or of another shape,
    ///   other cases of ``ModelError``, or ``TensorError`` for a damaged file.
    package static func load(
        _ folder: URL, elementType: ElementType = .float32, device: Device = .cpu
    ) throws -> SequenceClassifier {
        let configuration = try ClassifierConfiguration(folder: folder)
        if let adapter = try AdapterFolder(folder) {
            return try load(adapter, configuration, elementType: elementType, device: device)
        }
        let weights = try ModelFolder.weights(folder)
        let path = folder.path(percentEncoded: false)
        try check(weights, configuration, path: path)
        func tensor(_ name: String) throws -> Tensor {
            try weights.tensor(named: name).to(elementType).to(device)
        }
        var parameters: [String: Tensor] = [:]
        for expected in configuration.trunk.parameterShapes { parameters[expected.name] = try tensor(expected.name) }
        return SequenceClassifier(
            configuration: configuration,
            trunk: try Transformer(configuration: configuration.trunk, parameters: parameters),
            head: try tensor(headName))
    }

    /// The base, a language model or a classifier, with the adapters in its matrices and the head that they bring
    /// along.
    private static func load(
        _ adapter: AdapterFolder, _ configuration: ClassifierConfiguration, elementType: ElementType, device: Device
    ) throws -> SequenceClassifier {
        let base =
            try isIn(adapter.base)
            ? load(adapter.base, elementType: elementType, device: device).trunk
            : ModelFolder.load(adapter.base, elementType: elementType, device: device).withoutHead
        let adapted = try base.configuration.adapted(by: adapter.adapters)
        let type: ElementType = elementType == .float64 ? .float64 : .float32
        guard let head = try adapter.head()?.to(elementType).to(device) else {
            throw ModelError.file(
                path: adapter.folder.path(percentEncoded: false), message: "it adapts no sequence classifier")
        }
        let expected = [configuration.labels?.count ?? head.shape[0], adapted.hiddenSize]
        guard head.shape == expected else {
            throw ModelError.weights(
                path: adapter.folder.path(percentEncoded: false),
                problems: [.shape(name: headName, found: head.shape, expected: expected)])
        }
        return SequenceClassifier(
            configuration: configuration,
            trunk: try base.merged(
                with: adapter.tensors(for: adapted, elementType: type, device: device), adapted), head: head)
    }

    /// Writes an adapter and its base, a language model or a classifier, as one whole classifier. No more than one tensor
    /// of the base is in memory.
    ///
    /// - Parameter elementType: What the weights are stored in.
    /// - Throws: As ``load(_:elementType:device:)`` and
    ///   ``ModelFolder/save(_:of:from:to:elementType:generation:)``.
    package static func merge(_ adapter: AdapterFolder, to folder: URL, elementType: ElementType) throws {
        let configuration = try ClassifierConfiguration(folder: adapter.folder)
        let (base, trunk) = try weights(ofBase: adapter.base)
        let merged = try MergedWeights(base, adapter, trunk, in: .float32)
        guard let head = try adapter.head(of: configuration.labels?.count) else {
            throw ModelError.file(
                path: adapter.folder.path(percentEncoded: false), message: "it adapts no sequence classifier")
        }
        try ModelFolder.save(
            merged, trunk, head: head, configuration, from: adapter.folder, to: folder, elementType: elementType)
    }

    /// The checked weights of a base with the configuration of its trunk, which they may hold more than.
    private static func weights(ofBase folder: URL) throws -> (any ModelWeights, ModelConfiguration) {
        guard try isIn(folder) else {
            let configuration = try ModelFolder.readConfiguration(folder)
            return (try ModelFolder.checkedWeights(folder, configuration), try configuration.withoutHead)
        }
        let configuration = try ClassifierConfiguration(folder: folder)
        let weights = try ModelFolder.weights(folder)
        try check(weights, configuration, path: folder.path(percentEncoded: false))
        return (weights, configuration.trunk)
    }

    private static func check(
        _ weights: any ModelWeights, _ configuration: ClassifierConfiguration, path: String
    ) throws(ModelError) {
        var found: [String: [Int]] = [:]
        for name in weights.names where !ParameterName.isDerived(name) { found[name] = weights.shape(of: name) }
        found[ParameterName.head] = nil
        let types = found
        let width = configuration.trunk.hiddenSize
        let shape = found.removeValue(forKey: headName)
        var problems = configuration.trunk.problems(in: found)
        let expected = [configuration.labels?.count ?? shape?.first ?? 1, width]
        if let shape, shape != expected || shape[0] < 1 {
            problems.append(.shape(name: headName, found: shape, expected: expected))
        } else if shape == nil {
            problems.append(.missing(name: headName, shape: expected))
        }
        guard problems.isEmpty else { throw .weights(path: path, problems: problems) }
        try ModelFolder.requireReadable(types.keys.sorted(), of: weights, path: path)
    }

    /// The scores of packed texts, without gradients.
    ///
    /// - Parameters:
    ///   - tokens: In the order of the layout, each in `0 ..< vocabularySize`.
    ///   - indices: The packed index of each text's last token that is no padding.
    /// - Returns: `[text][label]`.
    /// - Throws: ``ModelError/call(_:)`` or ``TensorError`` when tokens, layout and indices disagree.
    package func scores(tokens: [Int], layout: SequenceLayout, at indices: [Int]) throws -> [[Double]] {
        let flat = try Tensor.withoutGradients {
            let hidden = try trunk.hiddenStates(
                tokens: Tensor(tokens, device: head.device), layout: layout, at: indices)
            return try hidden.linear(weight: head).doubles()
        }
        return indices.indices.map { Array(flat[$0 * labelCount..<($0 + 1) * labelCount]) }
    }
}
