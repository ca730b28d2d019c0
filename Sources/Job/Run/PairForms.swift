package import Methods
internal import PromptSets
internal import Records

/// The forms of pairs that a method learns from apart: with thinking, and behind an empty block of it.
///
/// A row names its form in a column `variant`. Pairs of one prompt are taken together.
package struct PairForms: Sendable {
    /// In the order of the parts of a batch.
    let names = [ThinkingSettings.thinkingName, ThinkingSettings.emptyName]
    private let thinking: ThinkingSettings

    package init(_ thinking: ThinkingSettings) { self.thinking = thinking }

    /// Which form a row is of.
    ///
    /// - Throws: ``JobError`` for a row that says none of them.
    func form(of prompt: Prompt) throws(JobError) -> Int {
        let found = prompt.columns["variant"]
        if case .string(let name) = found, let form = names.firstIndex(of: name) { return form }
        throw JobError(
            place: prompt.id,
            message: (found.map { "variant is \($0.yaml)" } ?? "no column `variant`")
                + "; expected \(names.joined(separator: " or ")) (plumbline pairs make writes it)")
    }

    /// Whether the thinking of both sides ends, in a form that thinks.
    func isClosed(_ pair: Preference, _ form: Int) -> Bool {
        form > 0 || pair.chosen.contains(thinking.end) && pair.rejected.contains(thinking.end)
    }

    /// Sides that think although their form has none.
    func markedSides(of pair: Preference, _ form: Int) -> Int {
        guard form > 0 else { return 0 }
        return [pair.chosen, pair.rejected].count { side in thinking.markers.contains { side.contains($0) } }
    }

    /// What the start of a run says of them.
    ///
    /// - Parameters:
    ///   - forms: Of every pair.
    ///   - marked: Sides without thinking that have a marker of it.
    func lines(_ slots: [[Int?]], _ forms: [Int], marked: Int) -> [String] {
        let counts = names.indices.map { form in forms.count { $0 == form } }
        let halves = slots.count { $0.contains(nil) }
        var lines = [
            "pairs: \(counts[0]) \(names[0]), \(counts[1]) \(names[1]), of \(slots.count) prompts"
                + (halves > 0 ? ", \(halves) of which have one of the two" : "")
        ]
        if marked > 0 {
            let share = 100 * Double(marked) / Double(2 * max(counts[1], 1))
            lines.append(
                "note: \(marked) of \(2 * counts[1]) \(names[1]) answers (\(Int(share.rounded())) %) hold a marker "
                    + "of thinking: it was not suppressed when they were sampled"
            )
        }
        return lines
    }

    /// - Throws: ``JobError`` where a form has no pair at all.
    func requireEach(_ forms: [Int], set: String) throws(JobError) {
        for (form, name) in names.enumerated() where !forms.contains(form) {
            throw JobError(
                place: "prompt set \(set)",
                message:
                    "no pair with variant \(name) is left; bvpo learns from \(names.joined(separator: " and ")) "
                    + "ones, algorithm: dpo from either"
            )
        }
    }
}
