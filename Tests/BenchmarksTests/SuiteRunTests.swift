import Benchmarks
import Foundation
import JSON
import Records
import Testing

/// Scripts that stand in for `plumbline` and for a Python with every peer, and the calls they got.
private final class StandIns {
    let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-suite-\(UUID().uuidString)")

    /// - Parameters:
    ///   - plumbline: What happens before it prints the object of a measurement.
    ///   - python: The same of a peer's script.
    init(plumbline: String = "", python: String = "") throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // 4, 16 and 64 completions take 1, 2.2 and 9.4 s; other steps 2 s.
        try write(
            "plumbline",
            """
            \(plumbline)
            seconds=2
            case "$* " in
            "generate "*) printf '12+30=42\\n'; exit 0 ;;
            *"--prompts 1 --completions 4 "*) seconds=1 ;;
            *"--prompts 1 --completions 16 "*) seconds=2.2 ;;
            *"--prompts 1 --completions 64 "*) seconds=9.4 ;;
            esac
            echo "{\\"step_s\\": {\\"median\\": $seconds, \\"p10\\": $seconds, \\"p90\\": $seconds},"\\
                '"ceiling_gflops": 100, "ceiling_gbps": 10, "workload": {"parameters": 100000}}'
            """)
        try write(
            "python",
            """
            if [ "$1" = -c ]; then
                printf 'cyllama 0.2\\ndatasets 4\\npeft 0.21\\nsafetensors\\ntorch 2.13.0\\ntransformers 5.23\\ntrl 1.16.0\\n'
                exit 0
            fi
            \(python)
            echo '{"step_s": {"median": 6, "p10": 5, "p90": 7}, "weight_difference": 0.25, "weight_move": 0.5}'
            """)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms no test

    private func write(_ name: String, _ script: String) throws {
        let file = folder.appending(path: name)
        let calls = folder.appending(path: "calls-of-\(name)").path
        try Data("#!/bin/sh\necho \"$*\" >> '\(calls)'\n\(script)\n".utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
    }

    func calls(of name: String) throws -> [String] {
        try String(contentsOf: folder.appending(path: "calls-of-\(name)"), encoding: .utf8).split(separator: "\n")
            .map(String.init)
    }

    func suite(
        _ parts: Set<BenchmarkSuite.Part>, python: Bool = false, json: String? = nil, stop: StopSignal = StopSignal()
    ) throws -> BenchmarkSuite {
        let shape = BenchmarkSuite.Shape(
            name: "mini", vocabulary: 512, hidden: 32, layers: 1, heads: 2, keyValueHeads: 1, intermediate: 32,
            prompts: 2, pairs: 3, promptTokens: 8, trlPass: 8, grows: true)
        return try BenchmarkSuite(
            peersPython: python ? folder.appending(path: "python").path : nil, peersScripts: "scripts", steps: 1,
            only: parts, json: json.map { folder.appending(path: $0).path }, shapes: [shape],
            program: folder.appending(path: "plumbline").path, stop: stop)
    }

    func json(_ name: String) throws -> JSONValue {
        try JSONValue(parsing: String(contentsOf: folder.appending(path: name), encoding: .utf8))
    }
}

@Suite("Benchmarks: a suite goes on, whatever happens to a process")
struct SuiteRunTests {
    private func cells(_ names: [String], in text: String) -> [String]? {
        text.split(separator: "\n").map { line in
            line.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        }.first { $0.starts(with: names) }
    }

    /// One is killed and leaves a process behind, one ends with an error, one prints no object; the fourth stands in the
    /// table with 3 times Plumbline's seconds: 2 · 8 · 64 tokens in 6 s, and 3 · 2 · 64.
    @Test func peersThatFailAreRows() async throws {
        let standIns = try StandIns(
            python: """
                case "$*" in
                *--lora-rank*) sleep 300 & kill -9 $$ ;;
                *pytorch_step.py*) echo 'Traceback:' >&2; echo 'RuntimeError: too large' >&2; exit 1 ;;
                *llama_cpp_rollout.py*) echo 'no object'; exit 0 ;;
                esac
                """)
        let report = try await standIns.suite(
            [.grpo, .adapters, .dpo, .sampling], python: true, json: "suite.json"
        ).run { _ in }
        let text = report.text
        #expect(cells(["mini", "grpo", "Plumbline"], in: text) == ["mini", "grpo", "Plumbline", "2", "2–2", "512"])
        #expect(
            cells(["mini", "grpo", "TRL"], in: text) == [
                "mini", "grpo", "TRL", "6", "5–7", "170.7", "3", "0.25 of 0.5",
            ])
        #expect(cells(["mini", "grpo", "PyTorch"], in: text) == ["mini", "grpo", "PyTorch", "status 1"])
        #expect(
            cells(["mini", "grpo, adapters", "TRL + peft"], in: text)
                == ["mini", "grpo, adapters", "TRL + peft", "signal 9"])
        #expect(
            cells(["mini", "dpo", "TRL"], in: text) == ["mini", "dpo", "TRL", "6", "5–7", "64", "3", "0.25 of 0.5"])
        #expect(cells(["mini", "float32", "8"], in: text) == ["mini", "float32", "8", "256", "failed"])
        #expect(text.contains("failed: mini: grpo, PyTorch: ended with status 1: RuntimeError: too large"))
        #expect(text.contains("TRL + peft: killed by signal 9, probably out of memory"))
        #expect(report.error == nil)

        let json = try standIns.json("suite.json")
        #expect(json["state"]?.string == "finished")
        #expect(json["peers"]?["trl"]?.string == "1.16.0" && json["peers"]?["safetensors"]?.string == "")
        let failed = try #require(json["failures"]?.elements).map { [$0["name"]?.string, $0["trainer"]?.string] }
        #expect(
            failed == [
                ["grpo", "PyTorch"], ["grpo, adapters", "TRL + peft"],
                ["three steps of dpo, adapters by both", "TRL + peft"], ["float32 weights", "llama.cpp"],
                ["int8 weights", "llama.cpp"],
            ])
        // TRL alone is asked for passes, and only where it samples.
        let asked = try standIns.calls(of: "python").filter { $0.contains("--passes-of 8") }
        #expect(asked.count == 2 && asked.allSatisfy { $0.contains("trl_step.py") && $0.contains("--algorithm grpo") })
    }

    /// 1 s to 2.2 s in 12 completions, and 2.2 s to 9.4 s in 48, as in the tests of the report; 100,000 parameters of which 512 · 32 are the head's.
    @Test func plumblineAloneIsMeasuredToo() async throws {
        let standIns = try StandIns()
        let report = try await standIns.suite([.growth, .prefill, .startup]).run { _ in }
        let text = report.text
        #expect(cells(["mini", "step"], in: text) == ["mini", "step", "1", "2.2", "9.4", "100", "150", "1.5"])
        #expect(cells(["mini", "16"], in: text) == ["mini", "16", "2.2", "2.2", "1"])
        // 2 · ((100,000 − 16,384) · 1024 + 16,384) operations in 2 s, of 100 GFLOP/s.
        let share = 2 * (83_616.0 * 1024 + 16_384) / 2 / 100e9
        let found = try #require(report.json["prefill"]?.elements?.last)
        #expect(found["prompt_tokens"]?.int == 1024)
        #expect(abs(try #require(found["fraction_of_ceiling"]?.double) - share) < 1e-12)
        let calls = try standIns.calls(of: "plumbline")
        #expect(calls.filter { $0.hasPrefix("generate ") && $0.contains("--max-completion-length 1") }.count == 5)
        #expect(
            calls.filter { $0.contains("--completions 1 ") && $0.contains("--completion-tokens 1 ") }.count == 3)
        let start = try #require(report.json["measurements"]?.elements?.last?["measured"]?["first_token_s"])
        #expect(try #require(start["best"]?.double) <= #require(start["median"]?.double))
        #expect(report.error == nil && text.contains("left out: TRL, as no --peers-python is given"))
    }

    /// Plumbline's step of pairs fails: TRL's stands there without a comparison, and the command fails in the end.
    @Test func aFailureOfOursEndsNothingButIsAnError() async throws {
        let standIns = try StandIns(
            plumbline: "case \"$*\" in *\"--algorithm dpo\"*) echo 'plumbline: broken' >&2; exit 70 ;; esac")
        let report = try await standIns.suite([.dpo, .startup], python: true).run { _ in }
        #expect(cells(["mini", "dpo", "Plumbline"], in: report.text) == ["mini", "dpo", "Plumbline", "status 70"])
        #expect(cells(["mini", "dpo", "TRL"], in: report.text)?.prefix(5) == ["mini", "dpo", "TRL", "6", "5–7"])
        #expect(report.text.contains("failed: mini: dpo, Plumbline: ended with status 70: plumbline: broken"))
        #expect(report.text.contains("Start of generate"))
        #expect((report.error as? SuiteReport.OwnFailure)?.count == 1)
        #expect(try !standIns.calls(of: "python").contains { $0.contains("--compare") })
    }

    /// The second measurement waits for ever, and sees the file as the first left it.
    @Test func aStopKillsWhatIsMeasuredAndKeepsTheRest() async throws {
        let standIns = try StandIns(
            plumbline: """
                folder=$(dirname "$0")
                case "$*" in *"--completions 16 "*) cp "$folder/suite.json" "$folder/part"; mv "$folder/part" "$folder/seen.json"; sleep 300 & sleep 300 ;; esac
                """)
        let stop = StopSignal()
        let seen = standIns.folder.appending(path: "seen.json").path
        let watching = Task.detached {
            for _ in 0..<6000 where !FileManager.default.fileExists(atPath: seen) {
                try await Task.sleep(for: .milliseconds(10))
            }
            stop.request()
        }
        let report = try await standIns.suite([.growth], json: "suite.json", stop: stop).run { _ in }
        try await watching.value
        guard case .stopped = report.end else {
            Issue.record("it ended with \(report.end)")
            return
        }
        #expect(cells(["mini", "step"], in: report.text) == ["mini", "step", "1"])
        #expect(report.text.hasSuffix("stopped on request: this is what was measured until then"))
        for (name, state) in [("seen.json", "running"), ("suite.json", "stopped")] {
            let json = try standIns.json(name)
            #expect(json["state"]?.string == state)
            #expect(json["measurements"]?.elements?.map { $0["name"]?.string } == ["4 completions"])
            #expect(json["failures"] == [])
        }
    }

    @Test func aFileThatCannotBeWrittenIsKnownBeforeAnythingIsMeasured() async throws {
        let standIns = try StandIns()
        let report = try await standIns.suite([.growth], json: "missing/suite.json").run { _ in }
        #expect(report.error != nil)
        #expect(throws: (any Error).self) { try standIns.calls(of: "plumbline") }
    }
}
