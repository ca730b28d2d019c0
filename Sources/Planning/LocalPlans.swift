/// Every plan of a graph that `train` carries out on one machine, with what each is predicted to take.
package struct LocalPlans {
    /// What is to be chosen among.
    package struct Choices: Sendable {
        /// Layouts that sampling may read.
        package var generation: [WeightLayout]
        /// The layout that is trained.
        package var training: WeightLayout
        /// Sequences of one pass of training; `nil` for all of a step's, halves of them, and so on.
        package var sequencesOfPass: Int?
        /// The fewest that a pass may take.
        package var leastSequences: Int
        /// Rows decoded at once on a rank, or on those that sample together; `nil` for all, and halves of them down to 8.
        package var rows: Int?
        /// Ranks that may share a layer where it is trained; those that no plan of so many ranks can have are left out.
        package var shards: [Int]
        /// Ranks that may share a layer where it is sampled from, of float32 layouts.
        package var generationShards: [Int]
        /// Whether what optimizers keep may lie in a file.
        package var offloads: [Bool]
        /// Most bytes of products that wait from sampling for the update, of one process that samples in float32.
        package var forwardCacheBytes: Int
        /// What a process has beside everything that a plan counts: a rank must have room for it.
        package var processBytes: Int

        package init(
            generation: [WeightLayout], training: WeightLayout, sequencesOfPass: Int? = nil, leastSequences: Int = 1,
            rows: Int? = nil, shards: [Int] = [1], generationShards: [Int] = [1], offloads: [Bool] = [false],
            forwardCacheBytes: Int = 0, processBytes: Int = 0
        ) {
            self.processBytes = processBytes
            self.forwardCacheBytes = forwardCacheBytes
            self.generation = generation
            self.training = training
            self.shards = shards
            self.generationShards = generationShards
            self.offloads = offloads
            self.sequencesOfPass = sequencesOfPass
            self.leastSequences = leastSequences
            self.rows = rows
        }
    }

    /// One plan with its simulated run.
    package struct Candidate: Sendable {
        package var plan: ExecutionPlan
        package var nanoseconds: Int
        /// Peak bytes of the fullest rank, without those of its process.
        package var peakBytes: Int
        package var fits: Bool
        /// What it is of the choices.
        package var generation: WeightLayout?
        package var sequencesOfPass: Int
        package var rows: Int?
        package var shards: Int
        /// 1 where nothing is sampled.
        package var generationShards: Int
        package var offloads: Bool

        package init(
            plan: ExecutionPlan, nanoseconds: Int, peakBytes: Int, fits: Bool, generation: WeightLayout?,
            sequencesOfPass: Int, rows: Int?, shards: Int = 1, generationShards: Int = 1, offloads: Bool = false
        ) {
            self.plan = plan
            self.nanoseconds = nanoseconds
            self.peakBytes = peakBytes
            self.fits = fits
            self.generation = generation
            self.sequencesOfPass = sequencesOfPass
            self.rows = rows
            self.shards = shards
            self.generationShards = generationShards
            self.offloads = offloads
        }
    }

    private let graph: DataflowGraph
    private let models: [String: ModelShape]
    private let choices: Choices

    package init(_ graph: DataflowGraph, models: [String: ModelShape], choices: Choices) {
        self.graph = graph
        self.models = models
        self.choices = choices
    }

    /// Simulates all on a machine of so many ranks: those that fit first, then the faster, the smaller.
    ///
    /// - Throws: ``PlanError`` where the rules leave none, or the costs know none.
    package func candidates(on cluster: Cluster, costs: any CostModel) throws(PlanError) -> [Candidate] {
        let capacity = cluster.usableBytes - choices.processBytes
        var found: [Candidate] = []
        var refused: [PlanProblem] = []
        for choice in all(cluster.devices) {
            let plan = plan(choice, cluster)
            let problems = plan.runProblems
            guard problems.isEmpty else {
                if refused.isEmpty { refused = problems }
                continue
            }
            let timeline: Timeline
            do throws(PlanError) {
                timeline = try PlanSimulator(plan, costs: costs).run()
            } catch {
                if refused.isEmpty { refused = error.problems }
                continue
            }
            let saved = saved(choice, cluster)
            let waiting = waiting(choice, cluster)
            let peak = zip(timeline.peakBytes, timeline.residentBytes).map { max($0 + waiting, $1 + saved) }.max() ?? 0
            found.append(
                Candidate(
                    plan: plan, nanoseconds: timeline.iterationNanoseconds, peakBytes: peak, fits: peak <= capacity,
                    generation: choice.sampling?.layout, sequencesOfPass: choice.cut.sequences,
                    rows: choice.sampling?.rows, shards: choice.cut.shards,
                    generationShards: choice.sampling?.shards ?? 1, offloads: choice.cut.offloads))
        }
        guard !found.isEmpty else { throw PlanError(refused) }
        return Self.sorted(found)
    }

    /// What the first rank has when it writes a checkpoint, beside what lies there all the time: of shards whole weights of
    /// what is trained, whose moments come together in a file, of replicas the moments that the others keep, each role's.
    private func saved(_ choice: Choice, _ cluster: Cluster) -> Int {
        graph.roles.reduce(0) { sum, role in
            guard let call = graph.trainingCall(ofRole: role), let shape = models[role] else { return sum }
            guard role != "actor" || choice.cut.shards == 1 else {
                return sum + Int(4 * call.work.trainedShare(of: shape) * Double(shape.parameterCount))
            }
            guard !choice.cut.offloads else { return sum }
            let state = Int(call.work.stateShare(of: shape) * Double(shape.parameterCount))
            return sum + state - state / cluster.devices
        }
    }

    /// What sampling keeps for the update: 4 bytes of each output of the projections and of attention, for every token; of a model
    /// with sliding windows less, without attention.
    private func waiting(_ choice: Choice, _ cluster: Cluster) -> Int {
        guard cluster.devices == 1, let layout = choice.sampling?.layout, [.fp32Packed, .fp32Master].contains(layout),
            let work = graph.trainingCall(ofRole: "actor")?.work, let shape = models["actor"]
        else { return 0 }
        let prompts = work.sequences / max(1, work.completionsPerPrompt)
        let tokens = prompts * work.promptTokens + work.sequences * work.newTokens
        let projections = shape.queryWidth + 2 * (shape.keyValueWidth + shape.hiddenSize + shape.intermediateSize)
        let outputs = projections + shape.queryWidth + shape.heads
        return min(choices.forwardCacheBytes, 4 * tokens * shape.layers * outputs)
    }

    /// Candidates that fit first, then the faster, the smaller, the earlier.
    package static func sorted(_ candidates: [Candidate]) -> [Candidate] {
        candidates.enumerated().sorted { left, right in
            let (one, two) = (left.element, right.element)
            if one.fits != two.fits { return one.fits }
            return (one.nanoseconds, one.peakBytes, left.offset) < (two.nanoseconds, two.peakBytes, right.offset)
        }.map(\.element)
    }

    /// How passes are cut, and how completions are sampled; `nil` where none are.
    private struct Choice {
        var cut: (shards: Int, offloads: Bool, sequences: Int)
        var sampling: (layout: WeightLayout, shards: Int, rows: Int)?
    }

    private func all(_ ranks: Int) -> [Choice] {
        let share = ExecutionPlan.share
        /// Parts as even as the number of them allows: what a plan says is that number.
        func sizes(_ whole: Int, least: Int, given: Int?) -> [Int] {
            let halves = sequence(first: whole) { $0 > least ? max(least, share($0, 2)) : nil }
            let wanted = given.map { [min($0, whole)] } ?? Array(halves)
            return wanted.map { share(whole, share(whole, $0)) }.reduce(into: []) { all, size in
                if !all.contains(size) { all.append(size) }
            }
        }
        let work = graph.trainingCall(ofRole: "actor")?.work
        /// Those of one pass; replicas have a share of a step's sequences each.
        func passes(_ shards: Int) -> [Int] {
            let step = work.map { share(share($0.sequences, $0.miniBatches), ranks / shards) } ?? 1
            return sizes(step, least: min(step, choices.leastSequences), given: choices.sequencesOfPass)
        }
        var cuts: [(shards: Int, offloads: Bool, sequences: Int)] = []
        for shards in choices.shards where ranks.isMultiple(of: shards) {
            for offloads in choices.offloads { cuts += passes(shards).map { (shards, offloads, $0) } }
        }
        let sampled = graph.calls.filter { $0.kind == .generate }.map(\.work.sequences).max()
        guard let sampled else { return cuts.map { Choice(cut: $0) } }
        return choices.generation.flatMap { layout in
            cuts.flatMap { cut in
                choices.generationShards.filter { ranks.isMultiple(of: $0) }.flatMap { shards -> [Choice] in
                    // What is packed in eight bits is packed whole.
                    guard shards == 1 || layout != .int8 else { return [] }
                    let most = share(sampled, ranks / shards)
                    let rows = sizes(most, least: min(most, 8), given: choices.rows)
                    return rows.map { Choice(cut: cut, sampling: (layout, shards, $0)) }
                }
            }
        }
    }

    private func plan(_ choice: Choice, _ cluster: Cluster) -> ExecutionPlan {
        let everything = Mesh(all: cluster)
        func shared(by shards: Int) -> Strategy { Strategy(1, shards, cluster.devices / shards) }
        let passes: WeightLayout = choices.training == .fp32Master ? .fp32Master : .bf16
        let trained = Set(graph.calls.filter { $0.kind == .train }.compactMap(\.role))
        var assignments: [String: Assignment] = [:]
        for call in graph.calls where call.kind != .host {
            let role = call.role ?? ""
            let scores = role != "reference" && !trained.contains(role)
            var own = Assignment(mesh: everything, strategy: Strategy(1, 1, cluster.devices), layout: passes)
            var sequences = choice.cut.sequences
            switch call.kind {
            case .train:
                (own.layout, own.after) = (choices.training, [.dropGradients])
                if choice.cut.offloads { own.after.insert(.offloadOptimizer) }
                if call.role == "actor" { own.strategy = shared(by: choice.cut.shards) }
            case .generate:
                (own.layout, own.after) = (choice.sampling?.layout ?? passes, [.dropKV, .dropWeights])
                if call.role == "actor" { own.strategy = shared(by: choice.sampling?.shards ?? 1) }
                sequences = choice.sampling?.rows ?? sequences
            case .infer:
                if scores { own.layout = .fp32Master }
                if trained.contains(role) { own.after = [.dropWeights] }
            case .host: break
            }
            own.microBatches = ExecutionPlan.pieces(of: call.work, own, sequences: sequences)
            assignments[call.name] = own
        }
        return ExecutionPlan(cluster: cluster, models: models, graph: graph, assignments: assignments)
    }
}
