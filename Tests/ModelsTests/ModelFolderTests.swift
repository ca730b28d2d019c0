import Foundation
import Models
import Records
import Tensors
import TestSupport
import Testing

/// Other work of the tensor thread.
@TensorActor private final class OtherWork {
    private(set) var turns = 0
    private var isOver = false

    func run() async {
        while !isOver {
            turns += 1
            await Task.yield()
        }
    }

    func end() { isOver = true }
}

@TensorActor @Suite("Model folders")
struct ModelFolderTests {
    @Test(
        "load, save, load, save: the second save has the bytes of the first",
        arguments: ["llama3", "qwen2_tied_bfloat16", "qwen3"])
    func roundTrip(_ name: String) throws {
        let published = try PublishedModel(name)
        let (first, second) = (try TemporaryFolder(), try TemporaryFolder())
        for type in [ElementType.float32, .bfloat16] {
            let generation = try ModelFolder.readGenerationConfiguration(published.folder)
            try ModelFolder.save(
                ModelFolder.load(published.folder), to: first.url, elementType: type, generation: generation)
            try ModelFolder.save(
                ModelFolder.load(first.url), to: second.url, elementType: type,
                generation: ModelFolder.readGenerationConfiguration(first.url))
            #expect(try first.contents() == second.contents())
            #expect(
                try first.contents().keys.sorted() == ["config.json", "generation_config.json", "model.safetensors"])
        }
    }

    @Test("a saved model has the weights and the configuration that were read, and states what it is stored in")
    func savedValues() throws {
        let published = try PublishedModel("qwen2_tied_bfloat16")
        let model = try ModelFolder.load(published.folder)
        #expect(model.elementType == .float32)
        let folder = try TemporaryFolder()
        try ModelFolder.save(model, to: folder.url)
        let again = try ModelFolder.load(folder.url)
        for (one, other) in zip(model.parameters, again.parameters) {
            #expect(try one.tensor.floats() == other.tensor.floats(), "\(one.name)")
        }
        #expect(model.configuration.members["dtype"] == .string("bfloat16"))
        #expect(again.configuration.members["dtype"] == .string("float32"))
        let changed = Set(
            again.configuration.members.keys.filter {
                again.configuration.members[$0] != model.configuration.members[$0]
            })
        #expect(changed == ["dtype"])
    }

    @Test("a save in turns writes the same bytes, and other work of the thread goes on meanwhile")
    func turns() async throws {
        let model = try ModelFolder.load(PublishedModel("qwen3").folder)
        let (plain, inTurns) = (try TemporaryFolder(), try TemporaryFolder())
        try ModelFolder.save(model, to: plain.url)
        let other = OtherWork()
        let task = Task { await other.run() }
        while other.turns == 0 { await Task.yield() }
        let before = other.turns
        try await ModelFolder.saveInTurns(
            configuration: model.configuration,
            parameters: Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0.tensor) }),
            to: inTurns.url)
        #expect(other.turns > before)
        other.end()
        await task.value
        #expect(try plain.contents() == inTurns.contents())
    }

    @Test("above a size the weights are several files; a save of either kind leaves none of the other's behind")
    func shards() throws {
        let published = try PublishedModel("llama_sharded")
        let model = try ModelFolder.load(published.folder)
        let folder = try TemporaryFolder()
        try ModelFolder.save(model, to: folder.url, shardBytes: 40_000)
        let names = try folder.contents().keys.sorted()
        #expect(names.contains("model-00001-of-00004.safetensors") && names.contains("model.safetensors.index.json"))
        #expect(!names.contains("model.safetensors"))
        let text = published.texts[0]
        let scored = try ModelFolder.load(folder.url).logProbabilities(text.tokens)
        #expect(largestDifference(scored, text.logProbabilities) <= 1e-4)
        try ModelFolder.save(model, to: folder.url)
        #expect(try folder.contents().keys.sorted() == ["config.json", "generation_config.json", "model.safetensors"])
        #expect(try ModelFolder.load(folder.url).logProbabilities(text.tokens) == scored)
        try ModelFolder.save(model, to: folder.url, shardBytes: 40_000)
        #expect(try folder.contents().keys.sorted() == names)
        #expect(try ModelFolder.load(folder.url).logProbabilities(text.tokens) == scored)
    }

    /// Writes the weights of a model with a head beside them.
    private func write(_ model: Transformer, head: Tensor, to folder: TemporaryFolder) throws {
        let announced = TensorFileWriter.Announcement(name: "lm_head.weight", type: .float32, shape: head.shape)
        let rest = model.parameters.map {
            TensorFileWriter.Announcement(name: $0.name, type: .float32, shape: $0.tensor.shape)
        }
        let writer = try TensorFileWriter(
            url: folder.url.appending(path: "model.safetensors"), announcing: rest + [announced])
        for (name, tensor) in model.parameters { try writer.write(tensor, named: name) }
        try writer.write(head, named: "lm_head.weight")
        try writer.finish()
    }

    /// transformers does not tie them then: the model's texts have other probabilities than those of its embedding.
    @Test("a head that differs from the embedding it is tied to is refused, also where the files are mapped")
    func otherHeadBesideTiedEmbedding() throws {
        let model = try ModelFolder.load(PublishedModel("llama_tied").folder)
        let folder = try TemporaryFolder(copying: "llama_tied")
        var values = try model.head.floats()
        values[values.count - 1] += 1
        try write(model, head: Tensor(values, shape: model.head.shape), to: folder)
        for read in [
            { _ = try ModelFolder.load(folder.url) },
            { _ = try ModelFolder.mappable(folder.url, elementType: .float32) },
        ] as [() throws -> Void] {
            let error = try #require(throws: ModelError.self) { try read() }
            #expect(error.description.contains("tie_word_embeddings"), "\(error)")
            #expect(error.description.contains("lm_head.weight that is not model.embed_tokens.weight"), "\(error)")
        }
        let configuration = folder.url.appending(path: "config.json")
        let untied = try ModelFolder.readConfiguration(folder.url).with(["tie_word_embeddings": .bool(false)])
        try Data(untied.json.utf8).write(to: configuration)
        #expect(try ModelFolder.load(folder.url).head.floats() == values)
    }

    @Test("a head stored beside a tied embedding is passed over")
    func headBesideTiedEmbedding() throws {
        let published = try PublishedModel("llama_tied")
        let model = try ModelFolder.load(published.folder)
        let folder = try TemporaryFolder(copying: "llama_tied")
        try write(model, head: model.head, to: folder)
        let text = published.texts[0]
        let scored = try ModelFolder.load(folder.url).logProbabilities(text.tokens)
        #expect(largestDifference(scored, text.logProbabilities) <= 1e-4)
    }

    @Test("a classifier whose labels have one name is saved with it for both")
    func labelsOfOneName() throws {
        let model = try ModelFolder.load(PublishedModel("llama_tied").folder)
        let configuration = model.configuration
        var parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0.tensor) })
        parameters["score.weight"] = try Tensor(
            [Float](repeating: 0, count: 2 * configuration.hiddenSize), shape: [2, configuration.hiddenSize])
        let folder = try TemporaryFolder()
        try ModelFolder.save(
            configuration: configuration, parameters: parameters, to: folder.url, labels: ["same", "same"])
        #expect(try ClassifierConfiguration(folder: folder.url).labels == ["same", "same"])
        #expect(try text(of: folder.url.appending(path: "config.json")).contains(#""same": 1"#))
    }

    @Test("weights that do not fit the configuration are listed with names and shapes")
    func misfit() throws {
        let folder = try TemporaryFolder(copying: "llama2")
        let changed = try ModelFolder.readConfiguration(folder.url).with([
            "tie_word_embeddings": .bool(false), "num_hidden_layers": .number(3), "intermediate_size": .number(64),
        ])
        try Data(changed.json.utf8).write(to: folder.url.appending(path: "config.json"))
        let error = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        guard case .weights(_, let problems) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(problems.contains(.missing(name: "model.layers.2.mlp.down_proj.weight", shape: [32, 64])))
        #expect(
            problems.contains(
                .shape(name: "model.layers.1.mlp.gate_proj.weight", found: [48, 32], expected: [64, 32])))
        #expect(problems.count == 9 + 6)
        #expect(error.description.contains("model.layers.1.mlp.gate_proj.weight has shape [48, 32]; expected [64, 32]"))
    }

    @Test("a folder without weights, without configuration, or with a pickle says so")
    func incomplete() throws {
        let folder = try TemporaryFolder(copying: "llama2")
        let weights = folder.url.appending(path: "model.safetensors")
        try FileManager.default.moveItem(at: weights, to: folder.url.appending(path: "pytorch_model.bin"))
        let pickle = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect(pickle.description.contains("pytorch_model.bin is a pickle, which is never read"))
        try FileManager.default.removeItem(at: folder.url.appending(path: "config.json"))
        let nothing = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect(nothing.description.contains("config.json: no such file; a model's folder has"))
    }

    @Test("weights of integers are refused by name")
    func integerWeights() throws {
        let model = try ModelFolder.load(PublishedModel("llama2").folder)
        let folder = try TemporaryFolder(copying: "llama2")
        let announced = model.parameters.map {
            TensorFileWriter.Announcement(
                name: $0.name, type: $0.name == "model.norm.weight" ? .int32 : .float32, shape: $0.tensor.shape)
        }
        let writer = try TensorFileWriter(url: folder.url.appending(path: "model.safetensors"), announcing: announced)
        for (name, tensor) in model.parameters { try writer.write(tensor, named: name) }
        try writer.finish()
        let error = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect(error.description.contains("model.norm.weight holds I32; expected F32, BF16, F16, F64 ("))
    }

    @Test("ids that end a completion come from generation_config.json first")
    func endTokens() throws {
        let folder = try TemporaryFolder(copying: "llama2")
        #expect(try ModelFolder.endTokenIDs(folder.url) == [2])
        let file = folder.url.appending(path: "generation_config.json")
        try Data(#"{"eos_token_id": [7, 9], "temperature": 1.0}"#.utf8).write(to: file)
        #expect(try ModelFolder.endTokenIDs(folder.url) == [7, 9])
        #expect(try ModelFolder.readGenerationConfiguration(folder.url)?.json.contains("\"temperature\": 1.0") == true)
        try Data(#"{"eos_token_id": "end"}"#.utf8).write(to: file)
        #expect(throws: ModelError.self) { try ModelFolder.endTokenIDs(folder.url) }
        // No completion would end with one that the model cannot sample: beside others it is passed over.
        try Data(#"{"eos_token_id": [7, 96]}"#.utf8).write(to: file)
        #expect(try ModelFolder.endTokenIDs(folder.url) == [7])
        try Data(#"{"eos_token_id": 96}"#.utf8).write(to: file)
        let error = try #require(throws: ModelError.self) { try ModelFolder.endTokenIDs(folder.url) }
        let message = "generation_config.json: eos_token_id is 96; expected ids below 96, the vocabulary's size"
        #expect(error.description.hasSuffix(message), "\(error)")
        try FileManager.default.removeItem(at: file)
        #expect(try ModelFolder.endTokenIDs(folder.url) == [2])
    }

    @Test(
        "transformers loads a saved model and gives the same log-probs",
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with transformers"),
        arguments: [
            "llama3", "llama_biases", "llama_yarn_mscale", "qwen2_tied_bfloat16", "mistral_sliding", "qwen3", "fresh",
        ])
    func readByTransformers(_ name: String) throws {
        let folder = try TemporaryFolder()
        let tokens = (0..<30).map(PackedTransformerTests.token)
        let model =
            name == "fresh"
            ? try ModelInitializer.model(
                ModelConfiguration(
                    fresh: .init(
                        family: .qwen2, vocabularySize: 96, hiddenSize: 32, layers: 2, heads: 4, keyValueHeads: 2,
                        intermediateSize: 48, endTokenID: 2)), seed: 5)
            : try ModelFolder.load(PublishedModel(name).folder)
        try ModelFolder.save(model, to: folder.url, shardBytes: name == "qwen3" ? 40_000 : ModelFolder.usualShardBytes)
        let script = PublishedModel.root.deletingLastPathComponent().appending(path: "score_saved_model.py")
        let python = Process()
        python.executableURL = URL(filePath: ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? "")
        python.arguments = [script.path, folder.url.path, "\(tokens)"]
        let output = Pipe()
        python.standardOutput = output
        try python.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        python.waitUntilExit()
        #expect(python.terminationStatus == 0)
        let expected = try JSONDecoder().decode([Double].self, from: printed)
        let difference = largestDifference(try model.logProbabilities(tokens), expected)
        print("\(name), saved and read by transformers: largest |Δ log-prob| \(difference)")
        #expect(difference <= 1e-4)
    }
}

@Suite("Models by name")
struct HuggingFaceCacheTests {
    @Test("a folder wins, else the snapshot of refs/main, else the command that downloads it")
    func lookUp() throws {
        let home = try TemporaryFolder()
        let environment = ["HF_HOME": home.url.path, "HOME": "/nowhere"]
        let entry = home.url.appending(path: "hub/models--some-org--tiny.model")
        let snapshot = entry.appending(path: "snapshots/0123abc")
        func find(_ name: String) throws -> URL { try HuggingFaceCache.folder(of: name, environment: environment) }

        let missing = try #require(throws: ModelError.self) { try find("some-org/tiny.model") }
        #expect(missing.description.contains("hf download some-org/tiny.model"))
        #expect(missing.description.contains("hub/models--some-org--tiny.model"))

        try FileManager.default.createDirectory(at: snapshot, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(
            at: entry.appending(path: "refs"), withIntermediateDirectories: true)
        try Data("0123abc\n".utf8).write(to: entry.appending(path: "refs/main"))
        #expect(throws: ModelError.self) { try find("some-org/tiny.model") }  // the snapshot is empty
        try Data("{}".utf8).write(to: snapshot.appending(path: "config.json"))
        #expect(try find("some-org/tiny.model").path == snapshot.path)
        #expect(
            try HuggingFaceCache.folder(
                of: "some-org/tiny.model", environment: ["HF_HUB_CACHE": home.url.path + "/hub"]
            ).path == snapshot.path)
        #expect(try find(home.url.path).path == home.url.path)

        try Data("../../../../etc".utf8).write(to: entry.appending(path: "refs/main"))
        #expect(throws: ModelError.self) { try find("some-org/tiny.model") }
        for name in ["../etc", "a/b/c", "/no/such/folder", "", "a//b", "-x/y"] {
            let error = try #require(throws: ModelError.self) { try find(name) }
            #expect(!error.description.contains("hf download"), "\(name)")
        }
    }
}

@TensorActor @Suite("Fresh models")
struct ModelInitializerTests {
    static func shape(ties: Bool = true, family: ModelFamily = .qwen2) -> FreshModelShape {
        FreshModelShape(
            family: family, vocabularySize: 200, hiddenSize: 64, layers: 2, heads: 4, keyValueHeads: 2,
            intermediateSize: 96, tiesEmbeddings: ties, endTokenID: 1)
    }

    @Test("same seed, same numbers; another seed, others; a tensor does not depend on those made after it")
    func addressed() throws {
        let tied = try ModelInitializer.model(ModelConfiguration(fresh: Self.shape()), seed: 1)
        let again = try ModelInitializer.model(ModelConfiguration(fresh: Self.shape()), seed: 1)
        let untied = try ModelInitializer.model(ModelConfiguration(fresh: Self.shape(ties: false)), seed: 1)
        let other = try ModelInitializer.model(ModelConfiguration(fresh: Self.shape()), seed: 2)
        #expect(untied.parameters.count == tied.parameters.count + 1)
        for (name, tensor) in tied.parameters {
            let values = try tensor.floats()
            #expect(try again.parametersByName[name]?.floats() == values)
            #expect(try untied.parametersByName[name]?.floats() == values)
            if name.hasSuffix("proj.weight") { #expect(try other.parametersByName[name]?.floats() != values) }
        }
    }

    @Test("weights are normal with deviation 0.02, no two tensors alike; norms are 1, biases 0")
    func distribution() throws {
        let model = try ModelInitializer.model(ModelConfiguration(fresh: Self.shape()), seed: 3)
        var firsts: Set<Float> = []
        for (name, tensor) in model.parameters {
            let values = try tensor.doubles()
            if name.hasSuffix("norm.weight") {
                #expect(values.allSatisfy { $0 == 1 })
            } else if name.hasSuffix("bias") {
                #expect(values.allSatisfy { $0 == 0 })
            } else {
                let count = Double(values.count)
                let mean = values.reduce(0, +) / count
                let deviation = (values.reduce(0) { $0 + $1 * $1 } / count).squareRoot()
                // Five standard errors of mean and deviation.
                #expect(abs(mean) < 5 * 0.02 / count.squareRoot(), "\(name)")
                #expect(abs(deviation - 0.02) < 5 * 0.02 / (2 * count).squareRoot(), "\(name)")
                #expect(firsts.insert(Float(values[0])).inserted, "\(name)")
            }
        }
    }

    @Test("sizes that do not fit are an error", arguments: ModelFamily.allCases)
    func badShape(_ family: ModelFamily) throws {
        var shape = Self.shape(family: family)
        #expect(try ModelConfiguration(fresh: shape).family == family)
        shape.heads = 5
        let error = try #require(throws: ModelError.self) { try ModelConfiguration(fresh: shape) }
        #expect(error.description.contains("num_attention_heads, which is 5"))
    }
}

@Suite("Model cost")
struct ModelCostTests {
    /// Qwen2.5-0.5B's shape. 494,032,768 parameters is what its model card's file holds.
    @Test("counts of a known shape")
    func knownShape() throws {
        let configuration = try ModelConfiguration(
            fresh: .init(
                family: .qwen2, vocabularySize: 151_936, hiddenSize: 896, layers: 24, heads: 14, keyValueHeads: 2,
                intermediateSize: 4864, contextLength: 32768, ropeTheta: 1_000_000))
        #expect(configuration.parameterCount == 494_032_768)
        #expect(configuration.keyValueBytesPerToken(.float32) == 2 * 24 * 128 * 4)
        #expect(configuration.parameterBytes(.bfloat16) == 2 * 494_032_768)
    }
}
