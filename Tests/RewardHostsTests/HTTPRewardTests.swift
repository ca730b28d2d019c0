import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import Synchronization
import Testing

/// A server in Python that prints its port, by default `server.py`; gone with this value.
final class TestServer {
    /// Without a slash at its end.
    let address: String
    private let process = Process()
    private let input = Pipe()

    /// - Parameter certificate: A certificate and its key: the server speaks TLS.
    init(
        _ script: String = "\(testFolder)/server.py", _ arguments: String..., certificate: [String] = []
    ) throws {
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", script] + arguments + certificate
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let port = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        address =
            "\(certificate.isEmpty ? "http" : "https")://127.0.0.1:\(port.trimmingCharacters(in: .whitespacesAndNewlines))"
    }

    deinit {
        // Started from a thread of the pool it has SIGTERM blocked.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

@Suite("Rewards behind HTTP")
struct HTTPRewardTests {
    private func reward(
        _ server: TestServer, _ path: String, timeoutSeconds: Double = 1500, tries: Int = 3, outageSeconds: Double = 0,
        note: @escaping @Sendable (String) -> Void = { _ in }
    ) throws -> HTTPReward {
        var settings = HTTPRewardSettings(name: "remote", url: "\(server.address)/\(path)")
        settings.timeoutSeconds = timeoutSeconds
        settings.tries = tries
        settings.outageSeconds = outageSeconds
        return try HTTPReward(settings, note: note)
    }

    @Test func scoresWholeGroupsInOpenRLHFsForm() async throws {
        let server = try TestServer()
        for path in ["ok", "chunks"] {
            // The query is prompt, completion and "<eos>", five characters more.
            let scores = try await reward(server, path).scores(["a", "bb"], greedy: "ccc")
            #expect(scores.values == [6, 7])
            #expect(scores.greedyScores?.map(\.score) == [8])
            let columns: [String: [JSONValue]] = [
                "scores": [.number(6), .number(7)], "kind": [.string("short"), .string("short")],
            ]
            #expect(scores.extraColumns == columns)
            #expect(scores.metrics == ["seen": 2])
        }
    }

    @Test func aChatComesInItsTemplate() async throws {
        let server = try TestServer()
        #expect(try await reward(server, "echo").scores(["a", "b"], isChat: true).values == [1, 0])
    }

    @Test func whatPassesIsTriedAgainAndWhatStaysFails() async throws {
        let server = try TestServer()
        // Dropped, then 500, then well.
        #expect(try await reward(server, "flaky").scores(["a"]).values == [6])
        for (path, words) in [
            ("down", "answered 500: out of order (3 tries)"), ("drop", "closed the connection without an answer"),
            ("half", "dropped the connection in the middle of its answer"),
            ("moved", "answered 301: it has moved to /ok; give that address. It says: elsewhere"),
            ("refuse", "answered 403: not you"), ("bad", "'<html>' instead of a JSON object with 'rewards'"),
            ("short", "1 scores for 2 completions"),
        ] {
            let scores = try await reward(server, path).scores(["a", "b"])
            #expect(scores.states == ["failed", "failed"])
            #expect(scores.notes[0].contains(words), "\(path): \(scores.notes[0])")
        }
        #expect(try await reward(server, "tries").scores(["a"]).values == [1], "403 is not tried again")
    }

    /// Five answers that nobody is there, to a call of one try.
    @Test func aServerThatGoesAwayIsWaitedForAndSaidOnce() async throws {
        let server = try TestServer()
        let notes = Mutex<[String]>([])
        let away = try reward(server, "away", tries: 1, outageSeconds: 600) { note in
            notes.withLock { $0.append(note) }
        }
        #expect(try await away.scores(["a"]).values == [6])
        let said = notes.withLock { $0 }
        #expect(said.count == 1 && said[0].hasPrefix("reward remote: ") && said[0].contains("up to 600 s"), "\(said)")
    }

    /// Five answers that nobody is there, then one that it is out of order, to a call of two tries.
    @Test func onlyTriesAtWhichTheServerIsThereCount() async throws {
        let server = try TestServer()
        let back = try reward(server, "back", tries: 2, outageSeconds: 600)
        #expect(try await back.scores(["a"]).values == [6])
    }

    /// The time limit, which the wait goes beyond, is the server's to answer in.
    @Test func aServerThatStaysAwayIsAFailure() async throws {
        let server = try TestServer()
        let start = ContinuousClock.now
        let gone = try reward(server, "drop", timeoutSeconds: 100, tries: 2, outageSeconds: 1)
        let scores = try await gone.scores(["a", "b"])
        #expect(scores.states == ["failed", "failed"])
        #expect(scores.notes[0].contains("closed the connection without an answer"), "\(scores.notes)")
        #expect(ContinuousClock.now - start >= .seconds(1))
    }

    @Test func aStallingServerTimesOut() async throws {
        let server = try TestServer()
        let start = ContinuousClock.now
        let scores = try await reward(server, "stall", timeoutSeconds: 0.5).scores(["a", "b"])
        #expect(scores.states == ["timedOut", "timedOut"])
        #expect(ContinuousClock.now - start < .seconds(300), "the server stalls for 600")
    }

    @Test func manyGroupsAtOnceAreAllAnswered() async throws {
        let server = try TestServer()
        let reward = try reward(server, "ok")
        let values = try await withThrowingTaskGroup(of: Double?.self) { tasks in
            for _ in 0..<40 { tasks.addTask { try await reward.scores(["a"]).values[0] } }
            return try await tasks.reduce(into: []) { $0.append($1) }
        }
        #expect(values == Array(repeating: 6, count: 40))
    }

    @Test func addressesAreChecked() {
        for (url, words) in [
            ("ftp://example.test/", "use http or https"), ("not a url", "no address"), ("http://", "no address"),
            ("https://no-such-host.invalid/", "no machine is named"),
            ("http://me:x@localhost/", "a user in the address"),
            ("http://no-such-host.invalid/", "no machine is named"),
        ] {
            let error = #expect(throws: RewardError.self) { try HTTPReward(HTTPRewardSettings(name: "r", url: url)) }
            #expect(error?.description.contains(words) == true, "\(url): \(error?.description ?? "")")
        }
    }

    @Test func aPlainServerBehindHttpsIsNamed() async throws {
        let plain = try TestServer()
        var settings = HTTPRewardSettings(name: "r", url: plain.address.replacing("http:", with: "https:"))
        settings.tries = 1
        let scores = try await HTTPReward(settings).scores(["a"])
        #expect(scores.notes[0].contains("does not speak TLS"), "\(scores.notes)")
    }

    @Test func aServerThatIsNotThereIsAFailure() async throws {
        var settings = HTTPRewardSettings(name: "r", url: "http://127.0.0.1:9/")
        (settings.tries, settings.timeoutSeconds, settings.outageSeconds) = (2, 1500, 0)
        let note = try await HTTPReward(settings).scores(["a"]).notes[0]
        #expect(note.contains("127.0.0.1:9 refused the connection") && note.contains("(2 tries)"), "\(note)")
    }
}
