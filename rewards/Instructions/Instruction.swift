import JSON
import Records
import RewardInterface

/// An instruction that a program can check: what a row's column `instructions` lists.
struct Instruction: Sendable {
    /// The words of the column.
    enum Kind: String, CaseIterable {
        case wordCount = "word_count"
        case sentenceCount = "sentence_count"
        case lineCount = "line_count"
        case characterCount = "character_count"
        case list
        case numberedList = "numbered_list"
        case include
        case exclude
        case frequency
        case lowerCase = "lower_case"
        case upperCase = "upper_case"
        case without
        case startsWith = "starts_with"
        case endsWith = "ends_with"
        case json
    }

    private let kind: Kind
    /// What is wrong with a text in words; `nil` when it keeps the instruction.
    private let judge: @Sendable (WrittenText) -> String?

    /// The instructions of a row, at least one.
    ///
    /// - Throws: `RewardError` for a column that is missing, or an instruction that makes no sense.
    static func all(of prompt: Prompt) throws(RewardError) -> [Instruction] {
        guard let value = prompt.columns["instructions"] else { throw .missingColumn("instructions", in: prompt) }
        guard let elements = value.elements, !elements.isEmpty else {
            throw .wrongColumn("instructions", expected: "a list of objects with 'kind', at least one", in: prompt)
        }
        var all: [Instruction] = []
        for (index, element) in elements.enumerated() {
            var fields = InstructionFields(element, number: index + 1, of: prompt)
            all.append(try Instruction(&fields))
        }
        return all
    }

    /// What is not kept, for a person: `word_count: 7 words, not exactly 5`; `nil` when the text keeps it.
    func problem(in text: WrittenText) -> String? { judge(text).map { "\(kind.rawValue): \($0)" } }

    private init(_ fields: inout InstructionFields) throws(RewardError) {
        let kind = try fields.kind()
        self.kind = kind
        judge =
            switch kind {
            case .wordCount: try Self.count(&fields, "word") { $0.wordCount }
            case .sentenceCount: try Self.count(&fields, "sentence") { $0.sentenceCount }
            case .lineCount: try Self.count(&fields, "line") { $0.lines.count }
            case .characterCount: try Self.count(&fields, "character") { $0.characterCount }
            case .list: try Self.list(&fields)
            case .numberedList: try Self.numberedList(&fields)
            case .include: try Self.include(&fields)
            case .exclude: try Self.exclude(&fields)
            case .frequency: try Self.frequency(&fields)
            case .lowerCase: { Self.letterCase(of: $0, wanted: \.isLowercase, barred: \.isUppercase) }
            case .upperCase: { Self.letterCase(of: $0, wanted: \.isUppercase, barred: \.isLowercase) }
            case .without: try Self.without(&fields)
            case .startsWith: try Self.startsWith(&fields)
            case .endsWith: try Self.endsWith(&fields)
            case .json: try Self.json(&fields)
            }
        try fields.finish()
    }

    // MARK: - Counts

    private typealias Judge = @Sendable (WrittenText) -> String?

    private static func count(
        _ fields: inout InstructionFields, _ noun: String, _ measure: @escaping @Sendable (WrittenText) -> Int
    ) throws(RewardError) -> Judge {
        let bound = try fields.bound()
        return { bound.problem(measure($0), noun) }
    }

    private static func list(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let (bound, marker) = (try fields.bound(), try fields.text("marker"))
        return { text in
            let items = text.lines.count { line in
                let line = line.trimmed
                return line.hasPrefix(marker) && line.dropFirst(marker.count).first?.isWhitespace ?? false
            }
            return bound.problem(items, "line", "with '\(marker)' in front")
        }
    }

    /// The lines that begin with a number and a full stop or a bracket count as items; the numbers run from 1.
    private static func numberedList(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let bound = try fields.bound()
        return { text in
            let numbers = text.lines.compactMap { line -> Int? in
                let line = line.trimmed
                let digits = line.prefix { $0.isASCII && $0.isNumber }
                let rest = line.dropFirst(digits.count)
                guard rest.first == "." || rest.first == ")", rest.dropFirst().first?.isWhitespace ?? false else {
                    return nil
                }
                return Int(digits)
            }
            if let problem = bound.problem(numbers.count, "numbered line") { return problem }
            return numbers == Array(1..<numbers.count + 1) ? nil : "its numbers do not run from 1 to \(numbers.count)"
        }
    }

    // MARK: - Words

    private static func include(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let words = try fields.texts("words")
        return { text in
            let missing = words.filter { text.count(of: $0) == 0 }
            return missing.isEmpty ? nil : "without \(missing.quoted)"
        }
    }

    private static func exclude(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let words = try fields.texts("words")
        return { text in
            let found = words.filter { text.count(of: $0) > 0 }
            return found.isEmpty ? nil : "with \(found.quoted)"
        }
    }

    private static func frequency(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let (bound, word) = (try fields.bound(), try fields.text("word"))
        return { bound.problem($0.count(of: word), "time", "'\(word)'") }
    }

    // MARK: - Letters

    private static func letterCase(
        of text: WrittenText, wanted: (Character) -> Bool, barred: (Character) -> Bool
    ) -> String? {
        if let letter = text.text.first(where: barred) { return "has '\(letter)'" }
        return text.text.contains(where: wanted) ? nil : "has no letter of that case"
    }

    private static func without(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let text = try fields.text("character")
        guard text.count == 1, let character = text.first, let scalar = text.unicodeScalars.first else {
            throw fields.problem("one character as 'character'")
        }
        let isPlainLetter = character.isASCII && character.isLetter
        return { written in
            let isThere = isPlainLetter ? written.text.holds(scalar) : written.text.contains(character)
            return isThere ? "has '\(character)'" : nil
        }
    }

    // MARK: - Beginning and end

    private static func startsWith(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let start = try fields.text("text")
        return { $0.begins(with: start) ? nil : "begins '\($0.text.prefix(start.count + 1).trimmed)', not '\(start)'" }
    }

    private static func endsWith(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let end = try fields.text("text")
        return { $0.ends(with: end) ? nil : "ends '\($0.text.suffix(end.count + 1).trimmed)', not '\(end)'" }
    }

    // MARK: - The whole

    private static func json(_ fields: inout InstructionFields) throws(RewardError) -> Judge {
        let keys = try fields.texts("keys")
        return { text in
            guard let value = try? JSONValue(parsing: text.unfenced, limits: JSONLimits(depth: 64)),
                let members = value.members
            else { return "not one JSON object and nothing else" }
            let found = members.map(\.key)
            return found.sorted() == keys.sorted() ? nil : "has the keys \(found.quoted), not \(keys.quoted)"
        }
    }
}

/// How many there should be.
struct CountBound: Sendable {
    var least: Int?
    var most: Int?

    private var words: String {
        switch (least, most) {
        case (let least?, let most?): least == most ? "exactly \(least)" : "\(least) to \(most)"
        case (let least?, nil): "at least \(least)"
        case (nil, let most): "at most \(most ?? 0)"
        }
    }

    /// What is wrong with a number of something; `nil` when it is within the bound.
    func problem(_ number: Int, _ noun: String, _ behind: String = "") -> String? {
        guard number < least ?? 0 || number > most ?? .max else { return nil }
        let counted = "\(number) \(noun)\(number == 1 ? "" : "s")" + (behind.isEmpty ? "" : " \(behind)")
        return "\(counted), not \(words)"
    }
}

/// The members of one instruction, each to be read once.
struct InstructionFields {
    private var unread: [String: JSONValue]
    private let isObject: Bool
    private let number: Int
    private let prompt: Prompt
    private var name = ""

    init(_ value: JSONValue, number: Int, of prompt: Prompt) {
        unread = value.dictionary ?? [:]
        isObject = value.members != nil
        self.number = number
        self.prompt = prompt
    }

    /// What the column's error says was expected.
    func problem(_ expected: String) -> RewardError {
        .wrongColumn("instructions", expected: "\(expected) of instruction \(number)\(name)", in: prompt)
    }

    mutating func kind() throws(RewardError) -> Instruction.Kind {
        guard isObject, let text = unread.removeValue(forKey: "kind")?.string else {
            throw problem("an object with a text 'kind' in place")
        }
        guard let kind = Instruction.Kind(rawValue: text) else {
            let known = Instruction.Kind.allCases.map(\.rawValue)
            let near = nearestNames(to: text, among: known)
            throw problem(
                "\((near.isEmpty ? known : near).joined(separator: ", ")) in place of the kind '\(text.shortened(to: 40))'"
            )
        }
        name = ", \(text)"
        return kind
    }

    mutating func text(_ key: String) throws(RewardError) -> String {
        guard let text = unread.removeValue(forKey: key)?.string, !text.isEmpty, text.trimmed == text[...] else {
            throw problem("a text without white space around it as '\(key)'")
        }
        return text
    }

    mutating func texts(_ key: String) throws(RewardError) -> [String] {
        let elements = unread.removeValue(forKey: key)?.elements ?? []
        let texts = elements.compactMap(\.string).filter { !$0.isEmpty && $0.trimmed == $0[...] }
        guard !texts.isEmpty, texts.count == elements.count, Set(texts).count == texts.count else {
            throw problem("a list of different texts as '\(key)'")
        }
        return texts
    }

    /// `count`, or `at_least` and `at_most` or one of the two.
    mutating func bound() throws(RewardError) -> CountBound {
        var given: [String: Int] = [:]
        for key in ["count", "at_least", "at_most"] {
            guard let value = unread.removeValue(forKey: key) else { continue }
            guard let number = value.int, number > 0 else { throw problem("a whole number above 0 as '\(key)'") }
            given[key] = number
        }
        let bound = CountBound(
            least: given["count"] ?? given["at_least"], most: given["count"] ?? given["at_most"])
        let isOne = given["count"] == nil ? !given.isEmpty : given.count == 1
        guard isOne, bound.least ?? 0 <= bound.most ?? .max else {
            throw problem("'count', or 'at_least' up to 'at_most' or one of them,")
        }
        return bound
    }

    /// Refuses what nobody asked for.
    func finish() throws(RewardError) {
        guard let key = unread.keys.min() else { return }
        throw problem("no '\(key.shortened(to: 40))' among the members")
    }
}

extension [String] {
    fileprivate var quoted: String { map { "'\($0.shortened(to: 40))'" }.joined(separator: ", ") }
}
