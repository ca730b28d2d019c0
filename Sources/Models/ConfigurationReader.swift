import JSON

/// Reads typed values out of the members of a `config.json` and collects everything that is wrong with them.
///
/// A value that cannot be used is noted and replaced by a harmless one, so that reading goes on and finds the other
/// problems too.
struct ConfigurationReader {
    private let members: [String: JSONValue]
    private(set) var problems: [ConfigurationProblem] = []

    /// Largest accepted size: far above any model, and low enough that no product of two sizes overflows.
    static let sizeLimit = 1 << 24

    init(_ members: [String: JSONValue]) { self.members = members }

    /// The member under `key`; a JSON null counts as absent.
    func value(_ key: String) -> JSONValue? {
        guard let value = members[key], value != .null else { return nil }
        return value
    }

    /// Whether the file says null, which is not always what it means to say nothing.
    func isNull(_ key: String) -> Bool { members[key] == .null }

    mutating func note(_ key: String, _ found: String, _ expected: String) {
        problems.append(.init(setting: key, found: found, expected: expected))
    }

    mutating func note(_ key: String, _ found: JSONValue, _ expected: String) {
        note(key, found.shortText, expected)
    }

    func failure(path: String) -> ModelError { .configuration(path: path, problems: problems) }

    func throwIfAny(path: String) throws(ModelError) {
        guard problems.isEmpty else { throw failure(path: path) }
    }

    /// A whole number of at least 1.
    mutating func size(_ key: String, absent: Int? = nil, limit: Int = sizeLimit) -> Int {
        guard let value = value(key) else {
            if let absent { return absent }
            note(key, "missing", "a whole number from 1 to \(limit)")
            return 1
        }
        guard value.double != nil, let whole = value.integer, (1...limit).contains(whole) else {
            note(key, value, "a whole number from 1 to \(limit)")
            return 1
        }
        return whole
    }

    mutating func number(_ key: String, absent: Double, above bound: Double) -> Double {
        guard let value = value(key) else { return absent }
        guard let number = value.double, number > bound, number.isFinite else {
            note(key, value, "a number above \(bound.shortText)")
            return absent
        }
        return number
    }

    mutating func flag(_ key: String, absent: Bool = false) -> Bool {
        guard let value = value(key) else { return absent }
        guard case .bool(let flag) = value else {
            note(key, value, "true or false")
            return absent
        }
        return flag
    }

    /// A token id or a list of them.
    mutating func tokenIDs(_ key: String, absent: [Int]) -> [Int] {
        guard let value = members[key] else { return absent }
        if value == .null { return [] }
        let ids = (value.elements ?? [value]).map { element -> Int? in
            element.double == nil ? nil : element.integer
        }
        guard ids.allSatisfy({ $0 != nil }) else {
            note(key, value, "a token id or a list of token ids")
            return []
        }
        return ids.compactMap(\.self).filter { $0 >= 0 }  // −1 is written by some tools for "none"
    }

    /// The family by `model_type` and `architectures`, which must agree.
    mutating func family() -> ModelFamily? {
        let type = value("model_type")
        let classes = value("architectures")
        let byType = type.flatMap { $0.text }.flatMap(ModelFamily.init(rawValue:))
        if let type, byType == nil {
            note("model_type", type, "one of \(ModelFamily.supported)")
            return nil
        }
        guard let classes else {
            if byType == nil { note("model_type", "missing", "one of \(ModelFamily.supported)") }
            return byType
        }
        let names = classes.elements?.compactMap(\.text) ?? []
        let byClass = ModelFamily.allCases.first { names == [$0.architecture] }
        guard let byClass, byType == nil || byType == byClass else {
            note(
                "architectures", classes, byType.map { "[\"\($0.architecture)\"]" } ?? "one of \(ModelFamily.supported)"
            )
            return nil
        }
        return byClass
    }

    mutating func keyValueHeads(_ family: ModelFamily, heads: Int) -> Int {
        let isStated = members["num_key_value_heads"] != nil
        let absent = isStated ? heads : family.defaultKeyValueHeads ?? heads
        let count = size("num_key_value_heads", absent: absent)
        if heads % count != 0 {
            note("num_key_value_heads", "\(count)", "a divisor of num_attention_heads, which is \(heads)")
        }
        return count
    }

    mutating func headSize(_ family: ModelFamily, hiddenSize: Int, heads: Int) -> Int {
        let absent = members["head_dim"] == nil ? family.defaultHeadSize : nil
        if value("head_dim") == nil, absent == nil, hiddenSize % heads != 0 {
            note("hidden_size", "\(hiddenSize)", "a multiple of num_attention_heads, which is \(heads), or a head_dim")
            return 2
        }
        let headSize = size("head_dim", absent: absent ?? hiddenSize / heads)
        if headSize % 2 != 0 { note("head_dim", "\(headSize)", "an even number, for rotary positions turn pairs") }
        if headSize * heads > Self.sizeLimit {
            note(
                "num_attention_heads", "\(heads)",
                "at most \(Self.sizeLimit / headSize) with a head size of \(headSize)")
        }
        return headSize
    }

    mutating func biases(_ family: ModelFamily) -> ModelConfiguration.Biases {
        switch family {
        case .llama:
            let attention = flag("attention_bias")
            return .init(queryKeyValue: attention, attentionOutput: attention, feedForward: flag("mlp_bias"))
        case .mistral:
            return .init(queryKeyValue: false, attentionOutput: false, feedForward: false)
        case .qwen2:
            return .init(queryKeyValue: true, attentionOutput: false, feedForward: false)
        case .qwen3:
            let attention = flag("attention_bias")
            return .init(queryKeyValue: attention, attentionOutput: attention, feedForward: false)
        }
    }

    /// One window per layer: Mistral has one for all of them, Qwen one for the layers its `layer_types` (or, without
    /// them, `max_window_layers`) name, Llama none.
    mutating func slidingWindows(_ family: ModelFamily, layers: Int) -> [Int?] {
        let none = [Int?](repeating: nil, count: layers)
        switch family {
        case .llama:
            return none
        case .mistral:
            let isStated = members["sliding_window"] != nil
            guard !isStated || value("sliding_window") != nil else { return none }
            return [Int?](repeating: size("sliding_window", absent: 4096, limit: 1 << 31), count: layers)
        case .qwen2, .qwen3:
            guard flag("use_sliding_window"), !isNull("sliding_window") else { return none }
            let window = size("sliding_window", absent: 4096, limit: 1 << 31)
            if let kinds = value("layer_types")?.elements, kinds.count == layers {
                return kinds.map { $0 == .string("sliding_attention") ? window : nil }
            }
            let first = value("max_window_layers") == nil ? 28 : count("max_window_layers")
            return (0..<layers).map { $0 >= first ? window : nil }
        }
    }

    private mutating func count(_ key: String) -> Int {
        guard let value = value(key), value.double != nil, let whole = value.integer, whole >= 0
        else {
            note(key, value(key) ?? .null, "a whole number, at least 0")
            return 0
        }
        return whole
    }
}

extension JSONValue {
    /// The value as it would be written, cut to a line.
    var shortText: String {
        let text = serialized
        return text.count > 120 ? text.prefix(120) + "…" : text
    }
}

extension Double {
    /// Whole numbers without a fraction.
    var shortText: String { JSONValue.number(self).shortText }
}
