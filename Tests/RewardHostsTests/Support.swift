import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface

/// The folder of the tests, where `zoo.py` lies.
let testFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path

func group(
    _ texts: [String], greedy: String? = nil, columns: [String: JSONValue] = [:], isChat: Bool = false
) -> RolloutGroup {
    let content: PromptContent =
        isChat ? .messages([ChatMessage(role: "user", content: "How many?")]) : .text("How many?")
    func rollout(_ text: String, _ sample: Int) -> Rollout {
        let completion = Completion(text: text, textWithSpecials: text + "<eos>", tokenIDs: Array(0..<text.utf8.count))
        return Rollout(completion: completion, samplingLogProbabilities: [], policyLogProbabilities: [], sample: sample)
    }
    let prompt = Prompt(row: 3, source: "set", content: content, columns: columns)
    return RolloutGroup(
        prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [1], rendered: isChat ? "<user>How many?<answer>" : nil),
        rollouts: texts.enumerated().map { rollout($1, $0) },
        greedy: greedy.map { rollout($0, 0) }, policyVersion: PolicyVersion(0))
}

extension RewardSource {
    /// The scores of a group of texts.
    func scores(
        _ texts: [String], greedy: String? = nil, columns: [String: JSONValue] = [:], isChat: Bool = false,
        step: Int = 0
    ) async throws -> GroupScores {
        try await score(
            group(texts, greedy: greedy, columns: columns, isChat: isChat),
            at: TrainingProgress(step: step, maxSteps: 10, epoch: 0.5))
    }
}

extension GroupScores {
    var states: [String] { scores.map { $0[0].state } }
    var values: [Double?] { scores.map { $0[0].score } }
    var notes: [String] { scores.map { $0[0].note ?? "" } }
}

/// A function of `zoo.py`, with limits that suit tests.
func zoo(
    _ function: String, timeoutSeconds: Double = 5, workers: Int = 1, memoryBytes: Int = 512 << 20,
    _ change: (inout PythonRewardSettings) -> Void = { _ in }
) async throws -> PythonReward {
    var settings = PythonRewardSettings(target: "\(testFolder)/zoo.py:\(function)")
    settings.process = ProcessSettings(
        timeoutSeconds: timeoutSeconds, startSeconds: 60, workers: workers, memoryBytes: memoryBytes)
    change(&settings)
    return try await PythonReward.start(settings)
}

/// Processes with this variable in their environment that are still there after ten seconds, and zombies of this test
/// process whose limit of memory is one of `memoryBytes`.
///
/// A zombie has no environment left, but its limits. Rewards of suites that run beside this one are zombies too, from
/// their end until they are asked again.
func leftOverProcesses(_ variable: String, memoryBytes: [Int] = []) async throws -> [String] {
    for _ in 0..<200 {
        if processesNow(variable, memoryBytes).isEmpty { return [] }
        try await Task.sleep(for: .milliseconds(50))
    }
    return processesNow(variable, memoryBytes)
}

private func processesNow(_ variable: String, _ memoryBytes: [Int]) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { pid_t($0) }.compactMap { identifier in
        guard let status = try? String(contentsOfFile: "/proc/\(identifier)/stat", encoding: .utf8) else { return nil }
        let fields = status[(status.lastIndex(of: ")") ?? status.startIndex)...].split(separator: " ")
        let limits = (try? String(contentsOfFile: "/proc/\(identifier)/limits", encoding: .utf8)) ?? ""
        let data = limits.split(separator: "\n").first { $0.hasPrefix("Max data size") }?.split(separator: " ")
        let isLimited = data.flatMap { Int($0[3]) }.map(memoryBytes.contains) ?? false
        let isZombieOfOurs = fields[1] == "Z" && pid_t(fields[2]) == getpid() && isLimited
        let environment = FileManager.default.contents(atPath: "/proc/\(identifier)/environ") ?? Data()
        let variables = "\0" + String(decoding: environment, as: UTF8.self)
        // What other suites start has every variable of this process, a reward's program those it is passed.
        let isReward = !variables.contains("\0PLUMBLINE_TEST_NOT_PASSED=")
        let isMarked = isReward && variables.contains("\0\(variable)=\(getpid())\0")
        let isOurs = isMarked && identifier != getpid()
        return isOurs || isZombieOfOurs ? "\(identifier) \(status)" : nil
    }
}
