/// The special ids put around a text when `encode` is asked for them.
struct PostProcessor: Sendable {
    private(set) var before: [Int] = []
    private(set) var after: [Int] = []

    static let supported = "TemplateProcessing, ByteLevel, Sequence, null"

    init(_ node: JSONNode?, idLimit: Int) throws(TokenizerError) {
        guard let node else { return }
        try read(node, idLimit: idLimit)
    }

    func wrap(_ ids: [Int]) -> [Int] { before + ids + after }

    private mutating func read(_ node: JSONNode, idLimit: Int) throws(TokenizerError) {
        let type = try node.required("type")
        switch try type.string() {
        case "ByteLevel":
            // It only moves offsets, and ids carry none.
            try node.requireKeys(["type", "add_prefix_space", "trim_offsets", "use_regex"])
            for key in ["add_prefix_space", "trim_offsets", "use_regex"] { _ = try node.bool(key, default: true) }
        case "TemplateProcessing": try readTemplate(node, idLimit: idLimit)
        case "Sequence":
            try node.requireKeys(["type", "processors"])
            for item in try node.required("processors").items() { try read(item, idLimit: idLimit) }
        default: throw type.error(expected: "one of \(Self.supported)")
        }
    }

    private mutating func readTemplate(_ node: JSONNode, idLimit: Int) throws(TokenizerError) {
        try node.requireKeys(["type", "single", "pair", "special_tokens"])
        let specials = try node.required("special_tokens")
        var newBefore: [Int] = []
        var newAfter: [Int] = []
        var seesText = false
        for item in try node.required("single").items() {
            try item.requireKeys(["SpecialToken", "Sequence"])
            if let special = try item.optional("SpecialToken") {
                let name = try special.required("id")
                for id in try Self.ids(of: name, in: specials, idLimit: idLimit) {
                    if seesText { newAfter.append(id) } else { newBefore.append(id) }
                }
            } else {
                let sequence = try item.required("Sequence")
                let name = try sequence.required("id")
                guard try name.string() == "A", !seesText else { throw name.error(expected: "\"A\", once") }
                seesText = true
            }
        }
        guard seesText else { throw try node.required("single").error(expected: "a Sequence with id A") }
        before = newBefore + before
        after += newAfter
        guard before.count + after.count <= 1024 else {
            throw node.error(expected: "at most 1024 tokens around a text")
        }
    }

    private static func ids(of name: JSONNode, in specials: JSONNode, idLimit: Int) throws(TokenizerError) -> [Int] {
        guard let special = try specials.optional(try name.string()) else {
            throw name.error(expected: "a token that special_tokens describes")
        }
        var ids: [Int] = []
        for id in try special.required("ids").items() { ids.append(try id.integer(in: 0...idLimit - 1)) }
        return ids
    }
}
