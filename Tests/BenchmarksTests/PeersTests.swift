import Benchmarks
import Foundation
import JSON
import Job
import Testing

@Suite("Benchmarks: peers, and what they print")
struct PeersTests {
    @Test func aPeerThatLacksAPackageIsLeftOutAndNamed() {
        let some = Peers(
            python: "peers/bin/python", modules: ["torch": "2.13.0", "safetensors": "", "transformers": "", "trl": ""],
            "scripts")
        #expect(some.installed == [.pyTorch])
        #expect(
            some.leftOut == [
                "left out: TRL, as peers/bin/python has no datasets",
                "left out: TRL + peft, as peers/bin/python has no datasets, peft",
                "left out: llama.cpp, as peers/bin/python has no cyllama",
            ])
        #expect(some.versions["torch"] == "2.13.0")
        let modules = Set(Peer.allCases.flatMap(\.modules))
        let all = Peers(
            python: "python", modules: Dictionary(uniqueKeysWithValues: modules.map { ($0, "1") }), "scripts")
        #expect(all.installed == Set(Peer.allCases) && all.leftOut.isEmpty)
        let none = Peers(python: nil, modules: nil, "scripts")
        #expect(none.installed.isEmpty)
        #expect(none.leftOut.map { $0.hasSuffix("as no --peers-python is given") } == [true, true, true, true])
    }

    private func step(_ json: String) throws -> StepMeasurement {
        try StepMeasurement(JSONValue(parsing: json), of: "a trainer")
    }

    /// 2,048 tokens in 2 s are 1,024 a second; 5 s are 2.5 times 2 s; 3 · 1024³ bytes are 3 GiB.
    @Test func aPeersRowHasItsTimeInPlumblines() throws {
        let own = try step(
            #"{"step_s": {"median": 2.0, "p10": 1.0, "p90": 3.0}, "generation_s": {"median": 0.5}, "fraction_of_ceiling": 0.6}"#
        )
        #expect(own.row(["m"], tokens: 2048) == ["m", "2", "1–3", "0.5", "1024", "60 %", "", "", ""])
        let peer = try step(
            #"{"step_s": 5.0, "generation_s": null, "peak_rss_bytes": 3221225472, "weight_difference": 0.25, "weight_move": 0.5}"#
        )
        #expect(
            peer.row(["m"], tokens: 2048, beside: own) == ["m", "5", "", "", "409.6", "", "3", "2.5", "0.25 of 0.5"])
        let error = #expect(throws: JobError.self) { try step(#"{"step": 1}"#) }
        #expect("\(error!)".contains("a trainer: what it printed last has no step_s"))
    }

    /// 3 s are 1.5 times as fast as 4.5 s; 1 GiB is a quarter of 4.
    @Test func aStepWithAdaptersStandsBesideTheWholeModels() throws {
        let whole = try step(#"{"step_s": 4.5, "peak_rss_bytes": 4294967296}"#)
        let adapted = try step(#"{"step_s": 3.0, "peak_rss_bytes": 1073741824}"#)
        #expect(
            adapted.remark(beside: whole)
                == "a step with adapters is 1.5 times as fast as the whole model's, in 0.25 of its memory")
        #expect(try !step(#"{"step_s": 3.0}"#).remark(beside: whole).contains("memory"))
    }

    /// 12,500,000 bytes of state are 12.5 MB, and so are 0.0125 GB; 2 · 1024³ bytes 2 GiB.
    @Test func anOptimizersRowHasItsEstimatesBesideWhatWasMeasured() throws {
        let json = """
            {"step_s": {"median": 1.5}, "optimizer_state_bytes": 12500000, "memory": {"optimizer_gb": 0.0125},
             "estimated_peak_bytes": 2147483648, "peak_rss_bytes": 1073741824}
            """
        #expect(
            try OptimizerTable.row("lion", JSONValue(parsing: json)) == ["lion", "12.5", "12.5", "2", "1", "1.5"])
        #expect(try OptimizerTable.row("x", .object(["step_s": 2.0])) == ["x", "", "", "", "", "2"])
        #expect(throws: JobError.self) { try OptimizerTable.row("x", .object([])) }
        let names = OptimizerTable.settings.map(\.name)
        #expect(Set(names).count == names.count && names.first == "adamw_torch")
    }

    @Test func aRolloutStandsBesideLlamaCpps() throws {
        func rollouts(_ json: String) throws -> [PeerRollout] {
            try PeerRollout.all(in: JSONValue(parsing: json))
        }
        let found = try rollouts(
            """
            {"trainer": "llama.cpp", "rollouts": [
                {"rows": 1, "tokens_per_s": 40.0, "decoded_tokens_per_s": null},
                {"rows": 8, "tokens_per_s": 100.0, "decoded_tokens_per_s": 120.5}]}
            """)
        func row(_ own: Result<Double, SuiteFailure>, _ peer: Result<PeerRollout, SuiteFailure>?) -> [String] {
            PeerRollout.row(["m", "int8"], rows: 8, own: own, peer: peer)
        }
        #expect(row(.success(50), .success(found[0])) == ["m", "int8", "8", "50", "40", "", "1.25"])
        #expect(row(.success(50), .success(found[1])) == ["m", "int8", "8", "50", "100", "120.5", "0.5"])
        let killed = SuiteFailure(ProcessFailure(program: "python", ending: .signal(9), progress: ""))
        #expect(row(.success(50), .failure(killed)) == ["m", "int8", "8", "50", "signal 9", "", ""])
        #expect(row(.failure(killed), .success(found[0])) == ["m", "int8", "8", "signal 9", "40", "", ""])
        #expect(row(.success(50), nil) == ["m", "int8", "8", "50", "", "", ""])
        #expect(throws: JobError.self) { try rollouts("{}") }
        #expect(throws: JobError.self) { try rollouts(#"{"rollouts": [{"rows": 1}]}"#) }
    }
}
