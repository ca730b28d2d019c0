import Foundation
import TestSupport
import Testing
import Tokenization

@Suite("Tokenizer folder, ids, save")
struct TokenizerTests {
    private func withFolder(_ files: [String: String], _ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumbline-tokenizer-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Reference.tokenizerJSON("qwen2").write(to: folder.appendingPathComponent("tokenizer.json"))
        for (name, text) in files { try Data(text.utf8).write(to: folder.appendingPathComponent(name)) }
        try body(folder)
    }

    /// Of the two files the map has the last word, as in `transformers`.
    @Test func rolesComeFromTheConfigurationAndTheMap() throws {
        let files = [
            "tokenizer_config.json":
                #"{"eos_token":{"content":"<|end|>","special":true},"pad_token":"<pad>","bos_token":null}"#,
            "special_tokens_map.json": #"{"eos_token":"<|im_end|>","bos_token":"<|im_start|>"}"#,
        ]
        try withFolder(files) { folder in
            let tokenizer = try Tokenizer(folder: folder)
            #expect(tokenizer.endOfTextID == tokenizer.id(of: "<|im_end|>"))
            #expect(tokenizer.beginningOfTextID == tokenizer.id(of: "<|im_start|>"))
            #expect(tokenizer.paddingID == tokenizer.id(of: "<pad>"))
            #expect(tokenizer.chatTemplate == nil)
        }
    }

    /// As in `transformers`, where the map is of folders that are older than `added_tokens_decoder`.
    @Test func besideAddedTokensDecoderTheMapSaysNothing() throws {
        let files = [
            "tokenizer_config.json": #"{"eos_token":"<|end|>","added_tokens_decoder":{}}"#,
            "special_tokens_map.json": #"{"eos_token":"<|im_end|>","bos_token":"<|im_start|>"}"#,
        ]
        try withFolder(files) { folder in
            let tokenizer = try Tokenizer(folder: folder)
            #expect(tokenizer.endOfTextID == tokenizer.id(of: "<|end|>"))
            #expect(tokenizer.beginningOfTextID == nil && tokenizer.specialTokenTexts == ["eos_token": "<|end|>"])
        }
    }

    @Test func templateFileWinsOverTheConfiguration() throws {
        let named = #"{"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]}"#
        try withFolder(["tokenizer_config.json": named]) { folder in
            let tokenizer = try Tokenizer(folder: folder)
            #expect(tokenizer.chatTemplate == "D" && tokenizer.toolChatTemplate == "T")
        }
        try withFolder(["tokenizer_config.json": named, "chat_template.jinja": "J"]) { folder in
            let tokenizer = try Tokenizer(folder: folder)
            #expect(tokenizer.chatTemplate == "J" && tokenizer.toolChatTemplate == nil)
        }
    }

    @Test func theTemplateOfToolsIsReadAndSaved() throws {
        try withFolder(["chat_template.jinja": "J"]) { folder in
            let more = folder.appendingPathComponent("additional_chat_templates")
            try FileManager.default.createDirectory(at: more, withIntermediateDirectories: true)
            try Data("U".utf8).write(to: more.appendingPathComponent("tool_use.jinja"))
            let copy = folder.appendingPathComponent("copy")
            try Tokenizer(folder: folder).save(to: copy)
            let saved = try Tokenizer(folder: copy)
            #expect(saved.chatTemplate == "J" && saved.toolChatTemplate == "U")
            let entries = try GGUFVocabulary(saved, rows: saved.vocabularySize, endIDs: []).entries
            let found = Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
            #expect(found["tokenizer.chat_template"] == .string("J"))
            #expect(found["tokenizer.chat_template.tool_use"] == .string("U"))
            #expect(found["tokenizer.chat_templates"] == .strings(["tool_use"]))
        }
    }

    @Test func savedFilesAreTheBytesThatWereRead() throws {
        let files = [
            "tokenizer_config.json": "{ \"eos_token\" : \"<|end|>\"}\n\n", "chat_template.jinja": "{{ x }}\n",
            "generation_config.json": "{}",
        ]
        try withFolder(files) { folder in
            let copy = folder.appendingPathComponent("copy/deep")
            try Tokenizer(folder: folder).save(to: copy)
            for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
                let saved = try Data(contentsOf: copy.appendingPathComponent(name))
                #expect(saved == (try Data(contentsOf: folder.appendingPathComponent(name))))
            }
            let names = try FileManager.default.contentsOfDirectory(atPath: copy.path)
            #expect(names.sorted() == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"])
        }
    }

    /// Vocabularies of a and b, over bytes and over characters: alone, with an unknown token, with a token for each byte.
    @Test func aCharacterThatIsLeftOutIsNamed() throws {
        let bytes = #""pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#
        let characters = #""pre_tokenizer":null"#
        let unknown = #","unk_token":"b""#
        let fallback = (0..<256).map { #","<0x\#(String(format: "%02X", $0))>":\#($0 + 2)"# }.joined()
        func check(
            _ part: String, _ settings: String = "", vocabulary more: String = "", leavesOut: String?, _ ids: [Int]
        ) throws {
            let json = #"{\#(part),"model":{"type":"BPE","vocab":{"a":0,"b":1\#(more)},"merges":[]\#(settings)}}"#
            let tokenizer = try Tokenizer(json: Data(json.utf8))
            #expect(tokenizer.encode("aéb") == ids)
            #expect(tokenizer.firstLeftOut(of: "aéb") == leavesOut)
            #expect(tokenizer.firstLeftOut(of: "ab") == nil)
        }
        try check(bytes, leavesOut: "é", [0, 1])
        try check(bytes, unknown, leavesOut: nil, [0, 1, 1, 1])
        try check(characters, leavesOut: "é", [0, 1])
        try check(characters, unknown, leavesOut: nil, [0, 1, 1])
        try check(
            characters, #","byte_fallback":true"#, vocabulary: fallback, leavesOut: nil, [0, 0xC3 + 2, 0xA9 + 2, 1])
    }

    /// transformers 4.57 takes the configuration's where ByteLevel is alone, 5.24 in the classes that make it anew; where
    /// the two files say the same all of them give these ids.
    @Test(
        arguments: [
            // ByteLevel's, whether a step stands before it, tokenizer_config.json, what the space comes to
            (true, false, "", [0x20, 0x61]), (true, false, #"{"add_prefix_space":true}"#, [0x20, 0x61]),
            (true, false, "{}", nil), (true, false, #"{"add_prefix_space":false}"#, nil),
            (false, false, "{}", [0x61]), (false, false, #"{"add_prefix_space":true}"#, nil),
            (true, true, #"{"tokenizer_class":"PreTrainedTokenizerFast"}"#, [0x20, 0x61]),
            (true, true, #"{"tokenizer_class":"Qwen2Tokenizer"}"#, nil),
            (true, true, #"{"tokenizer_class":"Qwen2TokenizerFast","add_prefix_space":true}"#, [0x20, 0x61]),
            (false, true, #"{"tokenizer_class":"Qwen2Tokenizer","add_prefix_space":false}"#, [0x61]),
        ] as [(Bool, Bool, String, [Int]?)])
    func aSpaceBeforeATextIsThatOfBothFiles(
        _ adds: Bool, _ isSecond: Bool, _ configuration: String, _ ids: [Int]?
    ) throws {
        let level = #"{"type":"ByteLevel","add_prefix_space":\#(adds)}"#
        let digits = #"{"type":"Digits","individual_digits":true}"#
        let sequence = #"{"type":"Sequence","pretokenizers":[\#(digits),\#(level)]}"#
        let json = Self.bytesOnly.replacing(
            #"{"type":"ByteLevel","add_prefix_space":false}"#, with: isSecond ? sequence : level)
        let files = ["tokenizer.json": json, "tokenizer_config.json": configuration].filter { !$0.value.isEmpty }
        try withFolder(files) { folder in
            if let ids {
                let tokenizer = try Tokenizer(folder: folder)
                #expect(tokenizer.encode("a") == ids)
                return
            }
            let error = #expect(throws: TokenizerError.self) { try Tokenizer(folder: folder) }
            #expect(error?.key == "add_prefix_space" && error?.file.hasSuffix("/tokenizer_config.json") == true)
            #expect(error?.expected.hasPrefix("\(adds), as the ByteLevel") == true, "\(String(describing: error))")
        }
    }

    @Test func aMissingFolderIsNamed() throws {
        let error = #expect(throws: TokenizerError.self) {
            try Tokenizer(folder: URL(fileURLWithPath: "/nowhere/at/all"))
        }
        #expect(error?.file == "/nowhere/at/all/tokenizer.json")
    }

    @Test func aRoleThatIsNoTokenIsNamed() throws {
        try withFolder(["tokenizer_config.json": #"{"eos_token":"</s>"}"#]) { folder in
            let error = #expect(throws: TokenizerError.self) { try Tokenizer(folder: folder) }
            #expect(error?.key == "eos_token")
            #expect(error?.found == "\"</s>\"")
        }
    }

    @Test func idsOutsideTheVocabularyAreErrors() throws {
        let tokenizer = try Reference.tokenizer("gpt2")
        for id in [-1, tokenizer.vocabularySize, Int.max, Int.min] {
            let error = #expect(throws: TokenizerError.self) { try tokenizer.decode([0, id]) }
            #expect(error?.found == "\(id)")
            #expect(tokenizer.token(of: id) == nil)
        }
        #expect(try tokenizer.decode([tokenizer.vocabularySize - 1]).isEmpty == false)
    }

    @Test func tokensAndIDsAreInverse() throws {
        let tokenizer = try Reference.tokenizer("metaspace")
        for id in 0..<tokenizer.vocabularySize {
            let token = try #require(tokenizer.token(of: id))
            #expect(tokenizer.id(of: token) == id)
        }
    }

    /// "日" is E6 97 A5: two bytes give nothing, the third the character; two bytes and the end give U+FFFD.
    @Test func incrementalDecodingNeverSplitsACharacter() throws {
        let tokenizer = try Tokenizer(json: Data(Self.bytesOnly.utf8))
        var decoder = IncrementalDecoder(tokenizer)
        #expect(try Self.feed([0xE6, 0x97, 0xA5, 0x61], &decoder) == ["", "", "日", "a"])
        #expect(try Self.feed([0xE6, 0x97], &decoder) == ["", ""])
        #expect(decoder.finish() == "\u{FFFD}")
        #expect(decoder.finish() == "")
        #expect(try Self.feed([0xF0, 0x41], &decoder) == ["", "\u{FFFD}A"])
        #expect(try tokenizer.decode([0xED, 0xA0, 0x80]) == "\u{FFFD}\u{FFFD}\u{FFFD}")
    }

    private static func feed(_ ids: [Int], _ decoder: inout IncrementalDecoder) throws -> [String] {
        var pieces: [String] = []
        for id in ids { pieces.append(try decoder.feed(id)) }
        return pieces
    }

    /// A vocabulary of the 256 bytes, id = byte.
    static let bytesOnly: String = {
        var next: UInt32 = 0x100
        let members = (0..<256).map { byte -> String in
            let shown = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
            let point = shown ? UInt32(byte) : next
            if !shown { next += 1 }
            let digits = String(point, radix: 16)
            return "\"\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)\":\(byte)"
        }
        return """
            {"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"},
             "model":{"type":"BPE","vocab":{\(members.joined(separator: ","))},"merges":[]}}
            """
    }()
}

@Suite("Stop strings")
struct StopStringMatcherTests {
    @Test func textBeforeTheStopIsGivenAndTheRestCut() {
        var matcher = StopStringMatcher(["###", "\nUser:"])
        #expect(matcher.feed("answer #") == .init(text: "answer ", matched: nil))
        #expect(matcher.feed("#1 and") == .init(text: "##1 and", matched: nil))
        #expect(matcher.feed("\nUse") == .init(text: "", matched: nil))
        #expect(matcher.feed("r: more") == .init(text: "", matched: "\nUser:"))
    }

    @Test func whatIsHeldComesOutAtTheEnd() {
        var matcher = StopStringMatcher(["</answer>"])
        #expect(matcher.feed("x</ans").text == "x")
        #expect(matcher.finish() == "</ans")
        #expect(matcher.finish() == "")
    }

    @Test func noStopStringsHoldNothing() {
        var matcher = StopStringMatcher([""])
        #expect(matcher.feed("abc") == .init(text: "abc", matched: nil))
    }

    @Test func ofStopsThatEndTogetherTheLongestCounts() {
        var matcher = StopStringMatcher(["b", "ab"])
        #expect(matcher.feed("xab") == .init(text: "x", matched: "ab"))
    }

    /// The expected cut is found by looking at every prefix of the whole text.
    @Test func theCutDoesNotDependOnThePieces() {
        var source = TestRandom(seed: 8)
        for _ in 0..<3_000 {
            let stops = (0..<Int.random(in: 1...3, using: &source)).map { _ in Self.text(1...4, &source) }
            let text = Self.text(0...30, &source)
            let expected = Self.cut(text, stops)
            var matcher = StopStringMatcher(stops)
            var given = ""
            var matched: String?
            var rest = text[...]
            while !rest.isEmpty, matched == nil {
                let piece = rest.prefix(Int.random(in: 1...5, using: &source))
                rest = rest.dropFirst(piece.count)
                let outcome = matcher.feed(String(piece))
                given += outcome.text
                matched = outcome.matched
            }
            if matched == nil { given += matcher.finish() }
            #expect(given == expected.text && matched == expected.matched, "\(stops) in \(text)")
        }
    }

    private static func text(_ counts: ClosedRange<Int>, _ source: inout TestRandom) -> String {
        String((0..<Int.random(in: counts, using: &source)).map { _ in "aabé日".randomElement(using: &source) ?? "a" })
    }

    private static func cut(_ text: String, _ stops: [String]) -> (text: String, matched: String?) {
        for length in 0...text.count {
            let start = text.prefix(length)
            let ending = stops.filter { start.hasSuffix($0) }.max { $0.utf8.count < $1.utf8.count }
            if let ending { return (String(start.dropLast(ending.count)), ending) }
        }
        return (text, nil)
    }
}
