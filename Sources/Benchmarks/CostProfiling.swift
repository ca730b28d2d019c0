internal import Algorithms
internal import Foundation
internal import Job
internal import Models
internal import Placement
package import Planning
internal import PolicyUpdater
internal import Records
internal import RolloutEngine
internal import Tensors

/// Measures what the parts of calls take on this machine with one model: `plumbline profile`.
///
/// Each number is of the engine, the updater and the optimizer that a job uses, on random tokens: one round warms up,
/// the median of three counts (of one where it must be quick, or a round takes long). A curve begins with its smallest
/// amount, has as many as say how its time grows, and goes on as long as its share of the time lasts.
package struct CostProfiling: Sendable {
    private let model: ModelSource
    private let threads: Int
    private let rounds: Int
    private let secondsPerCurve: Double
    private let promptTokens: Int
    private let completionTokens: Int

    /// - Parameters:
    ///   - threads: `nil` uses every core.
    ///   - isQuick: One round of the smallest amounts.
    ///   - seconds: What all of it may take, about; the first amounts are measured whatever they take.
    ///   - promptTokens: Of a prompt; less where the model's context is short, as of completions.
    ///   - completionTokens: What rows are decoded in the middle of.
    /// - Throws: What is wrong with the folder, a number below its least.
    package init(
        model name: String, threads: Int? = nil, isQuick: Bool = false, seconds: Double = 100,
        promptTokens: Int = 128, completionTokens: Int = 64
    ) throws {
        let least = [("--prompt-tokens", promptTokens), ("--completion-tokens", completionTokens)]
        let problems = least.filter { $0.1 < 1 }.map {
            SettingsProblem(place: $0.0, message: "\($0.1); expected at least 1")
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        model = try ModelSource(name)
        self.threads = threads ?? ProcessInfo.processInfo.activeProcessorCount
        rounds = isQuick ? 1 : 3
        secondsPerCurve = (isQuick ? min(seconds, 10) : seconds) / Double(Self.curves)
        let context = model.configuration.contextLength
        self.promptTokens = max(1, min(promptTokens, context / 2))
        // Decoding goes on a few tokens behind the middle.
        self.completionTokens = max(1, min(completionTokens, context - self.promptTokens - Self.decodeSteps - 1))
    }

    /// Tokens that a round of decoding is timed over.
    private static let decodeSteps = 8
    /// Prefill and decode of four layouts, forward and gradients of two, four optimizers.
    private static let curves = 4 * 2 + 2 + 4

    /// - Parameter note: Hears what is measured next.
    package func run(note: @escaping @Sendable (String) -> Void = { _ in }) async throws -> CostProfile {
        let ceilings = try await MachineCeilings.measured(threads: threads)
        var points: [CostProfile.Point] = []
        for layout in GenerationReading.all {
            note("sampling with the layout \(layout.layout.rawValue)")
            points += try await generation(layout)
        }
        for layout in [WeightLayout.fp32Master, .bf16WithMaster] {
            note("training with the layout \(layout.rawValue)")
            points += try await training(layout)
        }
        for rule in rules {
            note("a step of \(rule.name)")
            points += try await steps(of: rule)
        }
        note("a sum over two processes")
        points += try ProcessLink.sums(rounds: rounds)
        let facts = try await EnvironmentReport.facts()
        let told = ["processor", "kernels", "libtorch", "plumbline"]
        return CostProfile(
            machine: facts.filter { told.contains($0.name) }.map { "\($0.name) \($0.value)" }.joined(separator: ", "),
            cores: ProcessInfo.processInfo.activeProcessorCount, threads: threads,
            memoryBytes: Int(ProcessInfo.processInfo.physicalMemory), gigaflops: ceilings.gigaflops,
            memoryGBps: ceilings.gigabytesPerSecond, processGBps: try ProcessLink.gigabytesPerSecond(),
            diskGBps: try? await diskRate(),  // a folder that cannot be written has none
            model: ModelShape(model.configuration), contextTokens: promptTokens + completionTokens / 2, points: points)
    }

    /// Through a file of the working folder, as a step reads and writes moments that lie in one: 10⁹ bytes a second, each.
    @TensorActor private func diskRate() throws -> Double {
        let bytes = 64 << 20
        let file = try SpillFile(
            in: URL(filePath: FileManager.default.currentDirectoryPath), byteCount: SpillFile.room(for: bytes))
        let (moments, move) = (try file.tensor([bytes / 4], .float32), try Tensor.ones([bytes / 4]))
        let clock = ContinuousClock()
        var start = clock.now
        for _ in 0..<2 {  // the first finds nothing to read
            start = clock.now
            try moments.addInPlace(move, scaledBy: 1)
            try file.write()
        }
        return Double(2 * bytes) / ((clock.now - start) / .seconds(1)) / 1e9
    }

    // MARK: Curves

    private struct Sample: Sendable {
        var operation: CostProfile.Operation
        var layout: WeightLayout
        var optimizer: String?
        var amount: Int
        var seconds: Double
    }

    /// The medians of what `measure` samples at each size, the same things in each round.
    ///
    /// - Parameters:
    ///   - sizes: Ascending, each with the amount that its time grows with.
    ///   - least: How many of them are measured whatever they take, unless it must be quick: from one amount alone nobody
    ///     knows what others take.
    @TensorActor private func curve<Size>(
        _ sizes: [(size: Size, amount: Int)], least: Int = 1, _ measure: @TensorActor (Size) async throws -> [Sample]
    ) async throws -> [CostProfile.Point] {
        let clock = ContinuousClock()
        let start = clock.now
        var points: [CostProfile.Point] = []
        for (index, (size, amount)) in sizes.enumerated() {
            let began = clock.now
            _ = try await measure(size)
            let isLong = (clock.now - began) / .seconds(1) > secondsPerCurve / 4
            var samples: [[Sample]] = []
            for _ in 0..<(isLong ? 1 : rounds) { samples.append(try await measure(size)) }
            for (which, sample) in samples[0].enumerated() {
                let median = Spread(samples.map { $0[which].seconds }).median
                points.append(
                    CostProfile.Point(
                        sample.operation, sample.layout, optimizer: sample.optimizer, amount: sample.amount,
                        nanoseconds: max(1, Int((median * 1e9).rounded()))))
            }
            guard index + 1 < sizes.count else { break }
            guard rounds == 1 || index + 1 >= least else { continue }
            let next = (clock.now - began) / .seconds(1) * Double(sizes[index + 1].amount) / Double(amount)
            if (clock.now - start) / .seconds(1) + next > secondsPerCurve { break }
        }
        return points
    }

    @TensorActor private func seconds(_ work: @TensorActor () async throws -> Void) async throws -> Double {
        let clock = ContinuousClock()
        let start = clock.now
        try await work()
        return (clock.now - start) / .seconds(1)
    }

    // MARK: Sampling

    /// How sampling reads weights, by the plan's word and by the job's.
    private struct GenerationReading: Sendable {
        let layout: WeightLayout
        let generation: GenerationLayout
        let isHalf: Bool

        static let all = [
            GenerationReading(layout: .fp32Master, generation: .shared, isHalf: false),
            GenerationReading(layout: .fp32Packed, generation: .packed, isHalf: false),
            GenerationReading(layout: .int8, generation: .int8, isHalf: false),
            GenerationReading(layout: .bf16, generation: .shared, isHalf: true),
        ]
    }

    @TensorActor private func generation(_ reading: GenerationReading) async throws -> [CostProfile.Point] {
        let policy = try ReallocatingActor(
            role: "actor", parameters: model.trainingStart(), layout: reading.isHalf ? .copies(.bfloat16) : .shared,
            packing: model.configuration.packing(reading.generation))
        let engine = RolloutEngine(
            policy: policy, configuration: model.configuration, tokenizer: model.tokenizer, seed: 0,
            limits: BatchLimits(rows: 128))
        func sampling(_ rows: Int, promptTokens: Int, prompts: Int, new: Int) async throws -> Double {
            try await seconds {
                let requests = requests(rows, prompts: prompts, tokens: promptTokens)
                // No stop tokens: every completion has its full length.
                let settings = SamplingSettings(maxCompletionLength: new)
                for try await _ in engine.generate(requests, settings: settings, step: 0) {}
            }
        }
        let prefill = try await curve([1, 4, 16].map { ($0, $0) }, least: 2) { prompts in
            let time = try await sampling(prompts, promptTokens: promptTokens, prompts: prompts, new: 1)
            return [
                Sample(
                    operation: .prefill, layout: reading.layout, amount: prompts * promptTokens, seconds: time)
            ]
        }
        let context = promptTokens + completionTokens / 2
        // The weights are read once for all rows: 32 of a large model take little longer than one.
        let decode = try await curve([1, 8, 32, 128].map { ($0, $0) }, least: 3) { rows in
            let prompts = (rows + 7) / 8
            let first = try await sampling(rows, promptTokens: context, prompts: prompts, new: 1)
            let all = try await sampling(rows, promptTokens: context, prompts: prompts, new: 1 + Self.decodeSteps)
            let time = max(0, all - first) / Double(Self.decodeSteps)
            return [Sample(operation: .decode, layout: reading.layout, amount: rows, seconds: time)]
        }
        // Weights that are read where they lie are not made.
        guard reading.layout != .fp32Master else { return prefill + decode }
        let parameters = model.configuration.parameterCount
        let made = try await curve([(0, parameters)]) { _ in
            // What was made of the weights goes when they are lent to be trained.
            _ = try await policy.train { _ in .skipped(true) }
            let cost = try await policy.generate { _ in true }.reallocation
            return [
                Sample(
                    operation: .conversion, layout: reading.layout, amount: parameters,
                    seconds: cost.milliseconds / 1000)
            ]
        }
        return prefill + decode + made
    }

    private func requests(_ rows: Int, prompts: Int, tokens: Int) -> [RolloutRequest] {
        (0..<prompts).map { index in
            let ids = ids(row: index, 0..<tokens)
            let prompt = Prompt(row: index, source: "profile", content: .text(""))
            return RolloutRequest(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: ids),
                samples: rows / prompts + (index < rows % prompts ? 1 : 0))
        }
    }

    private func ids(row: Int, _ positions: Range<Int>) -> [Int] {
        positions.map { RandomTokens.id(row: row, position: $0, below: model.tokenizer.vocabularySize) }
    }

    // MARK: Training

    /// So many prompts with so many completions each, to learn from.
    private func part(prompts: Int, completions: Int) -> UpdatePart {
        UpdatePart(
            .rollouts,
            (0..<prompts).map { row in
                UpdateGroup(
                    promptTokenIDs: ids(row: row, 0..<promptTokens),
                    completions: (0..<completions).map { index in
                        let start = promptTokens + index * completionTokens
                        let advantage = index.isMultiple(of: 2) ? 1.0 : -1.0
                        return UpdateCompletion(
                            tokenIDs: ids(row: row, start..<start + completionTokens),
                            advantages: [[Double](repeating: advantage, count: completionTokens)])
                    })
            })
    }

    private func tokens(_ size: (prompts: Int, completions: Int)) -> Int {
        size.prompts * (promptTokens + size.completions * completionTokens)
    }

    @TensorActor private func updater(_ rule: OptimizerRule, _ layout: ParameterLayout) throws -> PolicyUpdater {
        let policy = try ReallocatingActor(role: "actor", parameters: model.trainingStart(), layout: layout)
        return try PolicyUpdater(
            policy: policy, configuration: model.configuration, parts: [PartPlan(GRPOSettings())],
            settings: UpdaterSettings(
                optimizer: OptimizerSettings(rule: rule, schedule: LearningRateSchedule(.constant, totalSteps: 1000)),
                maxCompletionLength: completionTokens))
    }

    @TensorActor private func training(_ layout: WeightLayout) async throws -> [CostProfile.Point] {
        let isHalf = layout == .bf16WithMaster
        let updater = try updater(.adamW, isHalf ? .copies(.bfloat16) : .shared)
        let sizes = [(1, 1), (1, 8), (4, 8), (8, 8)].map { (prompts: $0.0, completions: $0.1) }
        return try await curve(sizes.map { ($0, tokens($0)) }, least: 2) { size in
            let part = part(prompts: size.prompts, completions: size.completions)
            let forward = try await seconds {
                _ = try await updater.logProbabilities(UpdateBatch(parts: [part]), under: .oldPolicy)
            }
            let both = try await updater.lend { point in
                let clock = ContinuousClock()
                let start = clock.now
                _ = try updater.gradients(of: part, by: updater.parts[0], at: point)
                return .skipped((clock.now - start) / .seconds(1))
            }.value
            return [
                Sample(
                    operation: .forward, layout: isHalf ? .bf16 : layout, amount: tokens(size), seconds: forward),
                Sample(
                    operation: .backward, layout: layout, amount: tokens(size), seconds: max(0, both - forward)),
            ]
        }
    }

    /// Every optimizer that has something to act on; the subspaces of a narrow model are narrower.
    private var rules: [OptimizerRule] {
        let shapes = Dictionary(
            uniqueKeysWithValues: model.configuration.parameterShapes.map { ($0.name, $0.shape) })
        let shortest = shapes.values.filter { $0.count == 2 }.compactMap { $0.min() }.min() ?? 1
        let lowRank = OptimizerRule.lowRank(LowRankSettings(rank: min(128, max(1, shortest / 4))))
        return [.adamW, .adamW8bit, .lion, lowRank].filter { $0.problem(training: shapes) == nil }
    }

    @TensorActor private func steps(of rule: OptimizerRule) async throws -> [CostProfile.Point] {
        let updater = try updater(rule, .shared)
        let part = part(prompts: 1, completions: 2)
        let parameters = model.configuration.parameterCount
        return try await curve([(0, parameters)]) { _ in
            let time = TimedStep()
            _ = try await updater.lend { point in
                let found = try updater.gradients(of: part, by: updater.parts[0], at: point)
                let clock = ContinuousClock()
                let start = clock.now
                let step = try updater.propose(found.gradients, loss: found.loss, at: point)
                time.seconds = (clock.now - start) / .seconds(1)
                return .step(true) {
                    let start = clock.now
                    try step.commit()
                    time.seconds += (clock.now - start) / .seconds(1)
                }
            }
            return [
                Sample(
                    operation: .optimizer, layout: .fp32Master, optimizer: rule.name, amount: parameters,
                    seconds: time.seconds)
            ]
        }
    }

    /// What a step took, over both of its halves.
    @TensorActor private final class TimedStep { var seconds = 0.0 }
}

/// What one process of this machine can send another.
enum ProcessLink {
    /// Sums over two ranks, each on a thread of its own, the medians of some rounds after one that warms up.
    static func sums(rounds: Int) throws -> [CostProfile.Point] {
        let groups = try TensorParallelGroup.within(size: 2)
        return try [1 << 16, 1 << 20, 1 << 24].map { bytes in
            // One that fails has the other fail, too: it waits for it.
            Thread.detachNewThread { _ = try? Self.times(groups[1], bytes: bytes, rounds: rounds) }
            let median = Spread(try times(groups[0], bytes: bytes, rounds: rounds)).median
            return CostProfile.Point(
                .allReduce, .fp32Master, amount: bytes, nanoseconds: max(1, Int((median * 1e9).rounded())))
        }
    }

    private static func times(_ group: TensorParallelGroup, bytes: Int, rounds: Int) throws -> [Double] {
        let own = try Tensor.ones([bytes / 4])
        let clock = ContinuousClock()
        let seconds = try (0...rounds).map { _ in
            let start = clock.now
            _ = try group.summed(own)
            return (clock.now - start) / .seconds(1)
        }
        return Array(seconds.dropFirst())
    }

    /// Bytes through a pair of sockets, as ranks on one machine exchange them; 10⁹ a second, the best of three.
    static func gigabytesPerSecond() throws -> Double {
        var ends: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
            throw JobError(place: "profile", message: "no pair of sockets: \(String(cString: strerror(errno)))")
        }
        let (one, other) = (ends[0], ends[1])
        defer {
            close(one)
            close(other)
        }
        let (chunk, count) = (1 << 20, 64)
        var best = 0.0
        for _ in 0..<3 {
            let clock = ContinuousClock()
            let start = clock.now
            Thread.detachNewThread {
                let bytes = [UInt8](repeating: 1, count: chunk)
                for _ in 0..<count {
                    var sent = 0
                    while sent < chunk {
                        let more = bytes.withUnsafeBytes { write(one, $0.baseAddress! + sent, chunk - sent) }
                        guard more > 0 else { return }
                        sent += more
                    }
                }
            }
            var buffer = [UInt8](repeating: 0, count: chunk)
            var left = chunk * count
            while left > 0 {
                let more = buffer.withUnsafeMutableBytes { read(other, $0.baseAddress!, min(chunk, left)) }
                guard more > 0 else {
                    throw JobError(place: "profile", message: "the pair of sockets broke: it gave \(more) bytes")
                }
                left -= more
            }
            best = max(best, Double(chunk * count) / ((clock.now - start) / .seconds(1)) / 1e9)
        }
        return best
    }
}
