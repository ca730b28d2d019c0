package import Foundation
internal import Runs
package import Tensors

extension ModelFolder {
    /// Writes adapters in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// Each file is written under another name, flushed, and renamed. The bytes depend on the adapters and the base's
    /// name alone.
    ///
    /// - Parameters:
    ///   - configuration: Adapted.
    ///   - parameters: By name, those of ``ModelConfiguration/adapterShapes`` and, of a classifier, its head; others
    ///     are passed over.
    ///   - baseName: Where the base is found again: a name in the Hugging Face cache, or a folder.
    ///   - folder: Made when missing.
    ///   - elementType: What they are stored in.
    ///   - labels: Of a sequence classifier, whose `config.json` is then written too; `nil` for a language model.
    /// - Throws: ``ModelError`` when a tensor is missing or of another shape, `RunError` or ``TensorError`` when the
    ///   disk refuses.
    package static func saveAdapters(
        configuration: ModelConfiguration, parameters: [String: Tensor], baseName: String, to folder: URL,
        elementType: ElementType = .float32, labels: [String]? = nil
    ) throws {
        guard let adapters = configuration.adapters else { preconditionFailure("the configuration has adapters") }
        var shapes = configuration.adapterShapes
        if let labels {
            shapes.append(
                ParameterShape(
                    name: SequenceClassifier.headName, shape: [labels.count, configuration.hiddenSize], role: .weight))
        }
        let names = Set(shapes.map(\.name))
        let problems = ModelConfiguration.problems(
            in: parameters.filter { names.contains($0.key) }.mapValues(\.shape), expecting: shapes)
        guard problems.isEmpty else {
            throw ModelError.weights(path: folder.path(percentEncoded: false), problems: problems)
        }
        try FileOperations.system.createFolder(folder)
        try write(
            AdapterConfigurationFile.text(
                adapters, projections: configuration.adaptedProjections, baseName: baseName,
                isClassifier: labels != nil), AdapterFolder.configurationFile, in: folder)
        if let labels {
            try write(ClassifierConfiguration.json(of: configuration, labels: labels), configurationFile, in: folder)
        }
        try write(
            AdapterFolder.weightsFile, shapes.sorted { $0.name < $1.name }, elementType, in: folder,
            prefix: AdapterFolder.prefix
        ) { parameters.required($0) }
    }
}
