internal import Foundation
internal import Models
internal import Records
internal import Runs
internal import Tensors
internal import Tokenization

/// `plumbline init-model`: a fresh model as a Hugging Face folder.
package struct ModelMaking: Sendable {
    private let output: String
    private let family: String
    private let tokenizer: String?
    private let vocabularySize: Int?
    private let hiddenSize: Int
    private let layers: Int
    private let heads: Int
    private let keyValueHeads: Int?
    private let intermediateSize: Int?
    private let contextLength: Int
    private let tiesEmbeddings: Bool
    private let seed: Int
    private let overwrites: Bool

    package init(
        output: String, family: String, tokenizer: String?, vocabularySize: Int?, hiddenSize: Int, layers: Int,
        heads: Int,
        keyValueHeads: Int?, intermediateSize: Int?, contextLength: Int, tiesEmbeddings: Bool, seed: Int,
        overwrites: Bool = false
    ) {
        self.output = output
        self.family = family
        self.tokenizer = tokenizer
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.layers = layers
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.intermediateSize = intermediateSize
        self.contextLength = contextLength
        self.tiesEmbeddings = tiesEmbeddings
        self.seed = seed
        self.overwrites = overwrites
    }

    /// Makes the model and says in one line what it is.
    package func run() async throws -> String {
        guard let family = ModelFamily(rawValue: family) else {
            let known = ModelFamily.allCases.map(\.rawValue).joined(separator: ", ")
            throw JobError(place: "--family", message: "'\(family)' is none of \(known)")
        }
        let reader = try tokenizer.map { path in
            let url = URL(filePath: path)
            return url.lastPathComponent.hasSuffix(".json") ? try Tokenizer(json: url) : try Tokenizer(folder: url)
        }
        guard let rows = vocabularySize ?? reader?.vocabularySize else {
            throw JobError(
                place: "init-model", message: "the vocabulary's size is unknown; give --tokenizer or --vocabulary-size")
        }
        if let reader, rows < reader.vocabularySize {
            throw JobError(
                place: "--vocabulary-size", message: "\(rows) is below the tokenizer's \(reader.vocabularySize) ids")
        }
        let shape = FreshModelShape(
            family: family, vocabularySize: rows, hiddenSize: hiddenSize, layers: layers, heads: heads,
            keyValueHeads: keyValueHeads, intermediateSize: intermediateSize ?? Self.usualIntermediateSize(hiddenSize),
            contextLength: contextLength, tiesEmbeddings: tiesEmbeddings, beginTokenID: reader?.beginningOfTextID,
            endTokenID: reader?.endOfTextID, paddingTokenID: reader?.paddingID)
        let configuration = try ModelConfiguration(fresh: shape)
        let folder = URL(filePath: output)
        try FileOperations.system.createFolder(folder)
        let held = try FolderEntry.list(folder).map(\.url.lastPathComponent)
        if let model = held.first(where: { $0 == "config.json" || $0.hasSuffix(".safetensors") }), !overwrites {
            throw JobError(
                place: output, message: "there is a model already (\(model)); name another folder, or give --overwrite")
        }
        try await write(configuration, to: folder)
        try reader?.save(to: folder)
        let millions = Double(configuration.parameterCount) / 1e6
        return "\(output): \(family.rawValue), \(String(format: "%.2f", millions)) M parameters, \(rows) token ids"
    }

    @TensorActor private func write(_ configuration: ModelConfiguration, to folder: URL) throws {
        try ModelFolder.save(ModelInitializer.model(configuration, seed: UInt64(bitPattern: Int64(seed))), to: folder)
    }

    /// 8/3 of the width, rounded up to a multiple of 32: a gated layer then has as many weights as a plain one of 4 ×.
    private static func usualIntermediateSize(_ hidden: Int) -> Int { (hidden * 8 / 3 + 31) / 32 * 32 }
}
