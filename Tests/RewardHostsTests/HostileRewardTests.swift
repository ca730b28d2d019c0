import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import TestSupport
import Testing

/// One test after the other: each looks at every process of this suite that is left.
@Suite("Rewards that hang, crash and lie", .serialized)
struct HostileRewardTests {
    /// Limits that no other suite's rewards have: their zombies are known by them.
    private static let (memory, littleMemory) = (513 << 20, 257 << 20)

    private func leftOver() async throws -> [String] {
        try await leftOverProcesses("PLUMBLINE_TEST_RUN", memoryBytes: [Self.memory, Self.littleMemory])
    }

    private func reward(timeoutSeconds: Double = 1, memoryBytes: Int = memory) async throws -> PythonReward {
        setenv("PLUMBLINE_TEST_RUN", "\(getpid())", 1)
        return try await zoo("misbehaves", timeoutSeconds: timeoutSeconds, memoryBytes: memoryBytes) {
            $0.process.passedVariables = ["PLUMBLINE_TEST_RUN"]
        }
    }

    /// Scores a group of three whose first completion is `kind`; then one that is well, which must be scored.
    private func outcome(
        _ kind: String, timeoutSeconds: Double = 60, memoryBytes: Int = memory
    ) async throws -> (first: GroupScores, seconds: Double) {
        let reward = try await reward(timeoutSeconds: timeoutSeconds, memoryBytes: memoryBytes)
        let start = ContinuousClock.now
        let first = try await reward.scores([kind, "b", "c"])
        #expect(first.scores.count == 3)
        #expect(try await reward.scores(["well", "b"]).values == [1, 1], "after \(kind)")
        await reward.close()
        let left = try await leftOver()
        #expect(left.isEmpty, "left after \(kind): \(left)")
        let time = (ContinuousClock.now - start).components
        return (first, Double(time.seconds) + Double(time.attoseconds) / 1e18)
    }

    @Test(arguments: ["hang", "busy", "fork and hang"])
    func timesOut(_ kind: String) async throws {
        let (scores, seconds) = try await outcome(kind, timeoutSeconds: 1)
        #expect(scores.states == ["timedOut", "timedOut", "timedOut"])
        #expect(seconds < 300)  // the reward itself would take ten minutes or never end
    }

    @Test(arguments: [
        ("inf", "inf"), ("str", "'high' (str), not a number"), ("short", "1 scores for 3 completions"),
        ("float", "not a list of 3"), ("raise", "ValueError: no such thing"), ("exit", "SystemExit: 3"),
    ])
    func fails(_ kind: String, _ words: String) async throws {
        let (scores, seconds) = try await outcome(kind)
        #expect(scores.states == ["failed", "failed", "failed"])
        #expect(scores.notes[0].contains(words), "\(scores.notes[0])")
        #expect(seconds < 300)  // the reward itself would take ten minutes or never end
    }

    @Test func endsOfTheProcessAreNamed() async throws {
        let hard = try await outcome("exit hard").first
        #expect(hard.states == ["failed", "failed", "failed"])
        #expect(hard.notes[0].contains("exited with code 3") && hard.notes[0].contains("about to leave"))
        let fault = try await outcome("segfault").first
        #expect(fault.notes[0].contains("killed by signal 11"), "\(fault.notes[0])")
        let closed = try await outcome("close").first
        #expect(closed.states == ["failed", "failed", "failed"])
    }

    @Test(arguments: ["print", "print without end", "fork and return", "grandchild"])
    func isScoredAllTheSame(_ kind: String) async throws {
        let (scores, seconds) = try await outcome(kind)
        #expect(scores.values == [1, 1, 1])
        #expect(seconds < 300)  // the reward itself would take ten minutes or never end
    }

    @Test func memoryIsBounded() async throws {
        let (scores, seconds) = try await outcome("allocate", memoryBytes: Self.littleMemory)
        #expect(scores.states == ["failed", "failed", "failed"])
        #expect(scores.notes[0].contains("MemoryError"))
        #expect(seconds < 300)  // as above
    }

    @Test func manyGroupsAtOnceLoseNothing() async throws {
        let reward = try await reward(timeoutSeconds: 2)
        let kinds = ["well", "raise", "exit hard", "well", "hang", "inf", "well", "segfault"]
        let states = try await withThrowingTaskGroup(of: (Int, [String]).self) { tasks in
            for index in 0..<24 {
                tasks.addTask { (index, try await reward.scores([kinds[index % kinds.count], "x"]).states) }
            }
            return try await tasks.reduce(into: [Int: [String]]()) { $0[$1.0] = $1.1 }
        }
        #expect(states.count == 24)
        for (index, found) in states {
            let kind = kinds[index % kinds.count]
            let expected = kind == "well" ? "scored" : kind == "hang" ? "timedOut" : "failed"
            #expect(found == [expected, expected], "\(kind)")
        }
        await reward.close()
        #expect(try await reward.scores(["well"]).states == ["failed"], "closed")
        #expect(try await leftOver().isEmpty)
    }

    @Test(.enabled(if: Sandbox.problem == nil, "\(Sandbox.problem ?? "")"))
    func theSandboxHoldsAndCanBeKilled() async throws {
        setenv("PLUMBLINE_TEST_RUN", "\(getpid())", 1)
        let reward = try await zoo("confined", timeoutSeconds: 1, memoryBytes: Self.memory) {
            $0.process.sandbox = .required
            $0.process.passedVariables = ["PLUMBLINE_TEST_RUN"]
        }
        #expect(try await reward.scores(["well"]).values == [1])
        #expect(try await reward.scores(["hang"]).states == ["timedOut"])
        #expect(try await reward.scores(["well"]).values == [1])
        await reward.close()
        #expect(try await leftOver().isEmpty)
        // A script under /tmp is seen, with what lies beside it.
        let folder = try TemporaryFolder()
        _ = try folder.file("beside.py", "number = 3.0\n")
        let script = try folder.file("script.py", "from beside import number\ndef f(completions): return [number]\n")
        var settings = PythonRewardSettings(target: "\(script.path):f")
        settings.process.sandbox = .required
        let hidden = try await PythonReward.start(settings)
        #expect(try await hidden.scores(["a"]).values == [3])
        await hidden.close()
    }

    @Test func theBudgetStopsTheRunWithTheFirstTraceback() async throws {
        let panel = try RewardPanel([try await reward()])
        let error = await #expect(throws: RewardError.self) {
            for _ in 0..<20 { _ = try await panel.score(group(["raise", "b"])) }
        }
        #expect(error?.description.contains("ValueError: no such thing") == true)
        #expect(error?.description.contains("completion: raise") == true)
        await panel.close()
    }
}
