package import JSON

/// The shape and the mathematics of a model, as its `config.json` states them.
///
/// A configuration that exists is one that ``Transformer`` computes exactly: reading refuses whatever would change the
/// result.
package struct ModelConfiguration: Sendable, Equatable {
    package let family: ModelFamily
    /// Rows of the embedding: ids run from 0 to one below.
    package let vocabularySize: Int
    package let hiddenSize: Int
    /// Width of the feed-forward part.
    package let intermediateSize: Int
    package let layers: Int
    /// Query heads.
    package let heads: Int
    /// Key and value heads; divides ``heads``.
    package let keyValueHeads: Int
    /// Width of one head; even.
    package let headSize: Int
    /// Tokens the model is made for (`max_position_embeddings`). Longer texts compute, except where ``ropeScaling``
    /// says otherwise.
    package let contextLength: Int
    package let ropeTheta: Double
    package let ropeScaling: RotaryScaling
    package let rmsNormEpsilon: Double
    /// Whether the output head is the embedding itself.
    package let tiesEmbeddings: Bool
    package let biases: Biases
    /// Whether queries and keys pass an RMS norm per head before rotation (Qwen3).
    package let normalizesQueriesAndKeys: Bool
    /// One per layer: how many positions back a token sees, itself included; `nil` means all of them.
    package let slidingWindows: [Int?]
    /// Standard deviation of a fresh model's weights.
    package let initializerRange: Double
    package let beginTokenID: Int?
    /// Empty when the file states none.
    package let endTokenIDs: [Int]
    package let paddingTokenID: Int?
    /// Every member of `config.json`, those without effect here included, for writing it back.
    package let members: [String: JSONValue]
    /// Adapters on top of what `config.json` says, see ``adapted(by:)``; `nil` without any.
    package internal(set) var adapters: LoRAConfiguration?
    /// The projections that have one, without `.weight`, in the order of the parameters.
    var adaptedProjections: [String] = []

    /// Which projections add a bias.
    package struct Biases: Sendable, Equatable {
        package let queryKeyValue: Bool
        package let attentionOutput: Bool
        package let feedForward: Bool
    }

    /// Reads the text of a `config.json`.
    ///
    /// - Parameter path: Where the text comes from, for messages.
    /// - Throws: ``ModelError/configuration(path:problems:)`` with everything that is wrong, each with its key and
    ///   value.
    package init(json: String, path: String = "config.json") throws(ModelError) {
        try self.init(members: ConfigurationText.members(of: json, path: path), path: path)
    }

    /// Reads the members of a `config.json`; otherwise as ``init(json:path:)``.
    package init(members: [String: JSONValue], path: String = "config.json") throws(ModelError) {
        var reader = ConfigurationReader(members)
        guard let family = reader.family() else { throw reader.failure(path: path) }
        self.family = family
        self.members = members
        reader.refuseForeignMathematics(family)

        vocabularySize = reader.size("vocab_size")
        hiddenSize = reader.size("hidden_size")
        intermediateSize = reader.size("intermediate_size")
        layers = reader.size("num_hidden_layers", limit: 1 << 14)
        heads = reader.size("num_attention_heads")
        keyValueHeads = reader.keyValueHeads(family, heads: heads)
        headSize = reader.headSize(family, hiddenSize: hiddenSize, heads: heads)
        contextLength = reader.size("max_position_embeddings", absent: family.defaultContextLength, limit: 1 << 31)
        rmsNormEpsilon = reader.number("rms_norm_eps", absent: 1e-6, above: 0)
        initializerRange = reader.number("initializer_range", absent: 0.02, above: 0)
        tiesEmbeddings = reader.flag("tie_word_embeddings")
        biases = reader.biases(family)
        normalizesQueriesAndKeys = family == .qwen3
        slidingWindows = reader.slidingWindows(family, layers: layers)
        (ropeTheta, ropeScaling) = reader.rotary(contextLength: contextLength)
        if case .dynamic = ropeScaling, headSize < 4 {
            reader.note("head_dim", "\(headSize)", "at least 4 with dynamic rope scaling")
        }
        let defaults = family.defaultTokenIDs
        beginTokenID = reader.tokenIDs("bos_token_id", absent: defaults.begin.map { [$0] } ?? []).first
        endTokenIDs = reader.tokenIDs("eos_token_id", absent: defaults.end)
        paddingTokenID = reader.tokenIDs("pad_token_id", absent: []).first
        try reader.throwIfAny(path: path)
    }

    /// The text of `config.json`: what was read, written back with its keys sorted.
    package var json: String { ConfigurationText.text(members) }

    /// The configuration of the transformer below the language model's head, which is taken to be tied: there is none.
    package var withoutHead: ModelConfiguration {
        get throws(ModelError) { try with(["tie_word_embeddings": .bool(true)]) }
    }

    /// The same configuration with other members set, read anew, and with the same adapters.
    package func with(_ changes: [String: JSONValue]) throws(ModelError) -> ModelConfiguration {
        let changed = try ModelConfiguration(members: members.merging(changes) { $1 })
        return try adapters.map { adapters throws(ModelError) in try changed.adapted(by: adapters) } ?? changed
    }
}
