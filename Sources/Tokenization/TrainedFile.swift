import Foundation

/// The files of a tokenizer that was trained here.
struct TrainedFile {
    let trainer: BPETrainer
    let merging: PairMerging
    let roles: BPETrainer.Roles

    func contents() -> [String: Data] {
        var contents = [
            TokenizerFiles.tokenizer: Data(tokenizer.utf8),
            TokenizerFiles.configuration: Data(configuration.utf8),
            TokenizerFiles.specialTokens: Data((object(roleMembers) + "\n").utf8),
        ]
        if let template = roles.chatTemplate { contents[TokenizerFiles.template] = Data(template.utf8) }
        return contents
    }

    private var roleMembers: [(String, String)] {
        [("bos_token", roles.beginningOfText), ("eos_token", roles.endOfText), ("pad_token", roles.padding)]
            .compactMap { role, token in token.map { (role, quoted($0)) } }
    }

    private var configuration: String {
        let fixed = [
            ("tokenizer_class", quoted("PreTrainedTokenizerFast")), ("clean_up_tokenization_spaces", "false"),
        ]
        return object(roleMembers + fixed) + "\n"
    }

    private var tokenizer: String {
        let texts = trainer.specialTokens + merging.tokens.map(ByteAlphabet.text(of:))
        let vocabulary = texts.enumerated().map { "\(quoted($1)):\($0)" }.joined(separator: ",\n      ")
        let merges = merging.merges.map { left, right in
            "[\(quoted(ByteAlphabet.text(of: left))),\(quoted(ByteAlphabet.text(of: right)))]"
        }.joined(separator: ",\n      ")
        let added = trainer.specialTokens.enumerated().map { id, token in
            object([
                ("id", "\(id)"), ("content", quoted(token)), ("single_word", "false"), ("lstrip", "false"),
                ("rstrip", "false"), ("normalized", "false"), ("special", "true"),
            ])
        }.joined(separator: ",\n    ")
        return """
            {
              "version": "1.0",
              "truncation": null,
              "padding": null,
              "added_tokens": [\(added)],
              "normalizer": null,
              "pre_tokenizer": \(preTokenizer),
              "post_processor": null,
              "decoder": \(byteLevel(splits: true)),
              "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": {\(vocabulary)},
                "merges": [\(merges)]
              }
            }

            """
    }

    private var preTokenizer: String {
        var parts: [String] = []
        if trainer.splitsDigits { parts.append(object([("type", quoted("Digits")), ("individual_digits", "true")])) }
        if trainer.splitPattern != .gpt2 {
            parts.append(
                object([
                    ("type", quoted("Split")),
                    ("pattern", object([("Regex", quoted(trainer.splitPattern.expression))])),
                    ("behavior", quoted("Isolated")), ("invert", "false"),
                ]))
        }
        parts.append(byteLevel(splits: trainer.splitPattern == .gpt2))
        return object([("type", quoted("Sequence")), ("pretokenizers", "[\(parts.joined(separator: ","))]")])
    }

    private func byteLevel(splits: Bool) -> String {
        object([
            ("type", quoted("ByteLevel")), ("add_prefix_space", "false"), ("trim_offsets", "false"),
            ("use_regex", "\(splits)"),
        ])
    }

    private func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\(quoted($0)):\($1)" }.joined(separator: ",") + "}"
    }

    private func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\u{0}"..<" ":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
