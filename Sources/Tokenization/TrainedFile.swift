import Foundation
import JSON

/// The files of a tokenizer that was trained here.
struct TrainedFile {
    let trainer: BPETrainer
    let merging: PairMerging
    let roles: BPETrainer.Roles

    func contents() -> [String: Data] {
        var contents = [
            TokenizerFiles.tokenizer: Data(tokenizer.indented.utf8),
            TokenizerFiles.configuration: Data(configuration.indented.utf8),
            TokenizerFiles.specialTokens: Data(JSONValue.object(roleMembers).indented.utf8),
        ]
        if let template = roles.chatTemplate { contents[TokenizerFiles.template] = Data(template.utf8) }
        return contents
    }

    private var roleMembers: [JSONValue.Member] {
        [("bos_token", roles.beginningOfText), ("eos_token", roles.endOfText), ("pad_token", roles.padding)]
            .compactMap { role, token in token.map { .init(role, .string($0)) } }
    }

    private var configuration: JSONValue {
        .object(
            roleMembers + [
                .init("tokenizer_class", "PreTrainedTokenizerFast"), .init("clean_up_tokenization_spaces", false),
            ])
    }

    private var tokenizer: JSONValue {
        let texts = trainer.specialTokens + merging.tokens.map(ByteAlphabet.text(of:))
        let added = trainer.specialTokens.enumerated().map { id, token in
            JSONValue.object([
                "id": .number(id), "content": .string(token), "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            ])
        }
        return .object([
            "version": "1.0", "truncation": .null, "padding": .null, "added_tokens": .array(added), "normalizer": .null,
            "pre_tokenizer": preTokenizer, "post_processor": .null, "decoder": byteLevel(splits: true),
            "model": .object([
                "type": "BPE", "dropout": .null, "unk_token": .null, "continuing_subword_prefix": .null,
                "end_of_word_suffix": .null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": .object(texts.enumerated().map { JSONValue.Member($1, .number($0)) }),
                "merges": .array(
                    merging.merges.map { left, right in
                        [.string(ByteAlphabet.text(of: left)), .string(ByteAlphabet.text(of: right))]
                    }),
            ]),
        ])
    }

    private var preTokenizer: JSONValue {
        var parts: [JSONValue] = []
        if trainer.splitsDigits { parts.append(.object(["type": "Digits", "individual_digits": true])) }
        if trainer.splitPattern != .gpt2 {
            parts.append(
                .object([
                    "type": "Split", "pattern": .object(["Regex": .string(trainer.splitPattern.expression)]),
                    "behavior": "Isolated", "invert": false,
                ]))
        }
        parts.append(byteLevel(splits: trainer.splitPattern == .gpt2))
        return .object(["type": "Sequence", "pretokenizers": .array(parts)])
    }

    private func byteLevel(splits: Bool) -> JSONValue {
        .object(["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": .bool(splits)])
    }
}
