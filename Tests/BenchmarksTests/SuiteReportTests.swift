import Benchmarks
import Foundation
import JSON
import Job
import Testing

@Suite("Benchmarks: what a suite says of what it measured, and of what failed")
struct SuiteReportTests {
    private static let killed = SuiteFailure(
        ProcessFailure(program: "python trl_step.py", ending: .signal(9), progress: "loading\n"))

    private func step(_ members: KeyValuePairs<String, JSONValue>) throws -> StepMeasurement {
        try StepMeasurement(.object(members), of: "bench step")
    }

    /// The cells of the line whose first three are `name`; no cell of these tables has two spaces in it.
    private func line(_ name: String, in text: String) -> [String]? {
        text.split(separator: "\n").map { line in
            line.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        }.first { $0.prefix(3).joined(separator: " ") == name }
    }

    // MARK: How a process ended

    @Test(arguments: [
        (ProcessFailure.Ending.signal(9), "x\n", "signal 9", "killed by signal 9, probably out of memory"),
        (.signal(11), "", "signal 11", "killed by signal 11"),
        (.status(1), "Traceback\n  ValueError: no \n\n", "status 1", "ended with status 1: ValueError: no"),
        (.status(2), "\n", "status 2", "ended with status 2"),
    ])
    func aFailureSaysHowItEnded(_ ending: ProcessFailure.Ending, _ progress: String, _ short: String, _ words: String) {
        let failure = SuiteFailure(ProcessFailure(program: "python", ending: ending, progress: progress))
        #expect(failure.short == short && failure.words == words && failure.ending == ending)
    }

    @Test func whatNeverRanIsAFailureWithoutAnEnd() {
        let failure = SuiteFailure(JobError(place: "TRL", message: "what it printed last has no step_s"))
        #expect(failure.short == "failed" && failure.words.contains("has no step_s") && failure.ending == nil)
    }

    // MARK: Growth

    /// (2.2 − 1) s over 12 completions are 100 ms each, (9.4 − 2.2) s over 48 are 150 ms: half as much again. Of
    /// sampling: (1.1 − 0.5)/12 = 50 ms, (3.5 − 1.1)/48 = 50 ms.
    @Test func slopesAreDifferencesOverCompletions() throws {
        let seconds = [(1.0, 0.5), (2.2, 1.1), (9.4, 3.5)]
        let growth = StepGrowth(
            model: "m",
            outcomes: try seconds.map { .success(try step(["step_s": .number($0), "generation_s": .number($1)])) })
        let slopes = growth.slopes
        #expect(slopes.map(\.part) == ["step", "generation", "update"])
        func isClose(_ value: Double?, _ expected: Double) -> Bool { value.map { abs($0 - expected) < 1e-12 } ?? false }
        #expect(isClose(slopes[0].seconds[0], 0.1) && isClose(slopes[0].seconds[1], 0.15))
        #expect(isClose(slopes[0].ratio, 1.5) && isClose(slopes[1].ratio, 1))
        #expect(slopes[2].seconds == [nil, nil] && slopes[2].ratio == nil)
        #expect(
            growth.table == [
                [
                    "model", "part", "4 completions s", "16 completions s", "64 completions s", "4→16 ms each",
                    "16→64 ms each", "ratio",
                ],
                ["m", "step", "1", "2.2", "9.4", "100", "150", "1.5"],
                ["m", "generation", "0.5", "1.1", "3.5", "50", "50", "1"],
                ["m", "update", "", "", "", "", "", ""],
            ])
    }

    @Test func aPointThatFailedOrIsNotThereYetHasNoSlope() throws {
        var growth = StepGrowth(model: "m", outcomes: [.success(try step(["step_s": 1.0])), .failure(Self.killed)])
        #expect(growth.table[1] == ["m", "step", "1", "signal 9", "", "", "", ""])
        growth.outcomes.append(.success(try step(["step_s": 9.4])))
        #expect(growth.slopes[0].seconds == [nil, nil])
    }

    /// 0.75 s are one and a half times 0.5 s.
    @Test func aLongerPromptStandsBesideTheShortOne() throws {
        let both: [Result<StepMeasurement, SuiteFailure>] = [
            .success(try step(["step_s": 0.5])), .success(try step(["step_s": 0.75])),
        ]
        #expect(
            PromptGrowth(model: "m", outcomes: both).table == [
                ["model", "completions sampled", "prompt of 32 s", "prompt of 256 s", "ratio"],
                ["m", "16", "0.5", "0.75", "1.5"],
            ])
        #expect(
            PromptGrowth(model: "m", outcomes: [both[0], .failure(Self.killed)]).table[1][3...] == ["signal 9", ""])
    }

    // MARK: Prefill and start

    /// 1,000,000 parameters, 200,000 of them the head's, 64 tokens: 2 · (800,000 · 64 + 200,000) = 102.8 M operations in
    /// 0.01 s are 10.28 GFLOP/s, of 20 GFLOP/s 51.4 %. 64 tokens in 0.01 s are 6,400 a second.
    @Test func theHeadMeetsTheLastTokenAlone() throws {
        let measured = try step([
            "step_s": .object(["median": 0.01, "p10": 0.008, "p90": 0.02]), "ceiling_gflops": 20,
            "workload": .object(["parameters": 1_000_000]),
        ])
        let prefill = Prefill(model: "m", promptTokens: 64, headParameters: 200_000, outcome: .success(measured))
        #expect(abs(try #require(prefill.fractionOfCeiling) - 0.514) < 1e-12)
        #expect(prefill.row == ["m", "64", "0.01", "0.008–0.02", "6400", "51.4 %"])
        let failed = Prefill(model: "m", promptTokens: 64, headParameters: 1, outcome: .failure(Self.killed))
        #expect(failed.row == ["m", "64", "signal 9", "", "", ""] && failed.fractionOfCeiling == nil)
    }

    /// Of five, the second lies at a quarter: p10 is 0.4 of the way from the first to it.
    @Test func theBestStartAndTheMedianAreShown() {
        let start = StartUp(seconds: [0.5, 0.3, 0.9, 0.4, 0.6])
        #expect(StartUp.row("m", .success(start)) == ["m", "0.3", "0.5", "0.34–0.78"])
        #expect(StartUp.row("m", .failure(Self.killed)) == ["m", "signal 9"])
    }

    // MARK: The report

    private func subject(_ name: String, _ trainer: String, _ part: BenchmarkSuite.Part = .grpo) -> SuiteReport.Subject
    {
        SuiteReport.Subject(part, "small", name, trainer)
    }

    private func report() throws -> SuiteReport {
        var report = SuiteReport(
            facts: [("processor", "P"), ("kernels", "avx2"), ("cores", "2"), ("system", "S")], commit: "abc1234",
            peers: ["trl": "1.16.0"], leftOut: ["left out: llama.cpp, as python has no cyllama"])
        let own = JSONValue.object([
            "step_s": .object(["median": 2.0, "p10": 1.5, "p90": 2.5]), "ceiling_gflops": 100, "ceiling_gbps": 10,
            "machine": .object(["cores": "2"]),
        ])
        let trl = JSONValue.object(["step_s": 6.0])
        let ours = try StepMeasurement(own, of: "bench step")
        report.record(.success(own), of: subject("grpo", "Plumbline"))
        report.steps.append(.init(subject: subject("grpo", "Plumbline"), tokens: 2048, outcome: .success(ours)))
        report.record(.success(trl), of: subject("grpo", "TRL"))
        report.steps.append(
            .init(
                subject: subject("grpo", "TRL"), tokens: 2048,
                outcome: .success(try StepMeasurement(trl, of: "TRL")), own: ours))
        report.record(.failure(Self.killed), of: subject("grpo, adapters", "TRL + peft", .adapters))
        report.steps.append(
            .init(
                subject: subject("grpo, adapters", "TRL + peft", .adapters), tokens: 2048,
                outcome: .failure(Self.killed), own: ours))
        return report
    }

    /// 2,048 tokens in 2 s are 1,024 a second; 6 s are 3 times 2 s.
    @Test func aPeerThatWasKilledIsARowAndALine() throws {
        var report = try report()
        report.end = .finished
        let text = report.text
        #expect(line("small grpo Plumbline", in: text) == ["small", "grpo", "Plumbline", "2", "1.5–2.5", "1024"])
        #expect(line("small grpo TRL", in: text) == ["small", "grpo", "TRL", "6", "341.3", "3"])
        #expect(
            line("small grpo, adapters TRL + peft", in: text) == ["small", "grpo, adapters", "TRL + peft", "signal 9"])
        let lines = text.split(separator: "\n").map(String.init)
        #expect(
            lines.contains("failed: small: grpo, adapters, TRL + peft: killed by signal 9, probably out of memory"),
            "\(text)")
        #expect(
            lines.contains("machine: processor P, kernels avx2, cores 2, 100 GFLOP/s (100–100), 10 GB/s (10–10)"),
            "\(text)")
        #expect(lines.last == "left out: llama.cpp, as python has no cyllama")
        #expect(report.error == nil)  // a peer's failure is none of ours
        report.end = .stopped
        #expect(report.text == text + "\n\nstopped on request: this is what was measured until then")
    }

    @Test func aFailureOfOursIsAnErrorBehindTheTables() throws {
        var report = try report()
        report.record(.failure(Self.killed), of: subject("dpo", "Plumbline", .dpo))
        report.end = .finished
        #expect((report.error as? SuiteReport.OwnFailure)?.count == 1)
        #expect(report.text.contains("failed: small: dpo, Plumbline: killed by signal 9"))
        report.end = .failed(JobError(place: "disk", message: "full"))
        #expect(report.error is JobError)
    }

    @Test func theJSONHasWhatWasMeasuredAndWhatFailed() throws {
        var report = try report()
        #expect(report.json["state"]?.string == "running")
        report.end = .finished
        let object = try JSONValue(parsing: report.json.indented)
        #expect(
            object.members?.map(\.key) == [
                "state", "plumbline", "machine", "peers", "left_out", "ceilings", "measurements", "growth", "prefill",
                "failures",
            ])
        #expect(object["state"]?.string == "finished")
        #expect(object["plumbline"] == .object(["version": .string(PlumblineVersion.text), "commit": "abc1234"]))
        #expect(object["machine"]?["processor"]?.string == "P")
        #expect(object["peers"] == .object(["trl": "1.16.0"]))
        #expect(object["ceilings"]?["gflops"] == .object(["median": 100, "p10": 100, "p90": 100]))
        let measurements = try #require(object["measurements"]?.elements)
        #expect(
            measurements.first
                == .object([
                    "part": "grpo", "model": "small", "name": "grpo", "trainer": "Plumbline",
                    "measured": .object([
                        "step_s": .object(["median": 2, "p10": 1.5, "p90": 2.5]), "ceiling_gflops": 100,
                        "ceiling_gbps": 10,
                    ]),
                ]))
        #expect(measurements.map { $0["trainer"]?.string } == ["Plumbline", "TRL"])
        #expect(
            object["failures"] == [
                .object([
                    "part": "adapters", "model": "small", "name": "grpo, adapters", "trainer": "TRL + peft",
                    "status": .null, "signal": 9, "message": "killed by signal 9, probably out of memory",
                ])
            ])
    }
}
