import Foundation
import JSON
import Models
import Tensors
import TestSupport
import Testing

/// Adapter folders as peft wrote them and what it computes with them, by `References/peft_lora.py`.
struct PublishedAdapters: Decodable {
    let texts: [[Int]]
    /// `[case][text][token]`, the log-prob of every token but the first; `base` is the model without adapters.
    let cases: [String: [[Double]]]

    static let root = PublishedModel.root.appending(path: "../peft_lora").standardizedFileURL
    static let baseFolder = PublishedModel.root.appending(path: "../trl_full_step").standardizedFileURL
    static let names = ["plain", "stabilized", "pattern"]

    static func folder(_ name: String) throws -> AdapterFolder {
        try #require(try AdapterFolder(root.appending(path: name, directoryHint: .isDirectory)))
    }

    init() throws {
        self = try JSONDecoder().decode(
            PublishedAdapters.self, from: Data(contentsOf: Self.root.appending(path: "log_probs.json")))
    }
}

/// The base with adapters beside its matrices, as they are trained.
@TensorActor
func adapted(_ adapter: AdapterFolder, _ type: ElementType = .float32) throws -> Transformer {
    let base = try ModelFolder.load(adapter.base, elementType: type)
    let configuration = try base.configuration.adapted(by: adapter.adapters)
    let tensors = try adapter.tensors(for: configuration, elementType: type)
    return try Transformer(
        configuration: configuration, parameters: base.parametersByName.merging(tensors) { $1 })
}

@TensorActor @Suite("LoRA: a model with adapters")
struct LoRATests {
    private let published: PublishedAdapters

    init() throws { published = try PublishedAdapters() }

    private func largestDifference(_ model: Transformer, from name: String) throws -> Double {
        let expected = try #require(published.cases[name])
        return try zip(published.texts, expected).map { text, values in
            try TestSupport.largestDifference(model.logProbabilities(text), values)
        }.max() ?? .infinity
    }

    @Test(arguments: PublishedAdapters.names) func computesWhatPeftComputes(_ name: String) throws {
        let adapter = try PublishedAdapters.folder(name)
        let (beside, merged) = (try adapted(adapter), try ModelFolder.load(adapter.folder))
        let (apart, together) = (
            try largestDifference(beside, from: name), try largestDifference(merged, from: name)
        )
        print("log-probs under \(name): \(apart) from peft's with adapters, \(together) with merged ones")
        #expect(apart < 1e-5 && together < 1e-5)
        #expect(try largestDifference(ModelFolder.load(adapter.base), from: "base") < 1e-5)
        #expect(try largestDifference(ModelFolder.load(adapter.base), from: name) > 0.1)  // the check can fail
        #expect(merged.parameters.count == beside.parameters.count - beside.configuration.adapterShapes.count)
    }

    @Test func withoutItsAdaptersItIsTheBaseToTheBit() throws {
        let adapter = try PublishedAdapters.folder("stabilized")
        let base = try ModelFolder.load(adapter.base)
        let configuration = try base.configuration.adapted(by: adapter.adapters)
        let off = try Transformer(configuration: configuration, parameters: base.parametersByName)
        for text in published.texts { #expect(try off.logProbabilities(text) == base.logProbabilities(text)) }
    }

    /// s of the cases: 8/4, 3/√2, 6/3.
    @Test func theScaleIsAlphaOverTheRankOrItsRoot() throws {
        let scales = try PublishedAdapters.names.map { try PublishedAdapters.folder($0).adapters.scale }
        #expect(scales == [2, 3 / 2.0.squareRoot(), 2])
    }

    @Test func gradientsOfAAndBAreThoseOfCentralDifferences() throws {
        let model = try adapted(PublishedAdapters.folder("stabilized"), .float64)
        let names = [
            "0.self_attn.q_proj.lora_A", "1.self_attn.q_proj.lora_B", "0.mlp.down_proj.lora_A", "1.mlp.up_proj.lora_B",
        ].map { "model.layers.\($0).weight" }
        let parameters = model.parametersByName
        let inputs = try names.map { (values: try parameters[$0]!.doubles(), shape: parameters[$0]!.shape) }
        let tokens = published.texts[0]
        let error = try gradientError(at: inputs) { leaves in
            let moved = parameters.merging(zip(names, leaves)) { $1 }
            return try Transformer(configuration: model.configuration, parameters: moved).hiddenStates(
                tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]))
        }
        print("gradients of A and B against central differences: \(error)")
        #expect(error < 1e-7)
    }

    @Test(arguments: [false, true]) func onlyAdaptersGetAGradient(checkpointsBlocks: Bool) throws {
        let adapter = try PublishedAdapters.folder("stabilized")
        let base = try ModelFolder.load(adapter.base)
        let configuration = try base.configuration.adapted(by: adapter.adapters)
        let leaves = try adapter.tensors(for: configuration).mapValues { try $0.requiringGradient() }
        let model = try Transformer(
            configuration: configuration, parameters: base.parametersByName.merging(leaves) { $1 })
        let tokens = published.texts[0]
        try model.hiddenStates(
            tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]),
            checkpointsBlocks: checkpointsBlocks
        ).sum().backward()
        for (name, leaf) in leaves { #expect(try leaf.gradient?.allFinite() == true, "\(name)") }
        for (name, tensor) in base.parameters { #expect(tensor.gradient == nil && !tensor.requiresGradient, "\(name)") }
    }

    /// A is uniform in ±1/√inputs: its standard deviation is that over √3.
    @Test func aFreshAdapterAddsNothing() throws {
        let base = try ModelFolder.load(PublishedAdapters.baseFolder)
        let configuration = try base.configuration.adapted(by: LoRAConfiguration(rank: 8, targets: .allLinear))
        let fresh = try configuration.freshAdapters(seed: 3)
        #expect(fresh.count == 2 * 7 * 2)
        let model = try Transformer(
            configuration: configuration, parameters: base.parametersByName.merging(fresh) { $1 })
        #expect(try model.logProbabilities(published.texts[0]) == base.logProbabilities(published.texts[0]))
        for (name, tensor) in fresh {
            let values = try tensor.doubles()
            guard name.contains("lora_A") else {
                #expect(values.allSatisfy { $0 == 0 })
                continue
            }
            let bound = 1 / Double(tensor.shape[1]).squareRoot()
            let square = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
            #expect(values.allSatisfy { abs($0) <= bound })
            #expect(abs(square.squareRoot() / (bound / 3.0.squareRoot()) - 1) < 0.2, "\(name)")
        }
        let same = try configuration.freshAdapters(seed: 3)
        let other = try configuration.freshAdapters(seed: 4)
        let name = "model.layers.0.self_attn.q_proj.lora_A.weight"
        #expect(try same[name]?.floats() == fresh[name]?.floats() && other[name]?.floats() != fresh[name]?.floats())
    }

    @Test func aSavedFolderHoldsTheSameAdapters() throws {
        for name in PublishedAdapters.names {
            let adapter = try PublishedAdapters.folder(name)
            let configuration = try ModelFolder.readConfiguration(adapter.folder).adapted(by: adapter.adapters)
            let tensors = try adapter.tensors(for: configuration)
            let folder = try TemporaryFolder()
            try ModelFolder.saveAdapters(
                configuration: configuration, parameters: tensors,
                baseName: adapter.base.path(percentEncoded: false), to: folder.url)
            let again = try #require(try AdapterFolder(folder.url))
            #expect(again.adapters.scale == adapter.adapters.scale && again.adapters.rank == adapter.adapters.rank)
            let read = try again.tensors(for: configuration)
            for (key, tensor) in tensors { #expect(try read[key]?.floats() == tensor.floats()) }
            #expect(
                try ModelFolder.load(folder.url).logProbabilities(published.texts[1])
                    == ModelFolder.load(adapter.folder).logProbabilities(published.texts[1]))
        }
    }

    @Test func targetsAreNamesSuffixesOrAPattern() throws {
        let base = try ModelFolder.readConfiguration(PublishedAdapters.baseFolder)
        func count(_ targets: LoRAConfiguration.Targets) throws -> Int {
            try base.adapted(by: LoRAConfiguration(targets: targets)).adapterShapes.count / 2
        }
        #expect(try count(.usual) == 4 && count(.allLinear) == 14)
        #expect(try count(.names(["mlp.up_proj"])) == 2 && count(.names(["layers.1.self_attn.o_proj"])) == 1)
        #expect(try count(.pattern(#".*\.0\.mlp\..*"#)) == 3)
        for (wrong, says) in [
            (LoRAConfiguration.Targets.names(["q_proj", "query"]), "'query' matches none of the model's projections"),
            (.names(["lm_head"]), "'lm_head' cannot have an adapter here"),
            (.pattern("q_proj"), "'q_proj' matches none"),
            (.pattern("(q"), "no regular expression"),
        ] {
            let error = try #require(throws: ModelError.self) {
                try base.adapted(by: LoRAConfiguration(targets: wrong))
            }
            #expect("\(error)".contains(says), "\(error)")
        }
    }

    // MARK: Dropout

    private func dropout(_ p: Double, of tokens: [Int], step: Int = 0) throws -> AdapterDropout {
        try AdapterDropout(p, seed: 6, of: tokens.indices.map { RandomAddress(step: step, token: $0) })
    }

    @Test func gradientsUnderDropoutAreThoseOfCentralDifferences() throws {
        let model = try adapted(PublishedAdapters.folder("stabilized"), .float64)
        let names = ["0.self_attn.q_proj.lora_A", "1.mlp.up_proj.lora_B"].map { "model.layers.\($0).weight" }
        let parameters = model.parametersByName
        let inputs = try names.map { (values: try parameters[$0]!.doubles(), shape: parameters[$0]!.shape) }
        let tokens = published.texts[0]
        let dropout = try dropout(0.4, of: tokens)
        let error = try gradientError(at: inputs) { leaves in
            let moved = parameters.merging(zip(names, leaves)) { $1 }
            return try Transformer(configuration: model.configuration, parameters: moved).hiddenStates(
                tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]), dropout: dropout)
        }
        print("gradients of A and B under dropout against central differences: \(error)")
        #expect(error < 1e-7)
    }

    /// A pass that is computed again drops the same: with blocks computed twice the gradients are the same to the bit.
    @Test func aSecondPassDropsTheSame() throws {
        let adapter = try PublishedAdapters.folder("stabilized")
        let base = try ModelFolder.load(adapter.base)
        let configuration = try base.configuration.adapted(by: adapter.adapters)
        let tokens = published.texts[0]
        func gradients(_ checkpointsBlocks: Bool, step: Int = 0) throws -> [String: [Float]] {
            let leaves = try adapter.tensors(for: configuration).mapValues { try $0.requiringGradient() }
            let model = try Transformer(
                configuration: configuration, parameters: base.parametersByName.merging(leaves) { $1 })
            try model.hiddenStates(
                tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]),
                checkpointsBlocks: checkpointsBlocks, dropout: dropout(0.4, of: tokens, step: step)
            ).square().sum().backward()
            return try leaves.mapValues { try #require($0.gradient).floats() }
        }
        let once = try gradients(false)
        #expect(try gradients(true) == once)
        #expect(try gradients(false, step: 1) != once)
    }

    /// A token drops the same whichever states of its pass are asked for.
    @Test func statesThatAreAskedForDropTheSame() throws {
        let model = try adapted(PublishedAdapters.folder("stabilized"), .float64)
        let tokens = published.texts[0]
        let layout = try SequenceLayout(groups: [(tokens.count - 5, [3, 2])])
        let indices = [tokens.count - 4, tokens.count - 6, 2, tokens.count - 6, tokens.count - 2]
        let dropout = try dropout(0.4, of: tokens)
        func states(_ indices: [Int]?, _ dropout: AdapterDropout?) throws -> Tensor {
            try model.hiddenStates(tokens: Tensor(tokens), layout: layout, at: indices, dropout: dropout)
        }
        let expected = try states(nil, dropout).rows(at: indices).doubles()
        #expect(relativeDistance(try states(indices, dropout).doubles(), expected) < 1e-13)
        #expect(relativeDistance(try states(indices, nil).doubles(), expected) > 1e-3)
    }

    /// An adapter is linear in what it reads: averaged over masks it adds what it adds without dropout.
    @Test func theMeanOverMasksIsTheProjectionWithoutDropout() throws {
        let adapter = try PublishedAdapters.folder("stabilized")
        let base = try ModelFolder.load(adapter.base, elementType: .float64)
        // In the last block the down projection's output is added to the states, which the last norm then reads.
        let last = "model.layers.\(base.configuration.layers - 1).mlp.down_proj"
        let configuration = try base.configuration.adapted(
            by: LoRAConfiguration(rank: 2, alpha: 2e-4, targets: .names([last])))
        var tensors = try configuration.freshAdapters(seed: 1, elementType: .float64)
        for (name, tensor) in tensors where name.hasSuffix("lora_B.weight") {
            tensors[name] = try Tensor((0..<tensor.count).map { Double($0 % 5) - 2 }, shape: tensor.shape)
        }
        let model = try Transformer(
            configuration: configuration, parameters: base.parametersByName.merging(tensors) { $1 })
        let tokens = published.texts[0]
        func states(_ model: Transformer, _ dropout: AdapterDropout?) throws -> [Double] {
            try Tensor.withoutGradients {
                try model.hiddenStates(
                    tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]), dropout: dropout
                ).doubles()
            }
        }
        let (plain, full) = (try states(base, nil), try states(model, nil))
        let count = 400
        var sums = full.map { _ in 0.0 }
        var squares = 0.0
        for step in 0..<count {
            let own = try states(model, dropout(0.3, of: tokens, step: step))
            for index in own.indices { sums[index] += own[index] }
            squares += zip(own, full).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        // With so small an adapter the norm is linear in it. The mean of n is off by a deviation over √n.
        let off = zip(sums, full).reduce(0) { $0 + ($1.0 / Double(count) - $1.1) * ($1.0 / Double(count) - $1.1) }
        let added = zip(full, plain).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        #expect(squares / Double(count) > 1e-2 * added)  // there is something to be averaged
        #expect(off < 4 * squares / Double(count * count), "\(off) beside \(squares / Double(count * count))")
    }
}

@TensorActor @Suite("LoRA: adapter folders that are refused")
struct AdapterFolderTests {
    /// A copy of a published adapter whose base is found from anywhere, with members changed.
    private func folder(_ changes: [String: JSONValue], of name: String = "plain") throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try FileManager.default.removeItem(at: folder.url)
        try FileManager.default.copyItem(at: PublishedAdapters.root.appending(path: name), to: folder.url)
        let file = folder.url.appending(path: "adapter_config.json")
        let members = try #require(try JSONValue(parsing: String(contentsOf: file, encoding: .utf8)).dictionary)
        let base = JSONValue.string(PublishedAdapters.baseFolder.path(percentEncoded: false))
        let changed = members.merging(["base_model_name_or_path": base]) { $1 }.merging(changes) { $1 }
        try Data(JSONValue.object(sorting: changed).serialized.utf8).write(to: file)
        return folder
    }

    nonisolated static let refusals: [(member: String, value: JSONValue, says: String)] = [
        ("use_dora", true, "use_dora is true; expected false; DoRA is not built"),
        ("peft_type", "ADALORA", "peft_type is \"ADALORA\"; expected LORA"), ("peft_type", .null, "peft_type is null"),
        ("bias", "lora_only", "trained biases are not built"), ("modules_to_save", ["lm_head"], "whole modules"),
        ("layers_to_transform", [0], "layers_to_transform"),
        ("rank_pattern", .object(sorting: ["q_proj": 2]), "rank_pattern"),
        ("init_lora_weights", "pissa", "changes the base"), ("fan_in_fan_out", true, "fan_in_fan_out"),
        ("trainable_token_indices", [3], "trainable_token_indices"), ("task_type", "SEQ_2_SEQ_LM", "task_type"),
        ("r", 0, "r is 0; expected a whole number"), ("lora_alpha", -1, "lora_alpha"),
        ("lora_dropout", -3, "lora_dropout is -3; expected a number from 0 to below 1"),
        ("lora_dropout", 1, "lora_dropout is 1;"), ("lora_dropout", "0.1", "lora_dropout is \"0.1\";"),
        ("lora_dropout", [1], "lora_dropout is [1];"),
        ("base_model_name_or_path", .null, "the model that the adapter was made for"),
        ("base_model_name_or_path", "nobody/nothing", "base_model_name_or_path: nobody/nothing: no such model folder"),
        ("target_modules", [], "target_modules"), ("something_new", 3, "something_new"),
    ]

    @Test(arguments: refusals.indices) func whatIsNotBuiltIsNamed(_ index: Int) throws {
        let (member, value, says) = Self.refusals[index]
        let folder = try folder([member: value])
        let error = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect("\(error)".contains(says) && "\(error)".contains("adapter_config.json"), "\(error)")
    }

    @Test func anAdapterOfAnotherBaseIsNamedByItsShapes() throws {
        let other = JSONValue.string(PublishedModel.root.appending(path: "llama2").path(percentEncoded: false))
        let folder = try folder(["base_model_name_or_path": other])
        let error = try #require(throws: ModelError.self) { try ModelFolder.load(folder.url) }
        #expect("\(error)".contains("q_proj.lora_A.weight has shape [4, 16]; expected"), "\(error)")
        #expect("\(error)".contains("llama2"), "\(error)")
    }

    @Test func missingAndSurplusTensorsAreNamed() throws {
        let more = try folder(["target_modules": ["q_proj", "v_proj", "o_proj"]])
        let lacks = try #require(throws: ModelError.self) { try ModelFolder.load(more.url) }
        #expect("\(lacks)".contains("model.layers.0.self_attn.o_proj.lora_A.weight is missing"), "\(lacks)")
        let fewer = try folder(["target_modules": ["q_proj"]])
        let surplus = try #require(throws: ModelError.self) { try ModelFolder.load(fewer.url) }
        #expect("\(surplus)".contains("v_proj.lora_A.weight of shape [4, 16] has no place"), "\(surplus)")
        try FileManager.default.removeItem(at: fewer.url.appending(path: "adapter_model.safetensors"))
        try Data([1]).write(to: fewer.url.appending(path: "adapter_model.bin"))
        let pickle = try #require(throws: ModelError.self) { try ModelFolder.load(fewer.url) }
        #expect("\(pickle)".contains("a pickle, which is never read"), "\(pickle)")
    }

    @Test func anAdapterOnAnAdapterIsRefused() throws {
        let first = try folder([:])
        let second = try folder(["base_model_name_or_path": .string(first.url.path(percentEncoded: false))])
        let error = try #require(throws: ModelError.self) { try ModelFolder.load(second.url) }
        #expect("\(error)".contains("plumbline convert --merge"), "\(error)")
    }
}
