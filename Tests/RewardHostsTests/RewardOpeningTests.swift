import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import Testing

private struct Steady: RewardFunction {
    static let name = "steady"
    static let range = 0.0...1.0
    static let isDeterministic = true
    init(reading settings: inout SettingsReader) {}
    func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore { .value(0.5) }
}

private struct Half: RewardFunction {
    static let name = "half"
    static let range = 0.0...1.0
    init(reading settings: inout SettingsReader) {}
    func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore { .value(0.5) }
}

@Suite("Entries of reward_funcs become sources")
struct RewardOpeningTests {
    private let catalogue = RewardCatalogue([Half.self, Steady.self])
    private let examples = URL(fileURLWithPath: testFolder).appendingPathComponent("../../rewards/python")
        .standardizedFileURL.path

    @Test func eachFormIsRecognised() throws {
        let cases: [(String, RewardOpening.Kind)] = [
            ("half", .function("half")), ("rewards/my.py:f", .python("rewards/my.py:f")),
            ("trl.rewards.accuracy_reward", .python("trl.rewards.accuracy_reward")),
            ("command: sh x.sh", .command("sh x.sh")), ("url: http://h/p", .url("http://h/p")),
            ("http://h/p", .url("http://h/p")),
        ]
        for (reference, kind) in cases { #expect(try RewardOpening.kind(of: reference, in: catalogue) == kind) }
        for reference in ["halve", "a b.c", "", "model: x", ".x"] {
            #expect(throws: RewardError.self) { try RewardOpening.kind(of: reference, in: catalogue) }
        }
    }

    @Test func theExamplesScore() async throws {
        let columns: [String: JSONValue] = ["answer": .string("7")]
        let cases: [(String, String, [Double])] = [
            ("trl_style.py:short_and_right", "short_and_right", [0.998, -0.001]),
            ("verl_style.py:compute_score", "compute_score", [1, 0.1]),
            ("openrlhf_style.py:reward_func", "reward_func", [1, 0]),
        ]
        for (target, name, expected) in cases {
            let source = try await RewardOpening.open(target, catalogue: catalogue, baseFolder: examples)
            #expect(source.names == [name])
            #expect(try await source.scores(["is 7", "8"], columns: columns).values == expected, "\(target)")
            await source.close()
        }
        let line = "command: python3 \(examples)/json_lines.py"
        let program = try await RewardOpening.open(line, settings: ["timeout": .number(9)], catalogue: catalogue)
        #expect(program.names == ["json_lines"])
        #expect(try await program.scores(["one two three", ""]).values == [0.25, nil])
        await program.close()
        let server = try TestServer("\(examples)/http_server.py", "0")
        let remote = try await RewardOpening.open("url: \(server.address)/get_reward", catalogue: catalogue)
        let served = try await remote.scores(["is 7", "8"], columns: columns)
        #expect(served.values == [1, 0] && served.metrics == ["share": 0.5])
        let function = try await RewardOpening.open(
            "half", settings: ["metric_name": .string("middle")], catalogue: catalogue)
        #expect(try await function.scores(["x"]).values == [0.5] && function.names == ["middle"])
    }

    /// What metrics call a reward, before anything is started.
    @Test func namesAreKnownBeforeARewardIsOpen() {
        let cases: [(String, String?)] = [
            ("half", "half"), ("my.py:f", nil), ("halve", nil), ("command: python3 tools/brevity.py --fast", "brevity"),
            ("url: http://host:5000/a", "host"), ("https://host/b", "host"),
        ]
        for (reference, name) in cases {
            #expect(RewardOpening.name(of: reference, settings: [:], in: catalogue) == name, "\(reference)")
            let own = ["metric_name": JSONValue.string("own")]
            #expect(RewardOpening.name(of: reference, settings: own, in: catalogue) == "own", "\(reference)")
        }
    }

    @Test func settingsAreChecked() async throws {
        func problem(_ reference: String, _ settings: [String: JSONValue]) async -> String {
            do {
                await (try RewardOpening.open(reference, settings: settings, catalogue: catalogue)).close()
                return "it opened"
            } catch {
                return "\(error)"
            }
        }
        #expect(await problem("command: cat", ["timeuot": .number(5)]).contains("did you mean 'timeout'?"))
        #expect(
            await problem("command: cat", ["workers": .number(0)]).contains(
                "workers is '0'; expected a whole number from 1 to 256"))
        #expect(
            await problem("x.py:f", ["style": .string("slime")]).contains(
                "style is 'slime'; expected one of auto, trl, verl, verl_batch, openrlhf, verifiers"))
        #expect(
            await problem("x.py:f", ["sandbox": .bool(true)]).contains(
                "sandbox is 'true'; expected one of off, auto, required"))
        #expect(
            await problem("half", ["cache": .bool(true)]).contains("Half does not declare that it is deterministic"))
        #expect(await problem("half", ["x": .number(1)]).contains("it has 'metric_name'"))
        #expect(await problem("steady", ["cach": .bool(true)]).contains("did you mean 'cache'?"))
        #expect(await problem("steady", ["cache": .bool(true)]) == "it opened")
        #expect(await problem("hlaf", [:]).contains("did you mean 'half'?"))
    }
}
