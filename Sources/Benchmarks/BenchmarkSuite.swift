internal import Foundation
internal import Job
package import Records

/// The standing comparison: steps of a tiny and of a small model, whole and with adapters, beside TRL and plain PyTorch,
/// and their sampling beside llama.cpp, as far as a Python is given that has them; and of Plumbline alone how a step
/// grows with its completions, how fast a prompt is read, and how long the command takes to its first token.
///
/// Each measurement is a process of its own, one after the other, so that its peak of memory is its own, and so that one
/// that is killed takes no other with it.
package struct BenchmarkSuite: Sendable {
    /// What can be measured: `--only`.
    package enum Part: String, Sendable, CaseIterable {
        /// A step that samples what it learns from.
        case grpo
        /// The same with adapters in place of the whole model.
        case adapters
        /// A step on given pairs.
        case dpo
        /// Completions of one prompt, 1, 8 and 32 at once.
        case sampling
        /// Steps of one prompt with 4, 16 and 64 completions, and sampling with a short and a long prompt.
        case growth
        /// Reading a prompt of 64, 256 and 1024 tokens.
        case prefill
        /// `generate` up to its first token.
        case startup
    }

    let peers: Peers
    let steps: Int
    let parts: Set<Part>
    /// Whether ``parts`` were named. Sampling alone, without a peer to stand beside, is measured only then.
    let isNamed: Bool
    let file: URL?
    let shapes: [Shape]
    let program: URL
    let stop: StopSignal

    /// - Parameters:
    ///   - peersPython: What runs the peers' scripts; a peer that it has not all packages of is left out.
    ///   - peersScripts: The folder of the scripts.
    ///   - steps: Measured repetitions of a step and of a rollout beside a peer.
    ///   - only: What is measured; `nil` for everything.
    ///   - json: A file that is written anew after every measurement.
    ///   - shapes: The models.
    ///   - program: What is run as `plumbline`; `nil` for this program.
    ///   - stop: Ends what is being measured.
    /// - Throws: `JobError` for a `peersPython` that is no Python.
    package init(
        peersPython: String?, peersScripts: String, steps: Int, only: Set<Part>? = nil, json: String? = nil,
        shapes: [Shape] = Shape.all, program: String? = nil, stop: StopSignal = StopSignal()
    ) throws {
        peers = try Peers(python: peersPython, scripts: peersScripts)
        self.steps = steps
        parts = only ?? Set(Part.allCases)
        isNamed = only != nil
        file = json.map { URL(filePath: $0) }
        self.shapes = shapes
        self.program = program.map { URL(filePath: $0) } ?? ChildProcess.own
        self.stop = stop
    }

    /// Makes the models in a temporary folder, measures, and removes them.
    ///
    /// - Parameter note: Hears what is measured next, and what failed.
    /// - Returns: What was measured, whatever ended it.
    package func run(note: @escaping (String) -> Void) async -> SuiteReport {
        for line in peers.leftOut { note(line) }
        var report = SuiteReport(
            facts: [], commit: SourceCommit.short, peers: peers.versions, leftOut: peers.leftOut)
        let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-bench-\(UUID().uuidString)")
        defer {
            do { try FileManager.default.removeItem(at: folder) } catch {
                note("\(folder.path) could not be removed: \(error)")
            }
        }
        do {
            report.facts = try await EnvironmentReport.facts()
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            var run = SuiteRun(suite: self, folder: folder, report: report, note: note)
            let end = await run.measure()
            report = run.report
            report.end = end
            try file.map(report.write)
        } catch {
            report.end = .failed(error)
        }
        return report
    }
}

/// What this program was built from.
enum SourceCommit {
    /// Of the repository in which it lies; `nil` where it lies in none.
    static var short: String? {
        let found = try? ProcessOutput.of(
            URL(filePath: "/usr/bin/env"),
            ["git", "-C", ChildProcess.own.deletingLastPathComponent().path, "rev-parse", "--short", "HEAD"],
            quiet: true)  // no git, or no repository: not known
        return found?.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
