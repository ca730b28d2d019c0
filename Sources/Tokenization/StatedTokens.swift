/// What the files beside `tokenizer.json` say of its tokens, in the order in which `transformers` takes it.
struct StatedTokens: Sendable {
    /// What a token is for, such as `eos_token`, and the token. Those that only a model of its own kind has, such as
    /// `image_token`, are among them.
    private(set) var roles: [String: StatedToken] = [:]
    /// Special tokens without a role.
    private(set) var others: [StatedToken] = []
    /// How each added token is looked for, by the id that is stated with it; `nil` where only `tokenizer.json` says so.
    private(set) var added: [(id: Int, token: StatedToken)]?

    private static let decoder = "added_tokens_decoder"
    private static let extra = "extra_special_tokens"
    private static let additional = "additional_special_tokens"

    init() {}

    /// - Parameters:
    ///   - configuration: `tokenizer_config.json`.
    ///   - map: `special_tokens_map.json`, of older versions: where `added_tokens_decoder` is stated it says nothing,
    ///     elsewhere it has the last word.
    init(configuration: JSONNode?, map: JSONNode?) throws(TokenizerError) {
        if let configuration {
            if let split = try configuration.optional("split_special_tokens"), try split.bool() {
                throw split.error(
                    expected: "false: a text's special tokens are split where the job says split_special_tokens")
            }
            if let decoder = try configuration.optional(Self.decoder) { added = try Self.byID(decoder) }
            try readRoles(configuration, kind: .stated)
            let extra = try readOthers(configuration, Self.extra, kind: .stated)
            others = extra.isEmpty ? try readOthers(configuration, Self.additional, kind: .stated) : extra
        }
        guard added == nil, let map else { return }
        try readRoles(map, kind: .special)
        let older = others.isEmpty ? try readOthers(map, Self.additional, kind: .special) : []
        others += try older + readOthers(map, Self.extra, kind: .special)
    }

    /// The text of each role.
    var texts: [String: String] { roles.mapValues(\.content) }

    private static func byID(_ node: JSONNode) throws(TokenizerError) -> [(id: Int, token: StatedToken)] {
        var tokens: [(id: Int, token: StatedToken)] = []
        for member in try node.members() {
            let child = JSONNode(value: member.value, file: node.file, path: "\(node.path).\(member.key)")
            guard let id = Int(member.key) else { throw child.error(expected: "a whole number for its key") }
            tokens.append((id, try StatedToken(child, kind: .stated)))
        }
        return tokens.sorted { $0.id < $1.id }
    }

    private mutating func readRoles(_ root: JSONNode, kind: StatedToken.Kind) throws(TokenizerError) {
        for member in try root.members() {
            let isOwn = member.key.hasSuffix("_token") && member.value.string != nil
            guard isOwn || StatedToken.roles.contains(member.key) else { continue }
            try setRole(member.key, in: root, kind: kind)
        }
    }

    /// Special tokens in a list; those in an object have their roles for keys.
    private mutating func readOthers(
        _ root: JSONNode, _ key: String, kind: StatedToken.Kind
    ) throws(TokenizerError) -> [StatedToken] {
        guard let node = try root.optional(key) else { return [] }
        guard case .object = node.value else {
            var tokens: [StatedToken] = []
            for item in try node.items() { tokens.append(try StatedToken(item, kind: kind)) }
            return tokens
        }
        for member in try node.members() { try setRole(member.key, in: node, kind: kind) }
        return []
    }

    /// A role that is null is none, whatever was said before.
    private mutating func setRole(_ role: String, in node: JSONNode, kind: StatedToken.Kind) throws(TokenizerError) {
        guard let token = try node.optional(role) else {
            roles[role] = nil
            return
        }
        roles[role] = try StatedToken(token, kind: kind)
    }
}

/// A token as a file beside `tokenizer.json` writes it: its text, or an object that also says how it is looked for.
struct StatedToken: Sendable {
    /// What an object is that does not say whether its token is special.
    enum Kind {
        case stated, special
    }

    /// The roles of every tokenizer.
    static let roles = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// The token, whose id is not known yet.
    private let token: AddedToken
    private let node: JSONNode

    var content: String { token.content }

    init(_ node: JSONNode, kind: Kind) throws(TokenizerError) {
        self.node = node
        guard case .object = node.value else {
            token = AddedToken(content: try node.string(), id: 0, isSpecial: true)
            return
        }
        let isStated = try node.bool("special", default: false)
        let isSpecial = kind == .special || isStated
        token = AddedToken(
            content: try node.required("content").string(), id: 0, isSpecial: isSpecial,
            isSingleWord: try node.bool("single_word", default: false),
            stripsLeft: try node.bool("lstrip", default: false),
            stripsRight: try node.bool("rstrip", default: false),
            isNormalized: try node.bool("normalized", default: !isSpecial))
    }

    func added(at id: Int) -> AddedToken { token.with(id: id, isSpecial: token.isSpecial) }

    func error(expected: String) -> TokenizerError {
        TokenizerError(file: node.file, key: node.path, found: "\"\(content)\"", expected: expected)
    }
}
