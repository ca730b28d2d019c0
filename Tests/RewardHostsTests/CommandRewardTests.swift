import Foundation
import Records
import RewardHosts
import RewardInterface
import Testing

@Suite("Programs that speak JSON Lines")
struct CommandRewardTests {
    private func reward(
        _ line: String, timeoutSeconds: Double = 2, _ change: (inout CommandRewardSettings) -> Void = { _ in }
    ) async throws -> CommandReward {
        var settings = CommandRewardSettings(name: "program", shellLine: line)
        settings.process = ProcessSettings(timeoutSeconds: timeoutSeconds, startSeconds: 60, memoryBytes: 512 << 20)
        change(&settings)
        return try await CommandReward.start(settings)
    }

    private let python = """
        python3 -uc 'import json, sys
        for line in sys.stdin:
            request = json.loads(line)
            scores = [len(text) if text else None for text in request["completions"]]
            print(json.dumps({"id": request["id"], "scores": scores, "metrics": {"seen": len(scores)}}))'
        """

    @Test func scoresWholeGroups() async throws {
        let reward = try await reward(python)
        let scores = try await reward.scores(["a", "", "ccc"], greedy: "dd")
        #expect(scores.values == [1, nil, 3])
        #expect(scores.states == ["scored", "abstained", "scored"])
        #expect(scores.greedyScores?.map(\.score) == [2])
        #expect(scores.metrics == ["seen": 3])
        await reward.close()
    }

    @Test(arguments: [
        ("echo hello; cat", "wrote 'hello'"), ("exit 4", "exited with code 4"), ("kill -9 $$", "killed by signal 9"),
        ("read line; echo '{\"id\":99,\"scores\":[1]}'; cat", "answered request 99 instead of 1"),
        ("read line; echo '{\"scores\":[1,2]}'; cat", "2 scores for 1 completions"),
        ("read line; echo '{\"scores\":[\"a\"]}'; cat", "\"a\", not a number"),
        ("read line; echo oops >&2; exit 1", "oops"), ("exec >&-; sleep 600", "closed its output"),
        ("head -c 10 /dev/zero; sleep 600", "no answer within"), ("sleep 600", "no answer within"),
    ])
    func brokenProgramsAreNamed(_ line: String, _ words: String) async throws {
        // Those that stay silent use it up; the others need theirs only on a busy machine.
        let limit = words == "no answer within" ? 0.5 : 60
        let reward = try await reward(line, timeoutSeconds: limit) { $0.process.startSeconds = 0.2 }
        let scores = try await reward.scores(["a"])
        #expect(scores.notes[0].contains(words), "\(line): \(scores.notes[0])")
        // It is begun anew each time, and each time breaks in the same way.
        #expect(try await reward.scores(["a"]).values == [nil])
        await reward.close()
    }

    /// A program that loads a model first needs its time once, and no more of it afterwards.
    @Test func startingHasATimeLimitOfItsOwn() async throws {
        let slow = "sleep 1; while read line; do echo '{\"scores\":[1]}'; sleep 600; done"
        let reward = try await reward(slow, timeoutSeconds: 0.3)
        #expect(try await reward.scores(["a"]).states == ["scored"])
        #expect(try await reward.scores(["a"]).notes == ["no answer within 0.3 s"])
        #expect(try await reward.scores(["a"]).states == ["scored"], "begun anew")
        await reward.close()
    }

    @Test func aMissingProgramIsSaidAtTheStart() async throws {
        let settings = CommandRewardSettings(name: "program", command: ["no-such-program", "-x"])
        let error = await #expect(throws: RewardError.self) { try await CommandReward.start(settings) }
        #expect(error?.description.contains("no program 'no-such-program' in PATH") == true)
    }

    @Test func aRequestLargerThanThePipeArrives() async throws {
        let reward = try await reward(python, timeoutSeconds: 20)
        let text = String(repeating: "x", count: 400_000)
        #expect(try await reward.scores([text, "a"]).values == [400_000, 1])
        await reward.close()
    }

    @Test func aSandboxThatIsRequiredIsThereOrRefused() async throws {
        // 1 for a program that can write nowhere but in an empty /tmp and sees no socket of the system.
        let line = """
            python3 -uc 'import json, os, sys, tempfile
            def writes(path):
                try:
                    open(path, "w").close()
                    return True
                except OSError:
                    return False
            isEmpty = not os.listdir("/run") and not os.listdir("/tmp")
            held = not writes("written") and isEmpty and tempfile.TemporaryFile()
            for line in sys.stdin: print(json.dumps({"scores": [int(bool(held))]}))'
            """
        guard Sandbox.problem == nil else {
            let error = await #expect(throws: RewardError.self) {
                try await self.reward(line) { $0.process.sandbox = .required }
            }
            #expect(error?.description.contains("sandbox: off runs it without one") == true)
            return
        }
        for (policy, held) in [(SandboxPolicy.required, 1.0), (.whenAvailable, 1), (.off, 0)] {
            let reward = try await reward(line) {
                $0.process.sandbox = policy
                $0.process.folder = testFolder
            }
            #expect(try await reward.scores(["a"]).values == [held], "\(policy)")
            await reward.close()
        }
        unlink("\(testFolder)/written")
    }
}
