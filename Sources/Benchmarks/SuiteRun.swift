internal import Foundation
internal import JSON
internal import Job
internal import Records

/// One going through of a suite: measures one thing after the other, and keeps what came of each.
struct SuiteRun {
    let suite: BenchmarkSuite
    /// For models and for what steps leave behind.
    let folder: URL
    private(set) var report: SuiteReport
    let note: (String) -> Void

    init(suite: BenchmarkSuite, folder: URL, report: SuiteReport, note: @escaping (String) -> Void) {
        (self.suite, self.folder, self.report, self.note) = (suite, folder, report, note)
    }

    /// Measures everything that was asked for.
    ///
    /// - Returns: What ended it. A measurement that fails ends nothing.
    mutating func measure() async -> SuiteReport.End {
        do {
            try save()  // a file that cannot be written is known before an hour has gone
            let tokenizer = folder.appending(path: "tokenizer")
            try Self.writeTokenizer(to: tokenizer, texts: folder.appending(path: "texts.txt"))
            for shape in suite.shapes {
                let parts = shape.parts(of: suite.parts)
                guard !parts.isEmpty else { continue }
                let model = folder.appending(path: shape.name).path
                note(try await shape.making(output: model, tokenizer: tokenizer.path).run())
                try measure(parts, of: shape, model)
            }
            return .finished
        } catch let error where Self.isStop(error) {
            return .stopped
        } catch {
            return .failed(error)
        }
    }

    private mutating func measure(_ parts: Set<BenchmarkSuite.Part>, of shape: BenchmarkSuite.Shape, _ model: String)
        throws
    {
        let whole = parts.contains(.grpo) ? try steps(shape, .grpo, model) : nil
        let adapted = parts.contains(.adapters) ? try adapterSteps(shape, model) : nil
        if let whole, let adapted { report.remarks.append("\(shape.name): " + adapted.remark(beside: whole)) }
        if parts.contains(.dpo) { _ = try steps(shape, .dpo, model) }
        if parts.contains(.sampling), suite.isNamed || suite.peers.installed.contains(.llamaCpp) {
            try sampling(shape, model)
        }
        if parts.contains(.growth) { try growth(shape, model) }
        if parts.contains(.prefill) { try prefill(shape, model) }
        if parts.contains(.startup) { try startUp(shape, model) }
    }

    // MARK: Steps

    /// A step of Plumbline, and the same step of the peers that take such.
    ///
    /// - Returns: Plumbline's; `nil` where that failed.
    private mutating func steps(
        _ shape: BenchmarkSuite.Shape, _ algorithm: Workload.Algorithm, _ model: String
    ) throws -> StepMeasurement? {
        let part = algorithm == .dpo ? BenchmarkSuite.Part.dpo : .grpo
        let flags = shape.flags(algorithm, steps: suite.steps)
        // Of given pairs the step itself can be compared. The others have prompts and draws of their own.
        let after = folder.appending(path: "after")
        let compares = algorithm == .dpo && suite.peers.installed.contains(.trl)
        func subject(_ trainer: String) -> SuiteReport.Subject {
            SuiteReport.Subject(part, shape.name, algorithm.rawValue, trainer)
        }
        let own = try measure(
            subject(SuiteReport.plumbline),
            plumbline(
                ["bench", "step", "--json", "--model", model] + flags
                    + (compares ? Self.comparison + ["--save-first-step", after.path] : [])))
        add(own, subject(SuiteReport.plumbline), tokens: shape.newTokens(algorithm))
        let first = try? own.get()
        for peer in algorithm == .grpo ? [Peer.trl, .pyTorch] : [.trl] where suite.peers.installed.contains(peer) {
            let compared = compares && first != nil ? Self.comparison + ["--compare", after.path] : []
            let theirs = try measure(
                subject(peer.rawValue), script(peer, [model] + flags + passes(of: peer, shape, algorithm) + compared))
            add(theirs, subject(peer.rawValue), tokens: shape.newTokens(algorithm), beside: first)
        }
        return first
    }

    /// The step of `grpo` with adapters, beside TRL's with peft's.
    ///
    /// What a step samples is each trainer's own. How far their adapters are apart is therefore that of three steps of
    /// `dpo` on given pairs, from one adapter whose A and B are both other than 0.
    private mutating func adapterSteps(
        _ shape: BenchmarkSuite.Shape, _ model: String
    ) throws -> StepMeasurement? {
        let flags = shape.flags(.grpo, steps: suite.steps) + Self.adapters
        func subject(_ trainer: String) -> SuiteReport.Subject {
            SuiteReport.Subject(.adapters, shape.name, "grpo, adapters", trainer)
        }
        let own = try measure(
            subject(SuiteReport.plumbline), plumbline(["bench", "step", "--json", "--model", model] + flags))
        add(own, subject(SuiteReport.plumbline), tokens: shape.newTokens(.grpo))
        let first = try? own.get()
        guard suite.peers.installed.contains(.peft) else { return first }
        let peft = Peer.peft.rawValue
        let theirs = try measure(
            subject(peft), script(.peft, [model] + flags + passes(of: .peft, shape, .grpo)))
        add(theirs, subject(peft), tokens: shape.newTokens(.grpo), beside: first)
        try compareAdapters(shape, model)
        return first
    }

    /// How far the adapters of both trainers are apart after three steps on the same two pairs each.
    private mutating func compareAdapters(_ shape: BenchmarkSuite.Shape, _ model: String) throws {
        let name = "three steps of dpo, adapters by both"
        let ours = SuiteReport.Subject(.adapters, shape.name, name, SuiteReport.plumbline)
        let theirs = SuiteReport.Subject(.adapters, shape.name, name, Peer.peft.rawValue)
        note(theirs.words)
        let (start, after) = (folder.appending(path: "adapter").path, folder.appending(path: "adapter-after").path)
        let work =
            ["--algorithm", "dpo"] + BenchmarkSuite.Shape.size(prompts: 2, completions: 2) + shape.lengths(steps: 2)
            + Self.comparison
        let making = script(.peft, [model] + work + Self.adapters + ["--make-adapter", start])
        let training = plumbline(
            ["bench", "step", "--json", "--model", start, "--save-last-step", after] + work + Self.adapters)
        guard try failure(of: making, theirs) == nil, try failure(of: training, ours) == nil else { return }
        let compared = try attempt {
            let object = try object(of: script(.peft, [start] + work + ["--compare", after, "--compared-step", "3"]))
            return JSONValue.object((object.members ?? []).filter { $0.key.hasPrefix("weight_") })
        }
        try record(compared, of: theirs)
        if let object = try? compared.get() { report.compareLastStep(with: object) }
    }

    /// TRL's passes where one over everything is not its best.
    private func passes(of peer: Peer, _ shape: BenchmarkSuite.Shape, _ algorithm: Workload.Algorithm) -> [String] {
        guard algorithm == .grpo, peer == .trl || peer == .peft, let pass = shape.trlPass else { return [] }
        return ["--passes-of", "\(pass)"]
    }

    /// On every projection of the blocks, with α twice the rank.
    private static let adapters = ["--lora-rank", "16"]

    /// AdamW for a step that is compared: with an ε far above the gradients the first step is one along them,
    /// −η·g/(|g| + ε). With the usual one it is −η·sign(g), and where a gradient is 0 the sign is that of rounding: two
    /// trainers with the same gradients were 2η apart.
    private static let comparison = ["--learning-rate", "0.1", "--adam-epsilon", "1"]

    // MARK: Sampling

    /// Completions of one prompt, so many rows at once: float32 beside llama.cpp's, int8 beside its Q8_0.
    private mutating func sampling(_ shape: BenchmarkSuite.Shape, _ model: String) throws {
        let numbers = [1, 8, 32]
        let lengths = shape.lengths(steps: suite.steps)
        for (name, layout, type) in [("float32", "packed", "f32"), ("int8", "int8", "q8_0")] {
            var theirs: Result<[PeerRollout], SuiteFailure>?
            if suite.peers.installed.contains(.llamaCpp) {
                let file = folder.appending(path: "\(shape.name).\(type).gguf").path
                var converting = plumbline(["convert", "--model", model, "--output", file, "--type", type])
                converting.isQuiet = true
                theirs = try llamaCpp(
                    SuiteReport.Subject(.sampling, shape.name, "\(name) weights", Peer.llamaCpp.rawValue),
                    converting, script(.llamaCpp, [file, "--rows"] + numbers.map(String.init) + lengths))
            }
            for rows in numbers {
                let subject = SuiteReport.Subject(
                    .sampling, shape.name, "\(name) weights, \(rows) at once", SuiteReport.plumbline)
                let own = try measure(
                    subject,
                    plumbline(
                        ["bench", "rollout", "--json", "--model", model, "--generation-layout", layout]
                            + BenchmarkSuite.Shape.size(prompts: 1, completions: rows) + lengths))
                let tokens = Double(rows * BenchmarkSuite.Shape.completionTokens)
                report.rollouts.append(
                    PeerRollout.row(
                        [shape.name, name], rows: rows, own: own.map { tokens / $0.seconds },
                        peer: theirs?.flatMap { Self.rollout(of: rows, among: $0) }))
            }
        }
    }

    private mutating func llamaCpp(
        _ subject: SuiteReport.Subject, _ converting: ChildProcess, _ measuring: ChildProcess
    ) throws -> Result<[PeerRollout], SuiteFailure> {
        note(subject.words)
        let ours = SuiteReport.Subject(
            subject.part, subject.model, "\(subject.name), convert", SuiteReport.plumbline)
        if let failure = try failure(of: converting, ours) { return .failure(failure) }
        let found = try attempt {
            let object = try object(of: measuring)
            return (object, try PeerRollout.all(in: object))
        }
        try record(found.map(\.0), of: subject)
        return found.map(\.1)
    }

    private static func rollout(of rows: Int, among rollouts: [PeerRollout]) -> Result<PeerRollout, SuiteFailure> {
        guard let found = rollouts.first(where: { $0.rows == rows }) else {
            return .failure(
                SuiteFailure(JobError(place: Peer.llamaCpp.rawValue, message: "no rollout of \(rows) rows")))
        }
        return .success(found)
    }

    // MARK: Plumbline alone

    /// Measured repetitions of what takes little time.
    private var quickSteps: Int { max(suite.steps, 5) }

    /// Steps of one prompt with more and more completions, and as many completions of a longer prompt.
    private mutating func growth(_ shape: BenchmarkSuite.Shape, _ model: String) throws {
        var steps = StepGrowth(model: shape.name)
        for completions in StepGrowth.completions {
            let outcome = try measure(
                SuiteReport.Subject(.growth, shape.name, "\(completions) completions", SuiteReport.plumbline),
                plumbline(
                    ["bench", "step", "--json", "--model", model]
                        + BenchmarkSuite.Shape.size(prompts: 1, completions: completions)
                        + shape.lengths(steps: quickSteps)))
            steps.outcomes.append(outcome)
            report.growth = steps
        }
        var prompts = PromptGrowth(model: shape.name)
        for tokens in PromptGrowth.promptTokens {
            let outcome = try measure(
                SuiteReport.Subject(.growth, shape.name, "a prompt of \(tokens) tokens", SuiteReport.plumbline),
                plumbline(
                    ["bench", "rollout", "--json", "--model", model]
                        + BenchmarkSuite.Shape.size(prompts: 1, completions: PromptGrowth.completions)
                        + BenchmarkSuite.Shape.lengths(
                            promptTokens: tokens, completionTokens: BenchmarkSuite.Shape.completionTokens,
                            steps: quickSteps)))
            prompts.outcomes.append(outcome)
            report.promptGrowth = prompts
        }
    }

    /// A rollout of a single token: the prompt is read, and nothing decoded. Memory stays between them, as it does between
    /// the prompts of one phase.
    private mutating func prefill(_ shape: BenchmarkSuite.Shape, _ model: String) throws {
        for tokens in [64, 256, 1024] {
            let outcome = try measure(
                SuiteReport.Subject(.prefill, shape.name, "a prompt of \(tokens) tokens", SuiteReport.plumbline),
                plumbline(
                    ["bench", "rollout", "--json", "--residency", "keep", "--model", model]
                        + BenchmarkSuite.Shape.size(prompts: 1, completions: 1)
                        + BenchmarkSuite.Shape.lengths(promptTokens: tokens, completionTokens: 1, steps: quickSteps)))
            report.prefills.append(
                Prefill(
                    model: shape.name, promptTokens: tokens, headParameters: shape.vocabulary * shape.hidden,
                    outcome: outcome))
        }
    }

    /// `generate` of a single token, from its start to the first byte it prints.
    private mutating func startUp(_ shape: BenchmarkSuite.Shape, _ model: String) throws {
        let subject = SuiteReport.Subject(.startup, shape.name, "generate to its first token", SuiteReport.plumbline)
        note(subject.words)
        let outcome = try attempt {
            try StartUp(
                seconds: (0..<StartUp.runs).map { _ in
                    let child = plumbline(
                        ["generate", "--model", model, "--prompt", "12+30=", "--max-completion-length", "1"])
                    guard let seconds = try child.run().secondsToFirstByte else {
                        throw JobError(place: "generate", message: "it printed nothing")
                    }
                    return seconds
                })
        }
        report.startUps.append((shape.name, outcome))
        try record(outcome.map(\.json), of: subject)
    }

    // MARK: Processes, and what is kept

    private func plumbline(_ arguments: [String]) -> ChildProcess {
        ChildProcess(program: suite.program, arguments: arguments, folder: folder, stop: suite.stop)
    }

    private func script(_ peer: Peer, _ arguments: [String]) -> ChildProcess {
        var process = suite.peers.process(peer, arguments)
        (process.folder, process.stop) = (folder, suite.stop)
        return process
    }

    private func object(of process: ChildProcess) throws -> JSONValue {
        try LastObject.of(process.run().text, from: process.program.lastPathComponent)
    }

    /// Runs a measuring process and keeps what it printed.
    private mutating func measure(
        _ subject: SuiteReport.Subject, _ process: ChildProcess
    ) throws -> Result<StepMeasurement, SuiteFailure> {
        note(subject.words)
        let outcome = try attempt {
            let object = try object(of: process)
            return (object, try StepMeasurement(object, of: subject.trainer))
        }
        try record(outcome.map(\.0), of: subject)
        return outcome.map(\.1)
    }

    /// Runs what is no measurement itself but comes before one.
    ///
    /// - Returns: Why it failed, which is then kept; `nil` where it did not.
    private mutating func failure(of process: ChildProcess, _ subject: SuiteReport.Subject) throws -> SuiteFailure? {
        guard case .failure(let failure) = try attempt({ try process.run() }) else { return nil }
        try record(.failure(failure), of: subject)
        return failure
    }

    /// What `work` makes, or why it does not.
    ///
    /// - Throws: `StopRequested` alone, which ends the suite.
    private func attempt<Value>(_ work: () throws -> Value) throws -> Result<Value, SuiteFailure> {
        do {
            return .success(try work())
        } catch let error where Self.isStop(error) {
            throw error
        } catch {
            return .failure(SuiteFailure(error))
        }
    }

    private mutating func record(_ outcome: Result<JSONValue, SuiteFailure>, of subject: SuiteReport.Subject) throws {
        if case .failure(let failure) = outcome { note("failed: \(subject.words): \(failure.words)") }
        report.record(outcome, of: subject)
        try save()
    }

    private mutating func add(
        _ outcome: Result<StepMeasurement, SuiteFailure>, _ subject: SuiteReport.Subject, tokens: Int,
        beside own: StepMeasurement? = nil
    ) {
        report.steps.append(SuiteReport.StepRow(subject: subject, tokens: tokens, outcome: outcome, own: own))
    }

    private func save() throws { try suite.file.map(report.write) }

    private static func isStop(_ error: any Error) -> Bool { error is StopRequested || error is CancellationError }

    /// A byte-level tokenizer of the tiny model's vocabulary, trained on sums.
    private static func writeTokenizer(to folder: URL, texts: URL) throws {
        let lines = (0..<2000).map { "\($0 % 100)+\($0 / 20)=\($0 % 100 + $0 / 20). What is \($0) plus \($0 % 7)?" }
        try Data(lines.joined(separator: "\n").utf8).write(to: texts)
        _ = try TokenizerTraining(
            inputs: [texts.path], vocabularySize: 320, specialTokens: ["<|endoftext|>"], splitPattern: "qwen2",
            splitsDigits: false
        ).run(output: folder.path)
    }
}
