import Foundation
import GGUF
import JSON
import Models
import Runs
import Tensors
import TestSupport
import Testing

/// Small GGUF files with what transformers reads of them: Tests/References/gguf_files.py.
private struct GGUFReference {
    let file: URL
    let config: [String: JSONValue]
    let tokens: [Int]
    let logProbabilities: [Double]

    static let root = PublishedModel.root.deletingLastPathComponent().appending(path: "gguf")

    init(_ name: String) throws {
        file = Self.root.appending(path: "\(name).gguf")
        let text = try String(contentsOf: Self.root.appending(path: "expected.json"), encoding: .utf8)
        let entry = try JSONValue(parsing: text)[name]
        config = entry?["config"]?.dictionary ?? [:]
        tokens = (entry?["tokens"]?.elements ?? []).compactMap(\.int)
        logProbabilities = (entry?["log_probs"]?.elements ?? []).compactMap(\.double)
    }
}

@TensorActor @Suite("Models in GGUF files")
struct GGUFModelTests {
    /// transformers 5.24 reads these two families by its older code, which gives the same configuration and log-probs.
    @Test(arguments: ["llama", "qwen2"])
    func readAsTransformersReadsIt(_ name: String) throws {
        let reference = try GGUFReference(name)
        let configuration = try ModelFolder.readConfiguration(reference.file)
        for (key, value) in reference.config where value != .null {
            guard key != "rms_norm_eps" else {
                #expect(abs(configuration.rmsNormEpsilon - (value.double ?? 0)) < 1e-12)
                continue
            }
            #expect(configuration.members[key] == value, "\(key)")
        }
        let model = try ModelFolder.load(reference.file)
        let difference = largestDifference(
            try model.logProbabilities(reference.tokens), reference.logProbabilities)
        print("\(name).gguf, read here and by transformers: largest |Δ log-prob| \(difference)")
        #expect(difference < 1e-4)
        #expect(try ModelFolder.readGenerationConfiguration(reference.file) == nil)
        #expect(try ModelFolder.endTokenIDs(reference.file) == Set(configuration.endTokenIDs))
    }

    private func write(
        _ folder: URL, as type: GGUFTensorType, to file: URL
    ) throws -> [String] {
        let saving = try GGUFSaving(
            ModelFolder.readConfiguration(folder), name: "tiny", type: type, tokenizer: [], path: folder.path)
        try saving.write(ModelFolder.weights(folder), to: file)
        let size = try FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int
        #expect(size == saving.byteCount)
        return saving.notices
    }

    /// Every published shape that llama.cpp has comes back with the same bits and the same mathematics.
    @Test(arguments: [
        "llama2", "llama3", "llama_biases", "llama_head_dim", "llama_tied", "llama_multi_query", "llama_sharded",
        "llama_linear", "llama_yarn", "qwen2", "qwen2_tied_bfloat16", "mistral", "mistral_sliding", "qwen3",
    ])
    func writtenAndReadBack(_ name: String) throws {
        let folder = try TestSupport.TemporaryFolder()
        let file = folder.url.appending(path: "\(name).gguf")
        let published = try PublishedModel(name)
        let notices: [String]
        do {
            notices = try write(published.folder, as: .f32, to: file)
        } catch ModelError.configuration(_, let problems) {
            print("\(name) cannot be written: \(problems)")
            #expect(problems.allSatisfy { $0.setting == "rope_scaling" })
            return
        }
        #expect(notices.isEmpty == (name != "mistral_sliding"))
        let original = try ModelFolder.load(published.folder)
        let again = try ModelFolder.load(file)
        #expect(again.parametersByName.keys == original.parametersByName.keys)
        for (parameter, tensor) in original.parametersByName {
            let found = try #require(again.parametersByName[parameter])
            #expect(try found.floats() == tensor.floats(), "\(parameter)")
        }
        for text in published.texts {
            let difference = largestDifference(try again.logProbabilities(text.tokens), text.logProbabilities)
            #expect(difference < 1e-4, "\(name) \(difference)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["\(name).gguf"])
    }

    @Test(
        "transformers loads a written file and gives the same log-probs",
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with transformers and gguf"),
        arguments: ["llama2", "llama_head_dim", "llama_tied", "qwen2"])  // of qwen3 it takes every head for 128 wide
    func readByTransformers(_ name: String) throws {
        let folder = try TestSupport.TemporaryFolder()
        let file = folder.url.appending(path: "\(name).gguf")
        let published = try PublishedModel(name)
        _ = try write(published.folder, as: .f32, to: file)
        let python = Process()
        python.executableURL = URL(filePath: ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? "")
        let script = PublishedModel.root.deletingLastPathComponent().appending(path: "score_saved_model.py")
        let tokens = published.texts[0].tokens
        python.arguments = [script.path, folder.url.path, "\(tokens)", "\(name).gguf"]
        let output = Pipe()
        python.standardOutput = output
        try python.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        python.waitUntilExit()
        #expect(python.terminationStatus == 0)
        let scores = try JSONDecoder().decode([Double].self, from: printed)
        let difference = largestDifference(scores, published.texts[0].logProbabilities)
        print("\(name).gguf, written here and read by transformers: largest |Δ log-prob| \(difference)")
        #expect(difference <= 1e-4)
    }

    /// Relative error of a matrix. That of rounding to levels is a level over √12: with 127 or 8 of them up to the
    /// largest of 32 values, which is near 2.2 standard deviations, 0.005 and 0.08.
    @Test(arguments: [(GGUFTensorType.f16, 5e-4), (.bf16, 4e-3), (.q80, 7e-3), (.q40, 0.11)])
    func typesHoldWhatTheyCan(_ type: GGUFTensorType, _ bound: Double) throws {
        let folder = try TestSupport.TemporaryFolder()
        let file = folder.url.appending(path: "x.gguf")
        let published = try PublishedModel("llama2")
        _ = try write(published.folder, as: type, to: file)
        let stored = Dictionary(uniqueKeysWithValues: try GGUFFile(url: file).tensors.map { ($0.name, $0.type) })
        #expect(stored["blk.0.attn_q.weight"] == type && stored["output_norm.weight"] == .f32)
        #expect(stored["token_embd.weight"] == (type == .q40 ? .q80 : type))
        // 48 columns are no whole block of 32.
        #expect(stored["blk.0.ffn_down.weight"] == (type.isQuantized ? .f16 : type))
        let original = try ModelFolder.load(published.folder).parametersByName
        for (name, tensor) in try ModelFolder.load(file).parametersByName {
            let (found, exact) = (try tensor.doubles(), try #require(original[name]).doubles())
            #expect(relativeDistance(found, exact) < bound, "\(name)")
        }
    }

    @Test func whatLlamaCppCannotComputeIsRefused() throws {
        for (name, setting) in [
            ("llama_dynamic", "rope_scaling"), ("qwen3_biases_float16", "attention_bias"),
            ("qwen2_sliding", "use_sliding_window"),
        ] {
            let folder = try PublishedModel(name).folder
            let error = #expect(throws: ModelError.self) {
                try GGUFSaving(
                    ModelFolder.readConfiguration(folder), name: "x", type: .f16, tokenizer: [], path: folder.path)
            }
            #expect("\(error ?? .call(""))".contains("\(setting) is "), "\(String(describing: error))")
        }
    }

    /// Metadata and tensors of a small Llama, to be changed.
    private func file(
        _ changes: [String: GGUFValue?] = [:], tensors changed: [String: [Int]?] = [:]
    ) throws -> (TestSupport.TemporaryFolder, URL) {
        var values: [String: GGUFValue] = [
            "general.architecture": .string("llama"), "llama.block_count": .integer(1),
            "llama.context_length": .integer(64), "llama.embedding_length": .integer(8),
            "llama.feed_forward_length": .integer(12), "llama.attention.head_count": .integer(2),
            "llama.attention.layer_norm_rms_epsilon": .float(1e-5),
        ]
        for (key, value) in changes { values[key] = value }
        var shapes: [String: [Int]] = [
            "token_embd.weight": [10, 8], "output_norm.weight": [8], "blk.0.attn_norm.weight": [8],
            "blk.0.ffn_norm.weight": [8], "blk.0.attn_q.weight": [8, 8], "blk.0.attn_k.weight": [8, 8],
            "blk.0.attn_v.weight": [8, 8], "blk.0.attn_output.weight": [8, 8], "blk.0.ffn_gate.weight": [12, 8],
            "blk.0.ffn_up.weight": [12, 8], "blk.0.ffn_down.weight": [8, 12],
        ]
        for (name, shape) in changed { shapes[name] = shape }
        let tensors = shapes.sorted { $0.key < $1.key }.map {
            GGUFLayout.Announcement(name: $0.key, shape: $0.value, type: .f32)
        }
        let layout = GGUFLayout(metadata: values.map { ($0, $1) }, tensors: tensors)
        let folder = try TestSupport.TemporaryFolder(inMemory: true)
        let bytes = layout.header + [UInt8](repeating: 0, count: layout.byteCount - layout.header.count)
        return (folder, try folder.file("small.gguf", bytes))
    }

    @Test func whatTheMetadataLeaveOutIsAsLlamaCppTakesIt() throws {
        let (folder, url) = try file()
        let configuration = try withExtendedLifetime(folder) { try ModelFolder.load(url).configuration }
        #expect(configuration.family == .llama && configuration.keyValueHeads == 2 && configuration.headSize == 4)
        #expect(configuration.ropeTheta == 10_000 && configuration.tiesEmbeddings && configuration.vocabularySize == 10)
        #expect(configuration.rmsNormEpsilon == 1e-5 && configuration.endTokenIDs.isEmpty)
    }

    /// `llama_model::load_hparams`: the factor is that of either key, the type linear unless it is stated.
    @Test func aRotaryFactorWithoutATypeIsLinear() throws {
        func scaling(_ changes: [String: GGUFValue?]) throws -> RotaryScaling {
            let (folder, url) = try file(changes)
            return try withExtendedLifetime(folder) { try ModelFolder.load(url).configuration.ropeScaling }
        }
        #expect(try scaling(["llama.rope.scaling.factor": .float(4)]) == .linear(factor: 4))
        #expect(try scaling(["llama.rope.scale_linear": .float(4)]) == .linear(factor: 4))
        let both: [String: GGUFValue?] = ["llama.rope.scaling.factor": .float(2), "llama.rope.scale_linear": .float(4)]
        #expect(try scaling(both) == .linear(factor: 2))
        #expect(
            try scaling(["llama.rope.scale_linear": .float(4), "llama.rope.scaling.type": .string("linear")])
                == .linear(factor: 4))
        for factor in [0, 1] as [Float] {
            #expect(try scaling(["llama.rope.scaling.factor": .float(factor)]) == .none)
            #expect(try scaling(["llama.rope.scale_linear": .float(factor)]) == .none)
        }
        #expect(
            try scaling(["llama.rope.scaling.factor": .float(4), "llama.rope.scaling.type": .string("none")]) == .none)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let says: String
        var changes: [String: GGUFValue?] = [:]
        var tensors: [String: [Int]?] = [:]
        var testDescription: String { says }
    }

    nonisolated static let bad: [Bad] = [
        Bad(
            says: "general.architecture is \"phi3\"; expected one of llama, qwen2, qwen3, the families that are built",
            changes: ["general.architecture": .string("phi3")]),
        Bad(says: "general.architecture is missing", changes: ["general.architecture": nil]),
        Bad(
            says: "llama.expert_count is 8; expected nothing, mixtures of experts are not built",
            changes: ["llama.expert_count": .integer(8)]),
        Bad(says: "llama.embedding_length (hidden_size) is 0", changes: ["llama.embedding_length": .integer(0)]),
        Bad(says: "llama.block_count (num_hidden_layers) is missing", changes: ["llama.block_count": nil]),
        Bad(
            says: "llama.attention.layer_norm_rms_epsilon is missing",
            changes: ["llama.attention.layer_norm_rms_epsilon": nil]),
        Bad(
            says:
                "llama.attention.head_count_kv is an array of 2 whole numbers; expected one whole number for all layers",
            changes: ["llama.attention.head_count_kv": .integers([1, 2])]),
        Bad(
            says: "llama.rope.dimension_count is 2; expected 4, the width of a head",
            changes: ["llama.rope.dimension_count": .integer(2)]),
        Bad(
            says: "llama.rope.scaling.type (rope_scaling.rope_type) is \"longrope\"",
            changes: ["llama.rope.scaling.type": .string("longrope")]),
        Bad(says: "rope_freqs.weight holds factors that are not those of Llama 3", tensors: ["rope_freqs.weight": [2]]),
        Bad(
            says: "blk.0.ffn_gate_inp.weight of shape [4, 8] has no place",
            tensors: ["blk.0.ffn_gate_inp.weight": [4, 8]]),
        Bad(
            says: "model.layers.0.self_attn.q_proj.weight has shape [6, 8]; expected [8, 8]",
            tensors: ["blk.0.attn_q.weight": [6, 8]]),
        Bad(says: "model.norm.weight is missing", tensors: ["output_norm.weight": nil]),
    ]

    @Test(arguments: bad)
    func badFilesAreNamed(_ bad: Bad) throws {
        let (folder, url) = try file(bad.changes, tensors: bad.tensors)
        let error = #expect(throws: ModelError.self) { try ModelFolder.load(url) }
        #expect("\(error ?? .call(""))".contains(bad.says), "\(String(describing: error))")
        #expect("\(error ?? .call(""))".contains("small.gguf"))
        withExtendedLifetime(folder) {}
    }

    @Test func aFileStandsForAFolder() throws {
        let (folder, url) = try file()
        #expect(try HuggingFaceCache.folder(of: url.path).path == url.path)
        let lost = folder.url.appending(path: "lost.gguf").path
        #expect(throws: ModelError.file(path: lost, message: "no such file")) { try HuggingFaceCache.folder(of: lost) }
        // Nobody, not even root, reads address 0 of a process.
        let unreadable = ModelError.file(path: "/proc/self/mem", message: "cannot be read: Input/output error")
        #expect(throws: unreadable) { try HuggingFaceCache.folder(of: "/proc/self/mem") }
        let hint = #expect(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect("\(hint ?? .call(""))".contains("to use small.gguf, name that file"))
        let classifier = #expect(throws: ModelError.self) { try ClassifierConfiguration(folder: url) }
        #expect("\(classifier ?? .call(""))".contains("is a GGUF file, which holds a language model"))
        #expect(try ModelFolder.summary(ofGGUF: url)?.contains("11 tensors (11 F32)") == true)
        #expect(try ModelFolder.summary(ofGGUF: folder.url) == nil)
    }

    @Test func aDownloadedFileIsFoundByItsName() throws {
        let cache = try TestSupport.TemporaryFolder()
        let revision = String(repeating: "a", count: 40)
        let snapshot = cache.url.appending(path: "models--org--small-GGUF/snapshots/\(revision)")
        let references = cache.url.appending(path: "models--org--small-GGUF/refs")
        for folder in [snapshot, references] {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        }
        try Data(revision.utf8).write(to: references.appending(path: "main"))
        func find() throws -> URL {
            try HuggingFaceCache.folder(of: "org/small-GGUF", environment: ["HF_HUB_CACHE": cache.url.path])
        }
        #expect(throws: ModelError.self) { try find() }
        try Data("GGUF".utf8).write(to: snapshot.appending(path: "small.Q8_0.gguf"))
        #expect(try find().lastPathComponent == "small.Q8_0.gguf")
        try Data("GGUF".utf8).write(to: snapshot.appending(path: "small.Q4_0.gguf"))
        let error = #expect(throws: ModelError.self) { try find() }
        #expect("\(error ?? .call(""))".contains("has several GGUF files (small.Q4_0.gguf, small.Q8_0.gguf)"))
    }

    /// Every mutation of a whole file either is refused or gives a model that computes.
    @Test func mutatedModelsNeverCrash() throws {
        let (folder, url) = try file()
        let original = [UInt8](try Data(contentsOf: url))
        var generator = TestRandom(seed: 17)
        var (refused, accepted) = (0, 0)
        let header = original.count - 3000
        for round in 0..<mutationCount {
            let bytes =
                round % 2 == 0
                ? generator.mutated(original) : generator.mutated(Array(original[..<header])) + original[header...]
            let mutated = try folder.file("mutated.gguf", bytes)
            do {
                _ = try ModelFolder.load(mutated)
                accepted += 1
            } catch { refused += 1 }
        }
        #expect(refused > 1000 && accepted > 10, "\(refused) refused, \(accepted) accepted")
    }
}
