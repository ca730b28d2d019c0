internal import Records
internal import Runs

/// Names a prompt by what it says, the same in every run and on every machine, so that results of the same prompts find
/// each other whatever the files are called and however many rows were read.
enum PromptIdentity {
    /// The first 64 bits of SHA-256 over the text, or over roles and contents of the messages, in hexadecimal.
    static func of(_ content: PromptContent) -> String {
        var digest = SHA256()
        switch content {
        case .text(let text): digest.update(Array(text.utf8))
        case .messages(let messages):
            for message in messages { digest.update(Array("\0\(message.role)\0\(message.content)".utf8)) }
        }
        return digest.digest().prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
