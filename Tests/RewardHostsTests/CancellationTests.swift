import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import TestSupport
import Testing

/// The contract with who turns signals into cancellation: scoring throws `CancellationError` at once, and nothing is
/// left running.
@Suite("Cancelled scoring ends at once", .serialized)
struct CancellationTests {
    /// Scores until the task is cancelled, and the seconds from then to the end.
    ///
    /// Tests allow 30 s of the 60 or 600 that waiting would take: suites that block threads run beside this one.
    private func secondsToEnd(_ source: any RewardSource, after milliseconds: Int = 300) async throws -> Double {
        let task = Task { try await source.scores(["hang", "b"]) }
        try await Task.sleep(for: .milliseconds(milliseconds))
        let start = ContinuousClock.now
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        return (ContinuousClock.now - start) / .seconds(1)
    }

    @Test func aPythonFunctionThatSleepsForAMinute() async throws {
        setenv("PLUMBLINE_TEST_NOT_PASSED", "1", 1)
        setenv("PLUMBLINE_TEST_CANCELLED", "\(getpid())", 1)
        for kind in [SandboxPolicy.off, .whenAvailable] {
            let reward = try await zoo("misbehaves", timeoutSeconds: 600) {
                $0.process.passedVariables = ["PLUMBLINE_TEST_CANCELLED"]
                $0.process.sandbox = kind
            }
            let seconds = try await secondsToEnd(reward)
            print("cancelled time.sleep(600), sandbox \(kind): ended after \(seconds) s")
            #expect(seconds < 30)
            // The reward is of use all the same: its process is begun anew.
            #expect(try await reward.scores(["well"]).values == [1])
            await reward.close()
            #expect(try await leftOverProcesses("PLUMBLINE_TEST_CANCELLED").isEmpty)
        }
    }

    @Test func aProgram() async throws {
        var settings = CommandRewardSettings(name: "program", shellLine: "sleep 600 & sleep 600")
        settings.process = ProcessSettings(timeoutSeconds: 600)
        let reward = try await CommandReward.start(settings)
        #expect(try await secondsToEnd(reward) < 30)
        await reward.close()
    }

    @Test func aServerThatStalls() async throws {
        let server = try TestServer()
        let reward = try HTTPReward(HTTPRewardSettings(name: "remote", url: "\(server.address)/stall"))
        #expect(try await secondsToEnd(reward) < 30)
    }

    @Test func aServerThatIsAway() async throws {
        var settings = HTTPRewardSettings(name: "remote", url: "http://127.0.0.1:9/")
        settings.outageSeconds = 600
        #expect(try await secondsToEnd(HTTPReward(settings), after: 2000) < 30)
    }

    @Test func whoWaitsForAWorkerLeavesTheLine() async throws {
        let reward = try await zoo("misbehaves", timeoutSeconds: 600)
        let first = Task { try await reward.scores(["hang"]) }
        try await Task.sleep(for: .milliseconds(100))
        let second = Task { try await reward.scores(["well"]) }
        #expect(try await secondsToEnd(reward, after: 100) < 30)
        first.cancel()
        await #expect(throws: CancellationError.self) { try await first.value }
        #expect(try await second.value.values == [1])
        await reward.close()
    }

    /// A spent error budget, or a row that one reward refuses, ends the others.
    @Test func anErrorOfOneRewardEndsTheOthers() async throws {
        let slow = try await zoo("misbehaves", timeoutSeconds: 600)
        let strict = try await zoo("compute_score")
        let panel = try RewardPanel([slow, strict])
        let start = ContinuousClock.now
        // No column for verl's ground truth.
        await #expect(throws: RewardError.self) { try await panel.score(group(["hang", "b"])) }
        await panel.close()
        // Of 600. Closing takes turns on the pool's two threads that tests of the command hold meanwhile: 35 s were seen.
        #expect(ContinuousClock.now - start < .seconds(150))
    }
}
