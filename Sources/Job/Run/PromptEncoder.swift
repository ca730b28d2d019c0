package import Records
package import Tokenization

/// Turns prompts and demonstrations into the token ids the model reads.
///
/// A chat prompt goes through the model's chat template and is encoded as it comes out, without adding special tokens a
/// second time; a text prompt gets the tokenizer's own specials (a beginning-of-text token where the family has one).
package struct PromptEncoder: Sendable {
    package let tokenizer: Tokenizer
    /// Renders messages; throws where the model has no chat template.
    private let render: @Sendable ([Records.ChatMessage]) throws -> String
    /// The most tokens a prompt may have.
    package let maxPromptLength: Int

    package init(
        tokenizer: Tokenizer, maxPromptLength: Int, render: @escaping @Sendable ([Records.ChatMessage]) throws -> String
    ) {
        self.tokenizer = tokenizer
        self.maxPromptLength = maxPromptLength
        self.render = render
    }

    /// Token ids of a prompt.
    ///
    /// - Throws: ``JobError`` naming the row when it is empty, too long, or needs a chat template that is not there.
    package func encode(_ prompt: Prompt) throws -> TokenizedPrompt {
        let tokenIDs = try tokens(of: prompt)
        guard !tokenIDs.isEmpty else {
            throw JobError(place: prompt.id, message: "the prompt has no tokens; a model needs at least one to begin")
        }
        guard tokenIDs.count <= maxPromptLength else {
            throw JobError(
                place: prompt.id,
                message:
                    "the prompt has \(tokenIDs.count) tokens, the limit is \(maxPromptLength); raise max_prompt_length, "
                    + "lower max_completion_length, or set overlong_prompts: drop")
        }
        return TokenizedPrompt(prompt: prompt, tokenIDs: tokenIDs)
    }

    /// Token ids of a prompt, whatever their number.
    package func tokens(of prompt: Prompt) throws -> [Int] {
        switch prompt.content {
        case .text(let text): return tokenizer.encode(text, addSpecialTokens: true)
        case .messages(let messages):
            do {
                return tokenizer.encode(try render(messages))
            } catch {
                throw JobError(place: prompt.id, message: "\(error)")
            }
        }
    }

    /// A prompt with the completion to imitate, closed by the end-of-text token as a finished completion is.
    package func encode(demonstration completion: String, of prompt: Prompt) throws -> UpdateGroup {
        var tokenIDs = tokenizer.encode(completion)
        if let end = tokenizer.endOfTextID, tokenIDs.last != end { tokenIDs.append(end) }
        guard !tokenIDs.isEmpty else {
            throw JobError(
                place: prompt.id, message: "the completion is empty and the tokenizer has no end-of-text token")
        }
        return UpdateGroup(
            promptTokenIDs: try encode(prompt).tokenIDs, completions: [UpdateCompletion(tokenIDs: tokenIDs)])
    }
}
