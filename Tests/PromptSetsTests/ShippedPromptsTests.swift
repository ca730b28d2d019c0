import Foundation
import PromptSets
import Records
import Runs
import TestSupport
import Testing

/// The files under `prompts/` are what their READMEs say: right, apart from each other, and made by the script beside
/// them.
@Suite("Shipped prompt sets")
struct ShippedPromptsTests {
    private static let prompts = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "prompts")

    private static func rows(_ folder: String, _ split: String) throws -> [Demonstration] {
        let set = try PromptSet(prompts.appending(path: folder), split: split)
        #expect(set.problems(asDemonstrations: true).isEmpty)
        return try (0..<set.count).map { try set.demonstration(at: $0) }
    }

    // MARK: - Arithmetic

    /// `12+7=` worked out.
    private func sum(_ prompt: String) throws -> Int {
        let match = try #require(prompt.wholeMatch(of: /(\d{1,2})([+-])(\d{1,2})=/), "\(prompt)")
        let (left, right) = (try #require(Int(match.1)), try #require(Int(match.3)))
        return match.2 == "+" ? left + right : left - right
    }

    @Test(arguments: [("train", 4000), ("eval", 400), ("demonstrations", 4800)])
    func arithmeticAnswersAreRight(_ split: String, _ count: Int) throws {
        let rows = try Self.rows("arithmetic", split)
        #expect(rows.count == count)
        for row in rows {
            let right = try sum(row.prompt.text)
            #expect(right >= 0 && row.prompt.columns["answer"] == .string(String(right)), "\(row)")
            let isCorrect = row.prompt.columns["correct"] != .bool(false)
            #expect((row.completion == String(right)) == isCorrect, "\(row)")
            #expect(Int(row.completion) != nil)
        }
    }

    @Test func arithmeticSplitsShareNoProblem() throws {
        let train = try Self.rows("arithmetic", "train").map(\.prompt.text)
        let evaluation = try Self.rows("arithmetic", "eval").map(\.prompt.text)
        let demonstrations = try Self.rows("arithmetic", "demonstrations").map(\.prompt.text)
        #expect(Set(train).count == 4000 && Set(evaluation).count == 400)
        #expect(Set(train).isDisjoint(with: evaluation))
        #expect(Set(demonstrations) == Set(train))
    }

    /// `8+9=17,4+1+1=6` holds line by line, and comes to 67: six tens and the ones of 17.
    private func result(of working: Substring) throws -> Int? {
        let lines = try working.split(separator: ",").map { line in
            let match = try #require(line.wholeMatch(of: /(\d+)([+-])(\d+)(?:\+(\d))?=(\d+)/), "\(line)")
            let (left, right) = (try #require(Int(match.1)), try #require(Int(match.3)))
            let carried = match.4.flatMap { Int($0) } ?? 0
            let sum = match.2 == "+" ? left + right + carried : left - right
            return (isRight: sum == Int(match.5), value: try #require(Int(match.5)))
        }
        guard lines.count == 2, lines.allSatisfy(\.isRight) else { return nil }
        return lines[1].value * 10 + lines[0].value % 10
    }

    @Test func tracesAreWorkedOutOrHaveASlip() throws {
        let rows = try Self.rows("arithmetic", "traces")
        let thinking = rows.filter { !$0.prompt.text.hasSuffix("<think></think>") }
        let empty = rows.filter { $0.prompt.text.hasSuffix("<think></think>") }
        func problems(_ rows: [Demonstration]) -> Set<String> {
            Set(rows.map { $0.prompt.text.replacing("<think></think>", with: "") })
        }
        #expect(thinking.count == 1800 && empty.count == 1800)
        #expect(problems(thinking).count == 1800 && problems(thinking) == problems(empty))
        #expect(problems(thinking).isSubset(of: Set(try Self.rows("arithmetic", "train").map(\.prompt.text))))
        for kind in [thinking, empty] { #expect(kind.count { $0.prompt.columns["correct"] == .bool(false) } == 720) }
        for row in empty {
            let right = try sum(row.prompt.text.replacing("<think></think>", with: ""))
            #expect(row.prompt.columns["answer"] == .string(String(right)))
            #expect((Int(row.completion) == right) == (row.prompt.columns["correct"] == .bool(true)))
        }
        for row in thinking {
            let right = try sum(row.prompt.text)
            let match = try #require(row.completion.wholeMatch(of: /<think>(.+)<\/think>(\d+)/), "\(row.completion)")
            #expect(row.prompt.columns["answer"] == .string(String(right)))
            let isCorrect = row.prompt.columns["correct"] == .bool(true)
            #expect((Int(match.2) == right) == isCorrect)
            if isCorrect { #expect(try result(of: match.1) == right, "\(row.completion)") }
        }
    }

    /// The value and the numbers of an expression such as `3*2+7`, without brackets.
    private func value(_ expression: String) throws -> (Int, [Int]) {
        #expect(expression.wholeMatch(of: /\d{1,2}([+*-]\d{1,2}){2}/) != nil, "\(expression)")
        var total = 0
        for term in expression.replacing("-", with: "+-").split(separator: "+") {
            let sign = term.hasPrefix("-") ? -1 : 1
            total += try term.drop { $0 == "-" }.split(separator: "*").reduce(sign) { try $0 * #require(Int($1)) }
        }
        return (total, try expression.split { "+-*".contains($0) }.map { try #require(Int($0)) })
    }

    @Test func theWorkedValueIsRight() throws {
        #expect(try value("3*2+7") == (13, [3, 2, 7]))
        #expect(try value("10-4*2") == (2, [10, 4, 2]))
        #expect(try value("1-2-3") == (-4, [1, 2, 3]))
    }

    private func numbers(_ row: Demonstration) throws -> [Int] {
        try #require(row.prompt.columns["numbers"]?.elements).map { Int(try #require($0.number)) }
    }

    @Test(arguments: [("train", 3000), ("eval", 320), ("demonstrations", 3300), ("few", 200), ("validation", 160)])
    func countdownCompletionsAreRight(_ split: String, _ count: Int) throws {
        let rows = try Self.rows("countdown", split)
        #expect(rows.count == count)
        for row in rows {
            let numbers = try numbers(row)
            let target = Int(try #require(row.prompt.columns["target"]?.number))
            let listed = numbers.map(String.init).joined(separator: " ")
            #expect(row.prompt.text == "numbers \(listed) target \(target): ")
            let (reached, used) = try value(row.completion)
            #expect(used.sorted() == numbers.sorted(), "\(row)")
            #expect((reached == target) == (row.prompt.columns["correct"] != .bool(false)), "\(row)")
        }
    }

    @Test func countdownSplitsShareNoProblemInAnyOrder() throws {
        func problems(_ split: String) throws -> [String] {
            try Self.rows("countdown", split).map { row in
                "\(try numbers(row).sorted()) \(row.prompt.columns["target"]?.text ?? "")"
            }
        }
        let train = try problems("train")
        let evaluation = try problems("eval")
        #expect(Set(train).count == 3000 && Set(evaluation).count == 320)
        #expect(Set(train).isDisjoint(with: evaluation))
        #expect(Set(try problems("demonstrations")) == Set(train))
        #expect(try problems("few") == Array(train.prefix(200)))
        let validation = try problems("validation")
        #expect(Set(validation).count == 160 && Set(validation).isDisjoint(with: train + evaluation))
    }

    // MARK: - Instructions

    /// Whether a text keeps a rule, written down a second time: the reward and make.py have their own.
    private func keeps(_ rule: String, _ argument: String, _ text: String) throws -> Bool {
        let pattern: Regex<AnyRegexOutput> =
            switch rule {
            case "upper_case": try Regex("[A-Z .,!?\"]*[A-Z][A-Z .,!?\"]*")
            case "lower_case": try Regex("[a-z .,!?\"]*[a-z][a-z .,!?\"]*")
            case "word_count": try Regex("\\S+( \\S+){\(#require(Int(argument)) - 1)}")
            case "ends_with": try Regex(".*[a-zA-Z].*\\\(argument)")
            case "without_letter": try Regex("[^\(argument)\(argument.uppercased())]+")
            case "list_of": try Regex("[^,]+(,[^,]+){\(#require(Int(argument)) - 1)}")
            case "quoted": try Regex("\"[^\"]+\"")
            default:
                try Regex(
                    Array(
                        repeating: #require(argument.split(separator: " ").last),
                        count: #require(Int(argument.prefix(1)))
                    )
                    .joined(separator: " "))
            }
        return text.wholeMatch(of: pattern) != nil
    }

    private func instructions(_ split: String) throws -> PromptSet {
        try PromptSet(Self.prompts.appending(path: "instructions"), split: split)
    }

    @Test func instructionsHaveARuleEachAndShareNoTask() throws {
        var rules: [String: [String: Int]] = [:]
        var messages: [String: Set<String>] = [:]
        var tasks: [String: Set<String>] = [:]
        for (split, count) in [("train", 1240), ("eval", 320), ("demonstrations", 2000)] {
            let set = try instructions(split)
            #expect(set.count == count && set.problems(asDemonstrations: split == "demonstrations").isEmpty)
            for row in 0..<set.count {
                let prompt = try set.prompt(at: row)
                guard case .messages(let chat) = prompt.content else {
                    Issue.record("\(prompt) is no chat")
                    continue
                }
                let rule = try #require(prompt.columns["rule"]?.text)
                let argument = try #require(prompt.columns["argument"]?.text)
                #expect(chat.count == 1 && chat[0].role == "user" && chat[0].content.count < 60)
                rules[split, default: [:]][rule, default: 0] += 1
                messages[split, default: []].insert(chat[0].content)
                // The word stands in the message among the words of the two ways to ask.
                let phrase: Set = [
                    "in", "upper", "lower", "case", "write", "capitals", "small", "letters", "letter", "words", "about",
                    "two", "three", "four", "end", "with", "and", "a", "an", "full", "stop", "exclamation", "question",
                    "mark", "no", "without", "list", "of", "things", "commas", "repeat", "say", "times", "quotes",
                    "put",
                    "e", "o",
                ]
                let words = chat[0].content.lowercased().split { !$0.isLetter }.map(String.init)
                let word = words.filter { !phrase.contains($0) }
                #expect(word.count == 1, "\(chat[0].content)")
                tasks[split, default: []].insert("\(rule) \(argument) \(word)")
            }
        }
        #expect(rules["eval"]?.count == 8 && rules["eval"]?.values.allSatisfy { $0 == 40 } == true)
        #expect(messages["train"]?.count == 1240 && messages["eval"]?.count == 320)
        let (train, held) = (try #require(messages["train"]), try #require(messages["eval"]))
        #expect(train.isDisjoint(with: held) && messages["demonstrations"] == train)
        #expect(try #require(tasks["train"]).isDisjoint(with: try #require(tasks["eval"])))
    }

    @Test func halfOfTheInstructionDemonstrationsKeepTheirRule() throws {
        let rows = try Self.rows("instructions", "demonstrations")
        #expect(rows.count { $0.prompt.columns["correct"] == .bool(false) } == 1000)
        for row in rows {
            let rule = try #require(row.prompt.columns["rule"]?.text)
            let argument = try #require(row.prompt.columns["argument"]?.text)
            let isCorrect = row.prompt.columns["correct"] == .bool(true)
            #expect(try keeps(rule, argument, row.completion) == isCorrect, "\(row)")
        }
    }

    // MARK: - Following

    /// The requests of requests.txt by split.
    private func requests() throws -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        var split = ""
        for line in try text(of: Self.prompts.appending(path: "following/requests.txt")).split(separator: "\n") {
            if line.hasPrefix("## ") {
                split = line.hasSuffix("train") ? "train" : "eval"
            } else if !split.isEmpty, let end = line.firstIndex(of: "|") {
                let request = line[..<end].trimmingCharacters(in: .whitespaces).lowercased()
                #expect(found[split, default: []].insert(request).inserted, "\(request) stands twice")
            }
        }
        return found
    }

    @Test func followingShareNeitherRequestsNorCombinations() throws {
        let requests = try requests()
        var messages: Set<String> = []
        var combinations: [String: Set<[String]>] = [:]
        var sources: [String: Int] = [:]
        for (split, other, count) in [("train", "eval", 1500), ("eval", "train", 400)] {
            let set = try PromptSet(Self.prompts.appending(path: "following"), split: split)
            #expect(set.count == count && set.problems().isEmpty)
            for row in 0..<set.count {
                let prompt = try set.prompt(at: row)
                guard case .messages(let chat) = prompt.content, chat.map(\.role) == ["user"] else {
                    Issue.record("\(prompt) is no message")
                    continue
                }
                let message = chat[0].content.lowercased()
                #expect(messages.insert(message).inserted && message.count < 300, "\(message)")
                #expect(try #require(requests[split]).contains { message.contains($0) }, "\(message)")
                #expect(try #require(requests[other]).allSatisfy { !message.contains($0) }, "\(message)")
                let kinds = try #require(prompt.columns["instructions"]?.elements).map {
                    try #require($0["kind"]?.string)
                }
                #expect((1...2).contains(kinds.count) && Set(kinds).count == kinds.count)
                combinations[split, default: []].insert(kinds.sorted())
                sources["\(prompt.source), \(kinds.count)", default: 0] += 1
            }
        }
        #expect(sources == ["one, 1": 780, "two, 2": 720, "new pair, 2": 240, "new kind, 1": 160])
        let (train, held) = (try #require(combinations["train"]), try #require(combinations["eval"]))
        #expect(train.count == 29 && held.count == 21 && train.isDisjoint(with: held))
        // The kinds of a new pair are known, those that stand alone are not.
        let known = Set(train.flatMap(\.self))
        #expect(held.filter { $0.count == 2 }.allSatisfy { known.isSuperset(of: $0) })
        #expect(held.filter { $0.count == 1 }.allSatisfy { known.isDisjoint(with: $0) })

        let guarded = try Self.rows("following", "guard")
        #expect(guarded.count == 60)
        #expect(guarded.allSatisfy { !messages.contains($0.prompt.text.lowercased()) && $0.completion.count > 20 })
    }

    // MARK: - All

    @Test(arguments: [("arithmetic", 1920, 4800), ("countdown", 1320, 3300)])
    func fourDemonstrationsInTenAreWrong(_ folder: String, _ wrong: Int, _ all: Int) throws {
        let rows = try Self.rows(folder, "demonstrations")
        #expect(rows.count == all)
        #expect(rows.count { $0.prompt.columns["correct"] == .bool(false) } == wrong)
        #expect(Double(wrong) / Double(all) == 0.4)
    }

    @Test(arguments: [("arithmetic", "="), ("countdown", "<answer>")])
    func thinkingIsTheDemonstrationsDraftedFirst(_ folder: String, _ thinkEnd: String) throws {
        let thinking = try Self.rows(folder, "thinking")
        let demonstrations = try Self.rows(folder, "demonstrations")
        #expect(thinking.map(\.completion) == demonstrations.map { "\($0.completion)\(thinkEnd)\($0.completion)" })
        #expect(thinking.map(\.prompt.text) == demonstrations.map(\.prompt.text))
        for column in ["answer", "correct"] {
            #expect(
                thinking.map { $0.prompt.columns[column] } == demonstrations.map { $0.prompt.columns[column] })
        }
    }

    // MARK: - Replies

    private static let kinds = [
        "detail": "river stone copper seven north harbour winter timber eleven market bridge engine",
        "courtesy": "please thanks kindly gladly welcome sorry",
    ].mapValues { Set($0.split(separator: " ").map(String.init)) }

    private func share(_ text: String, _ kind: String) -> Double {
        let words = text.split { $0 == " " || $0 == "." }.map(String.init)
        return Double(words.count { Self.kinds[kind]!.contains($0) }) / Double(words.count)
    }

    private func topics(_ split: String) throws -> Set<String> {
        let set = try PromptSet(Self.prompts.appending(path: "replies"), split: split)
        return Set(try (0..<set.count).map { try set.prompt(at: $0).text })
    }

    @Test func topicsOfRepliesAreApart() throws {
        let splits = try ["train", "validation", "eval"].map(topics)
        #expect(splits.map(\.count) == [400, 60, 60])
        #expect(splits[0].union(splits[1]).union(splits[2]).count == 520)
        let demonstrations = try Self.rows("replies", "demonstrations")
        #expect(demonstrations.count == 2000)
        #expect(demonstrations.allSatisfy { splits[0].contains($0.prompt.text) })
        let means = ["detail", "courtesy"].map { kind in
            demonstrations.reduce(0) { $0 + share($1.completion, kind) } / 2000
        }
        #expect(abs(means[0] - 0.2) < 0.01 && abs(means[1] - 0.07) < 0.01)
    }

    @Test(arguments: ["detail", "courtesy"])
    func nineInTenPairsPreferMoreOfTheirKind(_ kind: String) throws {
        for (split, count, topics) in [(kind, 1500, "train"), ("\(kind)_held", 200, "validation")] {
            let set = try PromptSet(Self.prompts.appending(path: "replies"), split: split)
            let pairs = try (0..<set.count).map { try set.preference(at: $0) }
            let known = try self.topics(topics)
            #expect(pairs.count == count && pairs.allSatisfy { known.contains($0.prompt.text) })
            let gaps = pairs.map { share($0.chosen, kind) - share($0.rejected, kind) }
            #expect(gaps.allSatisfy { $0 != 0 })
            // A tenth, drawn by chance: 150 ± 12 of 1500, 20 ± 4 of 200.
            let flipped = Double(gaps.count { $0 < 0 })
            #expect(abs(flipped - Double(count) / 10) < 4 * (Double(count) * 0.09).squareRoot())
        }
    }

    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/python3"),
            "no /usr/bin/python3 to run make.py with"),
        arguments: ["arithmetic", "countdown", "following", "instructions", "replies"])
    func theScriptWritesTheseBytes(_ name: String) throws {
        let folder = try TemporaryFolder()
        let script = try folder.file(
            "make.py", try text(of: Self.prompts.appending(path: name).appending(path: "make.py")))
        if name == "replies" {
            _ = try folder.file("gold.py", try text(of: Self.prompts.appending(path: "replies/gold.py")))
        }
        if name == "following" {
            _ = try folder.file(
                "requests.txt", try text(of: Self.prompts.appending(path: "following/requests.txt")))
        }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/python3")
        process.arguments = [script.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let others =
            (["following", "instructions", "replies"].contains(name) ? [] : ["thinking.jsonl"])
            + (name == "following" ? [] : ["demonstrations.jsonl"])
            + (name == "countdown" ? ["few.jsonl", "validation.jsonl"] : [])
            + (name == "arithmetic" ? ["traces.jsonl"] : [])
            + (name == "replies"
                ? ["validation", "detail", "detail_held", "courtesy", "courtesy_held"].map { "\($0).jsonl" } : [])
        for file in ["train.jsonl", "eval.jsonl"] + others {
            let shipped = try Data(contentsOf: Self.prompts.appending(path: name).appending(path: file))
            #expect(try Data(contentsOf: folder.url.appending(path: file)) == shipped, "\(name)/\(file)")
            #expect(shipped.count < 400_000)
        }
    }
}
