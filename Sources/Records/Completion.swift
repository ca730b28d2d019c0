/// Why a completion ended.
public enum FinishReason: Sendable, Equatable, Hashable, Codable {
    /// The model sampled a stop token. It is the completion's last token and is trained.
    case stopToken
    /// A stop string appeared in the text; the text ends before it, the tokens keep it.
    case stopString(String)
    /// The length limit was reached first: the completion is truncated.
    case length

    /// The word written to files, as the field's tools write it.
    public var name: String {
        switch self {
        case .stopToken, .stopString: "stop"
        case .length: "length"
        }
    }
}

/// What the policy wrote after a prompt, as a reward sees it.
public struct Completion: Sendable, Equatable, Codable {
    /// The text without special tokens and without the stop string.
    public var text: String
    /// The text with every special token written out.
    public var textWithSpecials: String
    /// The generated token ids, the sampled stop token included.
    public var tokenIDs: [Int]
    public var finishReason: FinishReason

    public init(
        text: String, textWithSpecials: String? = nil, tokenIDs: [Int] = [], finishReason: FinishReason = .stopToken
    ) {
        self.text = text
        self.textWithSpecials = textWithSpecials ?? text
        self.tokenIDs = tokenIDs
        self.finishReason = finishReason
    }

    /// The text with the special tokens that stand within it, such as those around thinking; what stands behind its
    /// end, as the token that stopped it, is no part of it.
    package var textWithInnerSpecials: String { textWithSpecials.hasPrefix(text) ? text : textWithSpecials }

    /// Whether the length limit cut the completion off.
    public var isTruncated: Bool { finishReason == .length }
}
