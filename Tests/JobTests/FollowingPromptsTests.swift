import Foundation
import JSON
import Job
import PromptSets
import Records
import RewardInterface
import ShippedRewards
import Testing

/// An answer to a row of prompts/following, put together from words that no instruction of the set forbids.
private struct ReferenceAnswer {
    private static let fillers = ["so", "it", "is", "fine"]
    private let instructions: [[String: JSONValue]]

    init(_ prompt: Prompt) throws {
        instructions = try #require(prompt.columns["instructions"]?.elements).compactMap(\.dictionary)
    }

    private func first(_ kind: String) -> [String: JSONValue]? {
        instructions.first { $0["kind"]?.string == kind }
    }

    /// The words that must stand in it, as often as they must.
    private var words: [String] {
        let included = first("include")?["words"]?.elements?.compactMap(\.string) ?? []
        guard let frequency = first("frequency"), let word = frequency["word"]?.string else { return included }
        return included + Array(repeating: word, count: frequency["count"]?.int ?? 0)
    }

    /// Answers of growing length, one of which should do.
    var candidates: [String] {
        let texts: [String]
        if let json = first("json") {
            let keys = json["keys"]?.elements?.compactMap(\.string) ?? []
            let value = (words + ["it"]).joined(separator: " ")
            texts = ["{" + keys.map { "\"\($0)\": \"\(value)\"" }.joined(separator: ", ") + "}"]
        } else if let list = first("list") ?? first("numbered_list") {
            let items = (0..<(list["count"]?.int ?? 0)).map { index in
                "\(list["marker"]?.string ?? "\(index + 1).") \((index == 0 ? words + ["it"] : ["it"]).joined(separator: " "))"
            }
            texts = [items.joined(separator: "\n")]
        } else {
            texts = (0...4).flatMap { sentences in (sentences...28).map { prose(sentences, fillers: $0) } }
        }
        if first("lower_case") != nil { return texts.map { $0.lowercased() } }
        return first("upper_case") == nil ? texts : texts.map { $0.uppercased() }
    }

    /// - Parameter fillers: Words beside those that must be there, at least one a sentence.
    private func prose(_ sentences: Int, fillers: Int) -> String {
        var all = (0..<sentences).map { sentence in
            (0..<fillers).filter { $0 % sentences == sentence }.map { Self.fillers[$0 % 4] }
        }
        if sentences > 0 { all[0] += words }
        let body = sentences > 0 ? all.map { $0.joined(separator: " ") + "." } : [words.joined(separator: " ")]
        let parts = [first("starts_with")?["text"]?.string] + body + [first("ends_with")?["text"]?.string]
        let separator = first("line_count") == nil ? " " : "\n"
        return parts.compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: separator)
    }
}

@Suite("prompts/following and what checks it")
struct FollowingPromptsTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "prompts/following")

    @Test(arguments: ["train", "eval"])
    func everyRowHasAnAnswerThatKeepsAllOfIt(_ split: String) throws {
        let reward = try ShippedRewards.catalogue.function(named: "follows_instructions", settings: [:])
        let set = try PromptSet(Self.folder, split: split)
        for row in 0..<set.count {
            let prompt = try set.prompt(at: row)
            let candidates = try ReferenceAnswer(prompt).candidates
            let isKept = try candidates.contains { try reward.score(Completion(text: $0), for: prompt).score == 1 }
            #expect(isKept, "\(prompt.id): \(prompt.text)")
        }
    }

    @Test(arguments: ["grpo", "lora", "constrained"])
    func theJobFilesSayWhatTheyMean(_ name: String) throws {
        let job = try ResolvedJob(JobFile(url: Self.folder.appending(path: "\(name).yaml")))
        #expect(job.notices.isEmpty, "\(job.notices)")
        #expect(job.run.guards.map(\.name) == ["guard"] && job.run.guards[0].kind == .texts)
        #expect(job.batches.promptsPerStep == 4 && job.rewards?.entries[0].reference == "follows_instructions")
    }
}
