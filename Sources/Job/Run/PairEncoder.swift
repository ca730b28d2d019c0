internal import Foundation
package import PromptSets
package import Records
internal import Tokenization

/// A preference as token ids.
package struct EncodedPair: Sendable, Equatable {
    package var prompt: [Int]
    package var chosen: [Int]
    package var rejected: [Int]

    /// As a group: the chosen completion first.
    package var group: UpdateGroup {
        UpdateGroup(
            promptTokenIDs: prompt,
            completions: [UpdateCompletion(tokenIDs: chosen), UpdateCompletion(tokenIDs: rejected)])
    }
}

extension PromptEncoder {
    /// A preference as the model reads it. A row may bring, beside its prompt, `chat_template_kwargs` as in TRL, and
    /// `prompt_suffix`, a text behind the rendered prompt that is read and not trained (an empty block of thinking).
    ///
    /// As in TRL, prompt and completion are encoded together and the completion begins where that differs from the
    /// prompt alone: tokens may merge across the border. Both sides end with the token that ends a completion. Departs
    /// from TRL: what a template writes behind that token is left out, and an answer that the template would rewrite
    /// stands as it is given.
    ///
    /// - Throws: ``JobError`` naming the row.
    package func encode(_ pair: Preference) throws -> EncodedPair {
        let variant = try PromptVariant(ofRow: pair.prompt)
        let prompt = try tokens(of: pair.prompt, as: variant)
        let sides = try [pair.chosen, pair.rejected].map { try whole(pair.prompt, variant, with: $0) }
        let shared = sides.map { zip(prompt, $0).prefix { $0 == $1 }.count }.min() ?? 0
        // Without a token of the prompt left there is nothing to begin from: then each is encoded for itself.
        guard shared > 0 else {
            let ends = sides.map { $0.suffix(1) }
            let own = zip([pair.chosen, pair.rejected], ends).map { tokenizer.encode($0) + $1 }
            return EncodedPair(prompt: prompt, chosen: own[0], rejected: own[1])
        }
        return EncodedPair(
            prompt: Array(prompt[..<shared]), chosen: Array(sides[0][shared...]), rejected: Array(sides[1][shared...]))
    }

    /// Token ids of a prompt with a completion, up to and with the token that ends it.
    private func whole(_ prompt: Prompt, _ variant: PromptVariant, with answer: String) throws -> [Int] {
        guard case .messages(let messages) = prompt.content else {
            var text = prompt
            text.content = .text(prompt.text + variant.suffix + answer)
            let ids = try tokens(of: text)
            guard let end = tokenizer.endOfTextID, ids.last != end else { return ids }
            return ids + [end]
        }
        do {
            let tools = try prompt.tools()
            let opening =
                try template.render(messages, tools: tools, with: variant.templateVariables) + variant.suffix
            let closed = try template.continuation(
                of: messages, with: answer, tools: tools, variables: variant.templateVariables)
            let closing = closed.map { tokenizer.encode($0) } ?? []
            let end = closing.last(where: stopTokenIDs.contains) ?? tokenizer.endOfTextID
            // A template that adds to an answer is followed, one that takes from it is not; behind a suffix nothing is
            // added.
            if variant.suffix.isEmpty, let closed, closed.contains(answer) {
                let ids = tokenizer.encode(opening + closed)
                if let end, let last = ids.lastIndex(of: end), ids.count - last <= closing.count {
                    return Array(ids[...last])
                }
                return ids + [end].compactMap { $0 }
            }
            return tokenizer.encode(opening + answer) + [end].compactMap { $0 }
        } catch {
            throw JobError(place: prompt.id, message: "\(error)")
        }
    }
}

extension PromptVariant {
    /// The form in which a row asks for its prompt to be read.
    ///
    /// - Throws: ``JobError`` for a column of another kind.
    init(ofRow prompt: Prompt) throws(JobError) {
        self = .plain
        switch prompt.columns["chat_template_kwargs"] {
        case let variables? where variables.dictionary != nil: templateVariables = variables.dictionary ?? [:]
        case nil, .null: break
        case let other?:
            throw JobError(
                place: "\(prompt.id), column chat_template_kwargs", message: "\(other.kind); expected variables by name"
            )
        }
        switch prompt.columns["prompt_suffix"] {
        case .string(let text): suffix = text
        case nil, .null: break
        case let other?:
            throw JobError(place: "\(prompt.id), column prompt_suffix", message: "\(other.kind); expected a text")
        }
    }
}
