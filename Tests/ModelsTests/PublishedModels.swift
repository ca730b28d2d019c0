import Foundation
import JSON
import Models
import Records
import Runs
import Tensors

/// Tiny models with what transformers computes from them, made by `Tests/References/model_logprobs.py`.
struct PublishedModel: Sendable, CustomStringConvertible {
    let name: String
    let parameterCount: Int
    /// Token ids, and the log-prob of each but the first.
    let texts: [(tokens: [Int], logProbabilities: [Double])]
    /// What greedy decoding makes of a prompt.
    let greedy: (prompt: [Int], completion: [Int])?

    var description: String { name }
    var folder: URL { Self.root.appending(path: name) }

    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "References/models")
    static let names = [
        "llama2", "llama3", "llama_biases", "llama_head_dim", "llama_tied", "llama_multi_query", "llama_sharded",
        "llama_linear", "llama_dynamic", "llama_yarn", "llama_yarn_mscale", "qwen2", "qwen2_tied_bfloat16",
        "qwen2_sliding", "mistral", "mistral_sliding", "qwen3", "qwen3_biases_float16",
    ]

    init(_ name: String) throws {
        let text = try String(contentsOf: Self.root.appending(path: "log_probs.json"), encoding: .utf8)
        let all = try JSONValue(parsing: text)
        guard let entry = all[name], let texts = entry["texts"]?.elements, let count = entry["parameters"]?.int
        else { throw Missing(name: name) }
        self.name = name
        parameterCount = count
        self.texts = texts.map { text in
            (integers(text["tokens"]), (text["log_probs"]?.elements ?? []).compactMap(\.double))
        }
        greedy = entry["greedy"].map { (integers($0["prompt"]), integers($0["completion"])) }
    }

    struct Missing: Error { let name: String }
}

private func integers(_ value: JSONValue?) -> [Int] { (value?.elements ?? []).compactMap(\.int) }

extension Transformer {
    /// The log-prob of every token but the first of a text that stands alone.
    @TensorActor func logProbabilities(_ tokens: [Int]) throws -> [Double] {
        try Tensor.withoutGradients {
            let hidden = try hiddenStates(
                tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]))
            let before = try hidden.narrow(axis: 0, start: 0, count: tokens.count - 1)
            return try Tensor.tokenScores(
                hidden: before, head: head, targets: Tensor(Array(tokens.dropFirst())), temperature: 1
            ).logProbabilities.doubles()
        }
    }

    /// The same weights in another element type, as leaves that collect gradients.
    @TensorActor func leaves(_ type: ElementType) throws -> Transformer {
        var leaves: [String: Tensor] = [:]
        for (name, tensor) in parameters { leaves[name] = try tensor.to(type).clone().requiringGradient() }
        return try Transformer(configuration: configuration, parameters: leaves)
    }
}

/// A folder that goes when the test ends.
final class TemporaryFolder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "models-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    /// A copy of a published model's folder.
    convenience init(copying model: String) throws {
        try self.init()
        try FileManager.default.removeItem(at: url)
        try FileManager.default.copyItem(at: PublishedModel.root.appending(path: model), to: url)
    }

    deinit {
        do { try FileManager.default.removeItem(at: url) } catch { print("left behind: \(url.path) (\(error))") }
    }

    /// The files by name.
    func contents() throws -> [String: Data] {
        let names = try FileManager.default.contentsOfDirectory(atPath: url.path)
        return Dictionary(
            uniqueKeysWithValues: try names.map { ($0, try Data(contentsOf: url.appending(path: $0))) })
    }
}
