import Benchmarks
import Foundation
import Placement
import Records
import Testing

@Suite("Benchmarks: the arithmetic around the stopwatch")
struct BenchmarkArithmeticTests {
    /// Eleven values 0, 10, … 100: position 0.1 · 10 = 1 holds 10, position 9 holds 90.
    @Test func percentilesAreOrderStatisticsWhateverTheOrder() {
        let spread = Spread([100, 0, 50, 10, 90, 20, 80, 30, 70, 40, 60])
        #expect(spread.median == 50)
        #expect(abs(spread.p10 - 10) < 1e-12)
        #expect(abs(spread.p90 - 90) < 1e-12)
    }

    /// Of 1 and 3 the median is 2; a tenth of the way from 1 to 3 is 1.2, nine tenths is 2.8.
    @Test func percentilesLieBetweenNeighbours() {
        let spread = Spread([3, 1])
        #expect(spread.median == 2)
        #expect(abs(spread.p10 - 1.2) < 1e-12)
        #expect(abs(spread.p90 - 2.8) < 1e-12)
    }

    @Test func oneMeasurementIsItsOwnSpread() {
        let spread = Spread([7])
        #expect(spread.median == 7 && spread.p10 == 7 && spread.p90 == 7)
    }

    /// 4 prompts × 256 + 32 completions × 64 = 3,072 tokens; 10 parameters.
    @Test(arguments: [(Workload.Part.step, 245_760.0), (.rollout, 61_440), (.update, 184_320)])
    func usefulOperationsReadEveryPromptOnce(part: Workload.Part, operations: Double) throws {
        let workload = try Workload(
            part, prompts: 4, completions: 8, promptTokens: 256, completionTokens: 64, steps: 1)
        #expect(workload.distinctTokens == 3072)
        #expect(workload.newTokens == 2048)
        #expect(workload.usefulOperations(parameters: 10) == operations)
        // Under adapters no gradient of a weight is made: 2 of its 6 operations are saved.
        let saved = part == .rollout ? 0.0 : 61_440
        #expect(workload.usefulOperations(parameters: 10, trainsAdapters: true) == operations - saved)
    }

    /// A step compares a group with itself; a rollout and an update do not.
    @Test(arguments: [(Workload.Part.step, 1, false), (.rollout, 1, true), (.update, 1, true), (.rollout, 0, false)])
    func aGroupOfOneIsNoStep(_ part: Workload.Part, _ completions: Int, _ isTaken: Bool) {
        func workload() throws -> Workload {
            try Workload(part, prompts: 1, completions: completions, promptTokens: 1, completionTokens: 1, steps: 1)
        }
        if isTaken {
            #expect(throws: Never.self) { try workload() }
        } else {
            let error = #expect(throws: SettingsError.self) { try workload() }
            #expect(error?.problems.map(\.place) == ["--completions"])
        }
    }

    /// 3,072 tokens × 8 × 1 M = 24.576 GFLOP in 2 s on a machine of 100 GFLOP/s: 12.288 %.
    @Test func theJSONHasItsKeysAndItsNumbers() throws {
        let workload = try Workload(
            .step, prompts: 4, completions: 8, promptTokens: 256, completionTokens: 64, steps: 3)
        var memory = Metrics()
        memory["memory/training_peak_gb"] = 2.147483648  // 2 · 1024³ bytes
        memory["memory/weights_gb"] = 0.5
        let report = BenchmarkReport(
            model: "m", parameters: 1_000_000, workload: workload, threads: 2, step: Spread([2]),
            generation: Spread([0.5]), update: Spread([1.5]),
            ceilings: MachineCeilings(gigaflops: 100, gigabytesPerSecond: 20), peakResidentBytes: 5,
            estimatedPeakBytes: 6, optimizerStateBytes: 7, residency: .keep, memory: memory, facts: [("cores", "2")])
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
        let expected = [
            "trainer", "step_s", "generation_s", "update_s", "tokens_per_s", "ceiling_gflops", "ceiling_gbps",
            "fraction_of_ceiling", "peak_rss_bytes", "estimated_peak_bytes", "optimizer_state_bytes", "workload",
            "machine", "controllers", "memory",
        ]
        #expect(Set(object.keys) == Set(expected))
        #expect(object["tokens_per_s"] as? Double == 1024)
        let share = try #require(object["fraction_of_ceiling"] as? Double)
        #expect(abs(share - 0.12288) < 1e-12)
        let update = try #require(object["update_s"] as? [String: Double])
        #expect(update == ["median": 1.5, "p10": 1.5, "p90": 1.5])
        #expect(object["controllers"] is NSNull)
        #expect(object["memory"] as? [String: Double] == ["training_peak_gb": 2.147483648, "weights_gb": 0.5])
        #expect((object["workload"] as? [String: Any])?["residency"] as? String == "keep")
        #expect(report.text.hasSuffix("residency keep, peaks by phase: training 2 GiB"))
    }

    /// 10 ms of a step of 2 s are 0.5 %, 0.8 s are 40 %.
    @Test func whatControllersTakeStandsBesideTheStep() throws {
        let workload = try Workload(
            .step, prompts: 4, completions: 8, promptTokens: 256, completionTokens: 64, steps: 3,
            controllers: [.hypervolume, .gradient])
        let cost = ControllerCost(
            names: ["hypervolume", "gradient"], seconds: Spread([0.01]), gradients: Spread([0.8]), backwardPasses: 2)
        let report = BenchmarkReport(
            model: "m", parameters: 1_000_000, workload: workload, threads: 2, step: Spread([2]),
            generation: Spread([0.5]), update: Spread([0.7]), controllers: cost,
            ceilings: MachineCeilings(gigaflops: 100, gigabytesPerSecond: 20), peakResidentBytes: 5,
            estimatedPeakBytes: 6, optimizerStateBytes: 7, adapterRank: 16, facts: [])
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
        let controllers = try #require(object["controllers"] as? [String: Any])
        #expect(abs((controllers["share_of_step"] as? Double ?? 9) - 0.005) < 1e-12)
        #expect(abs((controllers["gradients_share_of_step"] as? Double ?? 9) - 0.4) < 1e-12)
        #expect(controllers["backward_passes"] as? Int == 2)
        #expect(object["optimizer_state_bytes"] as? Int == 7)
        #expect((object["workload"] as? [String: Any])?["lora_rank"] as? Int == 16)
        // 3,072 tokens × 6 × 1 M = 18.432 GFLOP in 2 s, with adapters.
        #expect(abs(report.fractionOfCeiling - 0.09216) < 1e-12)
        let lines = report.text.split(separator: "\n").map(String.init)
        #expect(
            lines.contains {
                $0.hasPrefix("controllers (hypervolume, gradient): ") && $0.hasSuffix(", 0.5 % of the step")
            })
        #expect(
            lines.contains {
                $0.hasPrefix("gradients of each reward: 2 more forward and backward passes, ")
                    && $0.hasSuffix(", 40 % of the step")
            }, "\(lines)")
    }

    @Test(arguments: [
        (Workload.Part.step, Workload.Algorithm.dpo, [Workload.Controller.hypervolume]),
        (.update, .grpo, [.hypervolume]), (.step, .grpo, [.constraints, .gradient]),
        (.step, .grpo, [.hypervolume, .hypervolume]),
    ])
    func controllersThatDoNotFitAreRefused(
        _ part: Workload.Part, _ algorithm: Workload.Algorithm, _ controllers: [Workload.Controller]
    ) throws {
        let error = #expect(throws: SettingsError.self) {
            try Workload(
                part, algorithm, prompts: 1, completions: 2, promptTokens: 1, completionTokens: 1, steps: 1,
                controllers: controllers)
        }
        #expect(error?.problems.map(\.place) == ["--controllers"])
    }
}
