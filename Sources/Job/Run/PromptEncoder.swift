internal import PromptSets
package import Records
package import Tokenization

/// Turns prompts and demonstrations into the token ids the model reads.
///
/// A chat goes through the model's chat template and is encoded as it comes out, without adding special tokens a second
/// time; so does a text that ``PromptReading`` makes a message. Any other text gets the tokenizer's own specials (a
/// beginning-of-text token where the family has one).
package struct PromptEncoder: Sendable {
    package let tokenizer: Tokenizer
    let template: ChatTemplateRenderer
    private let reading: PromptReading
    /// Tokens that end a completion.
    let stopTokenIDs: Set<Int>
    /// The most tokens a prompt may have.
    package let maxPromptLength: Int
    /// The most tokens a demonstration may have, prompt and completion together.
    package let maxLength: Int

    /// - Parameter stopTokenIDs: Tokens that end a completion; by default the tokenizer's end of text.
    package init(
        tokenizer: Tokenizer, template: ChatTemplateRenderer, maxPromptLength: Int, maxLength: Int = .max,
        reading: PromptReading = PromptReading(), stopTokenIDs: Set<Int>? = nil
    ) {
        self.tokenizer = tokenizer
        self.template = template
        self.reading = reading
        self.maxPromptLength = maxPromptLength
        self.maxLength = maxLength
        self.stopTokenIDs = stopTokenIDs ?? Set([tokenizer.endOfTextID].compactMap { $0 })
    }

    /// What the start of a run should say of the chat template, by the first prompt of its set.
    package func templateNotices(for prompt: Prompt) throws -> [String] {
        if chat(prompt) != nil {
            return ChatTemplateTrial(template: template, tokenizer: tokenizer, stopTokenIDs: stopTokenIDs).notices()
        }
        guard reading.appliesChatTemplate == nil, tokenizer.chatTemplate != nil, !prompt.text.isEmpty else { return [] }
        let read = try tokenizer.decode(tokens(of: prompt)).shortened(to: 300)
        return [
            "the model has a chat template, and the prompts are plain texts that do not go through it. The first "
                + "one as the model reads it: \(JSONText.string(read)). apply_chat_template: true makes each a "
                + "message of the user; false leaves them as they are, without this warning"
        ]
    }

    /// The messages of a prompt that goes through the chat template; `nil` for a text that is read as it is.
    private func chat(_ prompt: Prompt) -> [Records.ChatMessage]? {
        switch prompt.content {
        case .messages(let messages): messages
        case .text(let text):
            reading.appliesChatTemplate == true && !text.isEmpty ? [.init(role: "user", content: text)] : nil
        }
    }

    /// Whether a prompt is read as it is, without the chat template.
    func readsAsText(_ prompt: Prompt) -> Bool { chat(prompt) == nil }

    /// The special tokens that a row's texts spell out, in order.
    func specialTokens(spelledIn prompt: Prompt, completion: String?) -> [String] {
        texts(of: prompt, completion).flatMap { tokenizer.specialTokens(spelledIn: $0) }
    }

    /// The first character of a row's texts that the tokenizer leaves out.
    func firstLeftOut(of prompt: Prompt, completion: String?) -> String? {
        texts(of: prompt, completion).lazy.compactMap { tokenizer.firstLeftOut(of: $0) }.first
    }

    private func texts(of prompt: Prompt, _ completion: String?) -> [String] {
        let texts: [String] =
            switch prompt.content {
            case .text(let text): [text]
            case .messages(let messages): messages.flatMap(\.texts)
            }
        return texts + [completion].compactMap(\.self)
    }

    /// Token ids of a prompt in one of its forms.
    ///
    /// - Throws: ``JobError`` naming the row when it is empty, too long, or needs a chat template that is not there.
    package func encode(_ prompt: Prompt, as variant: PromptVariant = .plain) throws -> TokenizedPrompt {
        let tokenIDs = try tokens(of: prompt, as: variant)
        guard !tokenIDs.isEmpty else {
            throw JobError(place: prompt.id, message: "the prompt has no tokens; a model needs at least one to begin")
        }
        guard tokenIDs.count <= maxPromptLength else {
            throw JobError(
                place: prompt.id,
                message:
                    "the prompt has \(tokenIDs.count) tokens, and \(maxPromptLength) fit beside the completion; "
                    + "shorten it, or lower the completion's length")
        }
        return TokenizedPrompt(prompt: prompt, tokenIDs: tokenIDs, rendered: try rendered(prompt, tokenIDs))
    }

    /// What the model reads of a prompt that goes through the chat template, by its token ids; `nil` for any other.
    func rendered(_ prompt: Prompt, _ tokenIDs: [Int]) throws -> String? {
        readsAsText(prompt) ? nil : try tokenizer.decode(tokenIDs)
    }

    /// Token ids of a prompt, whatever their number.
    package func tokens(of prompt: Prompt, as variant: PromptVariant = .plain) throws -> [Int] {
        guard let messages = chat(prompt) else { return try tokens(ofText: prompt.text, variant.suffix, of: prompt) }
        let (mark, chat) = try marked(ChatInput(messages, of: prompt), of: prompt)
        do {
            return tokenizer.encode(
                try template.render(chat.messages, tools: chat.tools, with: variant.templateVariables)
                    + variant.suffix, mark: mark)
        } catch {
            throw JobError(place: prompt.id, message: "\(error)")
        }
    }

    private func tokens(ofText text: String, _ suffix: String = "", of prompt: Prompt) throws -> [Int] {
        let (mark, marked) = try marked(text, of: prompt)
        let tokenIDs = tokenizer.encode(marked + suffix, addSpecialTokens: true, mark: mark)
        if tokenIDs.count > 1, let begin = tokenizer.beginningOfTextID, tokenIDs[0] == begin, tokenIDs[1] == begin {
            throw JobError(
                place: prompt.id,
                message:
                    "the text begins with the beginning-of-text token and the tokenizer adds it again; take it "
                    + "out of the text, or give the prompt as messages")
        }
        return tokenIDs
    }

    /// A text of the user's in which special tokens are spelled only, if the job wants that, and the mark that says so.
    private func marked(_ text: String, of prompt: Prompt) throws -> (SpellingMark?, String) {
        let (mark, chat) = try marked(ChatInput([], answer: text), of: prompt)
        return (mark, chat.answer)
    }

    /// The same of all texts of a chat.
    private func marked(_ chat: ChatInput, of prompt: Prompt) throws -> (SpellingMark?, ChatInput) {
        guard reading.splitsSpecialTokens else { return (nil, chat) }
        guard let mark = SpellingMark(absentFrom: chat.texts) else {
            throw JobError(
                place: prompt.id, message: "the text holds every noncharacter from U+FDD0 to U+FDEF; it is no text")
        }
        return (mark, chat.mapTexts { tokenizer.marked($0, with: mark) })
    }

    /// A prompt with the completion to imitate, closed as a finished completion is: by the first token of the
    /// template's closing that ends one, else by the end-of-text token. Behind an empty prompt the completion is a
    /// whole text: its first token is read, and all others are learned.
    ///
    /// - Throws: ``JobError`` naming the row; also where it is longer than ``maxLength``.
    package func encode(demonstration completion: String, of prompt: Prompt) throws -> UpdateGroup {
        let (promptTokenIDs, tokenIDs) = try tokens(ofDemonstration: completion, of: prompt)
        guard promptTokenIDs.count + tokenIDs.count <= maxLength else {
            throw JobError(
                place: prompt.id,
                message:
                    "prompt and completion have \(promptTokenIDs.count + tokenIDs.count) tokens, and \(maxLength) are "
                    + "allowed (max_length, at most the model's context); overlong_prompts: drop leaves such rows out")
        }
        return UpdateGroup(promptTokenIDs: promptTokenIDs, completions: [UpdateCompletion(tokenIDs: tokenIDs)])
    }

    /// Whether a demonstration is no longer than ``maxLength``; a short text is not encoded, a token covers at least
    /// one byte.
    ///
    /// - Parameter orThrows: Whether one that is longer is an error.
    func hasRoom(for demonstration: Demonstration, orThrows: Bool) throws -> Bool {
        let bytes = demonstration.prompt.text.utf8.count + demonstration.completion.utf8.count
        if readsAsText(demonstration.prompt), bytes + FittingRows.mostSpecials <= maxLength { return true }
        if orThrows {
            _ = try encode(demonstration: demonstration.completion, of: demonstration.prompt)
            return true
        }
        let (prompt, completion) = try tokens(ofDemonstration: demonstration.completion, of: demonstration.prompt)
        return prompt.count + completion.count <= maxLength
    }

    private func tokens(
        ofDemonstration completion: String, of prompt: Prompt
    ) throws -> (prompt: [Int], completion: [Int]) {
        let messages = chat(prompt)
        let isWhole = messages == nil && prompt.text.isEmpty
        var tokenIDs = try isWhole ? tokens(ofText: completion, of: prompt) : closed(completion, messages, of: prompt)
        if messages != nil, let last = tokenIDs.lastIndex(where: stopTokenIDs.contains) {
            tokenIDs.removeSubrange((last + 1)...)  // no completion reaches what a template writes behind its end
        } else if let end = tokenizer.endOfTextID, tokenIDs.last != end {
            tokenIDs.append(end)
        }
        guard tokenIDs.count > (isWhole ? 1 : 0) else {
            throw JobError(
                place: prompt.id, message: "the completion is empty and the tokenizer has no end-of-text token")
        }
        return (try isWhole ? [tokenIDs.removeFirst()] : encode(prompt).tokenIDs, tokenIDs)
    }

    /// Token ids of a completion with what the chat template puts behind it.
    private func closed(_ completion: String, _ messages: [Records.ChatMessage]?, of prompt: Prompt) throws -> [Int] {
        guard let messages else {
            let (mark, text) = try marked(completion, of: prompt)
            return tokenizer.encode(text, mark: mark)
        }
        let (mark, chat) = try marked(ChatInput(messages, of: prompt, answer: completion), of: prompt)
        do {
            let closed = try template.continuation(of: chat.messages, with: chat.answer, tools: chat.tools)
            return tokenizer.encode(closed ?? chat.answer, mark: mark)
        } catch {
            throw JobError(place: prompt.id, message: "\(error)")
        }
    }
}
