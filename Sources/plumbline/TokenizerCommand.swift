import ArgumentParser
import Foundation
import Job

struct TokenizerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenizer", abstract: "Train a tokenizer, or turn text into token ids and back.",
        subcommands: [TrainTokenizer.self, Encode.self, Decode.self])

    struct TrainTokenizer: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "train", abstract: "Train a byte-level BPE tokenizer on texts or prompt files.")

        @Option(
            help:
                "Text files, or prompt files (JSON Lines, a JSON array, CSV, TSV, also .gz; Parquet) whose texts are read."
        ) var input: [String]
        @Option(help: "Folder for tokenizer.json and its settings.") var output: String
        @Option(help: "Number of ids, with the 256 bytes and the special tokens.") var vocabularySize = 512
        @Option(help: "Special tokens, comma-separated; the first closes a completion.") var specialTokens =
            "<|endoftext|>"
        @Option(help: "How text is split before merging: gpt2, llama3 or qwen2.") var splitPattern = "qwen2"
        @Flag(help: "Make every digit a token of its own.") var splitDigits = false
        @Option(help: "A Jinja chat template to store with the tokenizer; name its markers in --special-tokens.")
        var chatTemplate: String?

        func run() throws {
            let tokenizer = try TokenizerTraining(
                inputs: input, vocabularySize: vocabularySize,
                specialTokens: specialTokens.split(separator: ",").map(String.init), splitPattern: splitPattern,
                splitsDigits: splitDigits, chatTemplate: chatTemplate
            ).run(output: output)
            Terminal.progress("\(output): \(tokenizer.vocabularySize) tokens")
        }
    }

    struct Encode: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Token ids of texts: JSON Lines in, JSON Lines out, in the order of the input.")

        @Option(help: "A tokenizer.json, the folder it is in, or a GGUF file.") var tokenizer: String
        @Option(help: "Lines of {\"text\": …}, or with --chat {\"messages\": […]}; - reads standard input.") var input:
            String
        @Flag(help: "Render messages with the chat template first; the text is printed with the ids.") var chat =
            false
        @Flag(inversion: .prefixedNo, help: "With --chat: end with the template's generation prompt.")
        var generationPrompt = true
        @Flag(help: "JSON Lines out (the default and only form).") var json = false

        func run() throws {
            let listing = try TokenListing(tokenizer: tokenizer, chat: chat, addsGenerationPrompt: generationPrompt)
            try listing.encode(input) { try Terminal.exact($0) }
        }
    }

    struct Decode: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Texts of token ids: lines of {\"ids\": […]}.")

        @Option(help: "A tokenizer.json, the folder it is in, or a GGUF file.") var tokenizer: String
        @Option(help: "Lines of {\"ids\": […]}; - reads standard input.") var input: String
        @Flag(help: "Leave special tokens out of the text.") var skipSpecialTokens = false

        func run() throws {
            let listing = try TokenListing(tokenizer: tokenizer, chat: false, addsGenerationPrompt: false)
            try listing.decode(input, skipsSpecials: skipSpecialTokens) { try Terminal.exact($0) }
        }
    }
}
