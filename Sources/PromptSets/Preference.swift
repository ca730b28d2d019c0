package import Records

/// A prompt with two completions of which one was preferred.
package struct Preference: Sendable, Equatable {
    package let prompt: Prompt
    package let chosen: String
    package let rejected: String

    package init(prompt: Prompt, chosen: String, rejected: String) {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
    }

    /// Whether there is nothing to prefer.
    package var hasEqualSides: Bool { chosen == rejected }
}

/// The columns of a row of preferences, in TRL's forms.
///
///     explicit    {"prompt": "2+2?", "chosen": " 4", "rejected": " 5"}
///     implicit    {"chosen": "2+2? 4", "rejected": "2+2? 5"}                        the prompt is what both begin with
///     as chats    {"prompt": [user], "chosen": [assistant], "rejected": [assistant]}, or implicit too
///
/// A prompt given as text beside chats is left aside, as in TRL: the chats bring it. Chats that repeat the prompt's
/// messages are cut behind them.
struct PreferenceDecoder {
    let row: RowDecoder
    let chosenColumn: String
    let rejectedColumn: String

    /// - Throws: ``PromptSetError`` for a missing column, sides of two kinds, a side that is not one answer, or sides
    ///   that share no prompt.
    func preference() throws(PromptSetError) -> Preference {
        let chosen = try row.side(chosenColumn)
        let rejected = try row.side(rejectedColumn)
        let given = row.form.hasImplicitPrompt ? nil : try row.promptContent()
        switch (chosen, rejected) {
        case (.text(let chosen), .text(let rejected)):
            if let given { return try made(given, chosen, rejected) }
            let count = Self.sharedScalars(chosen, rejected)
            let prompt = String(String.UnicodeScalarView(chosen.unicodeScalars.prefix(count)))
            guard !prompt.allSatisfy(\.isWhitespace) else { throw noPrompt }
            return try made(
                .text(prompt), String(String.UnicodeScalarView(chosen.unicodeScalars.dropFirst(count))),
                String(String.UnicodeScalarView(rejected.unicodeScalars.dropFirst(count))))
        case (.messages(let chosen), .messages(let rejected)):
            var prompt: [ChatMessage]
            var repeated: Int  // messages of the prompt that the sides begin with
            switch given {
            case .messages(let messages):
                prompt = messages
                let isRepeated = [chosen, rejected].allSatisfy { $0.starts(with: prompt, by: Self.saysTheSame) }
                repeated = isRepeated ? prompt.count : 0
            case .text(let text):
                (prompt, repeated) = ([ChatMessage(role: "user", content: text)], 0)
            case nil:
                prompt = zip(chosen, rejected).prefix(while: Self.saysTheSame).map(\.0)
                if prompt.last?.role == "assistant" { prompt.removeLast() }  // equal sides: an answer is no part of it
                repeated = prompt.count
            }
            guard !prompt.isEmpty else { throw noPrompt }
            return try made(
                .messages(prompt), answer(chosen.dropFirst(repeated), chosenColumn),
                answer(rejected.dropFirst(repeated), rejectedColumn))
        case (.text, .messages), (.messages, .text):
            throw row.failure(
                rejectedColumn, "one of `\(chosenColumn)` and `\(rejectedColumn)` is a text, the other a chat")
        }
    }

    private func made(
        _ content: PromptContent, _ chosen: String, _ rejected: String
    ) throws(PromptSetError) -> Preference {
        Preference(prompt: try row.prompt(content), chosen: chosen, rejected: rejected)
    }

    private func answer(_ messages: ArraySlice<ChatMessage>, _ column: String) throws(PromptSetError) -> String {
        guard messages.count == 1, let answer = messages.first, answer.role == "assistant" else {
            let roles = messages.map(\.role).joined(separator: ", ")
            throw row.failure(
                column,
                "behind the prompt \(messages.isEmpty ? "no message" : "messages of \(roles)"); exactly one, of the "
                    + "assistant, is expected"
            )
        }
        return try row.answer(answer, column)
    }

    /// Whether two messages are one, whatever else is noted with them, such as a score.
    private static func saysTheSame(_ one: ChatMessage, _ other: ChatMessage) -> Bool {
        one.role == other.role && one.content == other.content
    }

    private var noPrompt: PromptSetError {
        row.failure(
            nil,
            "`\(chosenColumn)` and `\(rejectedColumn)` begin with nothing in common that could be the prompt; give "
                + "it in a column `prompt`"
        )
    }

    /// Unicode scalars that both texts begin with; a space before the first difference belongs to the answers, as in
    /// TRL.
    static func sharedScalars(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a.unicodeScalars), Array(b.unicodeScalars))
        var count = zip(a, b).prefix { $0 == $1 }.count
        if count > 0, count < min(a.count, b.count), a[count - 1] == " " { count -= 1 }
        return count
    }
}
