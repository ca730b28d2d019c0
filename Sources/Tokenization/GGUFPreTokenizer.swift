import JSON

/// How the byte-level tokenizers that `tokenizer.ggml.pre` names treat a text: what llama.cpp does under that name.
enum GGUFPreTokenizer: CaseIterable {
    /// As GPT-2: the expression of ``SplitPattern/gpt2``.
    case gpt2
    /// As SmolLM and StarCoder: digits one by one, then as GPT-2.
    case digits
    /// As Llama 3, where a piece that is a token stays one.
    case llama3
    /// As ``llama3``, merges first.
    case llama3MergesFirst
    /// As Qwen 2 and 3, and as DeepSeek's models on top of them.
    case qwen2
    /// As Mistral Nemo, where a piece that is a token stays one.
    case tekken
    /// As GPT-4o and Llama 4.
    case gpt4o

    /// What the file calls it; the first name is the one that is written.
    var names: [String] {
        switch self {
        case .gpt2: ["gpt-2", "phi-2"]
        case .digits: ["smollm", "starcoder", "refact"]
        case .llama3: ["llama-bpe", "llama3", "llama-v3", "falcon3"]
        case .llama3MergesFirst: ["smaug-bpe", "dbrx"]
        case .qwen2: ["qwen2", "deepseek-r1-qwen", "megrez"]
        case .tekken: ["tekken"]
        case .gpt4o: ["gpt-4o", "llama4"]
        }
    }

    init?(name: String) {
        guard let known = Self.allCases.first(where: { $0.names.contains(name) }) else { return nil }
        self = known
    }

    /// Every name, for messages.
    static var supported: String { allCases.flatMap(\.names).joined(separator: ", ") }

    /// Whether a piece that is a token stays one, without asking the merges.
    var ignoresMerges: Bool { self == .llama3 || self == .tekken }

    /// Whether a text begins with the beginning-of-text token where the file does not say.
    var addsBeginning: Bool { self == .llama3 || self == .tekken }

    /// How the published tokenizers of this kind bring Unicode into one form; llama.cpp takes texts as they are.
    var normalizer: JSONValue { self == .qwen2 ? .object(["type": "NFC"]) : .null }

    /// As `tokenizer.json` says it.
    var json: JSONValue {
        switch self {
        case .gpt2: Self.byteLevel(splits: true)
        case .digits:
            Self.sequence([.object(["type": "Digits", "individual_digits": true]), Self.byteLevel(splits: true)])
        case .llama3, .llama3MergesFirst: Self.sequence([Self.split(.llama3), Self.byteLevel(splits: false)])
        case .qwen2: Self.sequence([Self.split(.qwen2), Self.byteLevel(splits: false)])
        case .tekken: Self.sequence([Self.split(.tekken), Self.byteLevel(splits: false)])
        case .gpt4o: Self.sequence([Self.split(.gpt4o), Self.byteLevel(splits: false)])
        }
    }

    static func byteLevel(splits: Bool) -> JSONValue {
        .object(["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": .bool(splits)])
    }

    private static func sequence(_ parts: [JSONValue]) -> JSONValue {
        .object(["type": "Sequence", "pretokenizers": .array(parts)])
    }

    private static func split(_ pattern: SplitPattern) -> JSONValue {
        .object([
            "type": "Split", "pattern": .object(["Regex": .string(pattern.expression)]), "behavior": "Isolated",
            "invert": false,
        ])
    }

    /// The one that splits as a tokenizer's own does; `nil` when llama.cpp has none.
    init?(_ own: PreTokenizer, ignoresMerges: Bool) {
        switch (own.flattened, ignoresMerges) {
        case ([.byteLevel(splits: true)], false): self = .gpt2
        case ([.digits, .byteLevel(splits: true)], false): self = .digits
        case ([.split(.llama3), .byteLevel(splits: false)], true): self = .llama3
        case ([.split(.llama3), .byteLevel(splits: false)], false): self = .llama3MergesFirst
        case ([.split(.qwen2), .byteLevel(splits: false)], false): self = .qwen2
        case ([.split(.tekken), .byteLevel(splits: false)], true): self = .tekken
        case ([.split(.gpt4o), .byteLevel(splits: false)], false): self = .gpt4o
        default: return nil
        }
    }
}

extension PreTokenizer {
    /// A step that llama.cpp can also take.
    fileprivate enum Step: Equatable {
        case byteLevel(splits: Bool)
        case split(SplitPattern)
        case digits
        case other
    }

    /// The steps one after another.
    fileprivate var flattened: [Step] {
        switch self {
        case .none: []
        case .byteLevel(addsPrefixSpace: false, let splits): [.byteLevel(splits: splits)]
        case .split(let pattern): [.split(pattern)]
        case .digits(individually: true): [.digits]
        case .sequence(let parts): parts.flatMap(\.flattened)
        case .byteLevel, .digits, .metaspace: [.other]
        }
    }
}
