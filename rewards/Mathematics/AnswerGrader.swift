import JSON
import Records
import RewardInterface

/// Compares the final answer of a completion with the reference answer of its prompt.
struct AnswerGrader {
    /// The column with the reference; `nil` means the first of `solution`, `answer`, `ground_truth` and
    /// `reward_model.ground_truth` that the row has.
    let column: String?

    static let usualColumns = ["solution", "answer", "ground_truth"]

    struct Verdict {
        let isRight: Bool
        let note: String
    }

    /// `nil` when the row holds no reference to compare with: null or an empty text, as rows of mixed sets do.
    ///
    /// - Throws: ``RewardError`` when there is no such column, or it holds no text, number or list of them.
    func verdict(on text: String, for prompt: Prompt) throws(RewardError) -> Verdict? {
        let references = try references(of: prompt)
        guard !references.isEmpty else { return nil }
        for reference in references {
            let verdict = verdict(on: text, reference)
            if verdict.isRight { return verdict }
        }
        return verdict(on: text, references[0])
    }

    /// The final answer in one spelling; `nil` when the text ends with none.
    func answer(in text: String, for prompt: Prompt) throws(RewardError) -> String? {
        let wanted = try references(of: prompt).first.map { Self.reference($0).answer }
        let isComputed = wanted?.isComputed ?? true
        let answer = isComputed ? FinalAnswer.find(in: text)?.answer : answersInWords(text).last?.answer
        guard let answer, !answer.words.isEmpty else { return nil }
        return (wanted.map { answer.read(for: $0) } ?? answer).spelling
    }

    private func verdict(on text: String, _ reference: String) -> Verdict {
        let (wanted, whole) = Self.reference(reference)
        guard wanted.isComputed else { return verdictInWords(text, wanted) }
        if let whole {
            let verdict = verdictInWords(text, whole)
            if verdict.isRight { return verdict }
        }
        guard let final = FinalAnswer.find(in: text) else {
            return Verdict(isRight: false, note: "no final answer in the text")
        }
        let isRight = final.answer.means(wanted)
        return Verdict(isRight: isRight, note: "\(final.origin.rawValue): \(final.text.shortened(to: 80))")
    }

    /// For answers such as `Paris`, `(B)` or `x \leq 5`: the last marker, else what follows the last "answer is" or
    /// "answer:", else all of the text or its last formula.
    private func verdictInWords(_ text: String, _ wanted: MathAnswer) -> Verdict {
        let answers = answersInWords(text)
        guard let last = answers.last else { return Verdict(isRight: false, note: "no final answer in the text") }
        let right = answers.first { $0.answer.means(wanted) }
        return Verdict(isRight: right != nil, note: (right ?? last).note)
    }

    private func answersInWords(_ text: String) -> [(answer: MathAnswer, note: String)] {
        let bytes = Array(text.utf8)
        if let marked = FinalAnswer.marked(in: bytes) {
            return marked.answer.map { [($0.answer, "\($0.origin.rawValue): \($0.text)")] } ?? []
        }
        let lower = bytes.map { $0 < 0x80 && $0.isLetter ? $0 | 0x20 : $0 }
        let ends = ["answer is", "answer:"].compactMap { phrase in
            lower.lastRange(of: Array(phrase.utf8), where: { _ in true })?.upperBound
        }
        // What stands between "answer:" and the answer: line ends, emphasis.
        let start =
            ends.max().map { end in
                bytes[end...].firstIndex { !$0.isSpace && !"*_:".utf8.contains($0) } ?? bytes.count
            } ?? 0
        let said = bytes[start...].prefix { $0 != UInt8(ascii: "\n") || start == 0 }
        let answer = MathAnswer(sentence: PlainMath.bytes(of: said))
        let all = (answer, String(decoding: said, as: UTF8.self).shortened(to: 80))
        guard ends.isEmpty, let formula = FinalAnswer.lastFormulaOfAnyKind(in: bytes) else { return [all] }
        return [all, (formula.answer, "\(formula.origin.rawValue): \(formula.text.shortened(to: 80))")]
    }

    /// A reference is an answer, or a worked solution that ends with one. Of a solution in words without a marker the
    /// `whole` is right, too: it may be an answer in words after all.
    private static func reference(_ text: String) -> (answer: MathAnswer, whole: MathAnswer?) {
        if let marked = FinalAnswer.marked(in: Array(text.utf8)), let final = marked.answer {
            return (final.answer, nil)
        }
        let whole = MathAnswer(text)
        guard !whole.isComputed, let end = FinalAnswer.end(ofSolution: text) else { return (whole, nil) }
        return (end.answer, whole)
    }

    // MARK: The reference column

    private func references(of prompt: Prompt) throws(RewardError) -> [String] {
        let (name, value) = try referenceColumn(of: prompt)
        switch value {
        case .null: return []
        case .string(let text): return text.allSatisfy(\.isWhitespace) ? [] : [text]
        case .array(let elements):
            let texts = elements.compactMap(\.text)
            guard texts.count == elements.count else {
                throw .wrongColumn(name, expected: "an answer or a list of accepted answers", in: prompt)
            }
            return texts
        case .number, .bool: return value.text.map { [$0] } ?? []
        case .object: throw .wrongColumn(name, expected: "an answer or a list of accepted answers", in: prompt)
        }
    }

    private func referenceColumn(of prompt: Prompt) throws(RewardError) -> (String, JSONValue) {
        var found = (column.map { [$0] } ?? Self.usualColumns).compactMap { name in
            prompt.columns[name].map { (name, $0) }
        }
        if column == nil, let value = prompt.columns["reward_model"]?["ground_truth"] {
            found.append(("reward_model", value))
        }
        // A row of a mixture has null in the columns of the other sets.
        if let index = found.first(where: { $0.1 != .null }) ?? found.first { return index }
        throw .missingColumn(
            wanted: column.map { [$0] } ?? Self.usualColumns, found: prompt.columns.keys.sorted(), prompt: prompt.id)
    }
}
