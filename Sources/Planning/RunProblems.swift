// Plans that `train` carries out: every call on all ranks, each with its share of the sequences and whole weights, or
// where the actor is trained and sampled from, with a part of its layers.

extension ExecutionPlan {
    /// What a run of this build does not carry out, each by its call and the field of the file.
    ///
    /// A rank has whole weights, or where it trains the actor or samples from it a shard of them, trained as float32 or
    /// as float32 masters that passes read through bfloat16. Sampling may read a layout of its own, which goes with the
    /// key-value cache before the next step; everything else reads the weights in the type of the passes. No weights
    /// wait on the host; what optimizers keep may lie in a file, of all calls that train or of none. Shards are float32,
    /// those that are sampled from as many as those that are trained or another number; each has heads, key and value
    /// heads of its own. All passes are cut alike, and all calls that sample read one layout. Pieces have one size, but
    /// for the last: 16 sequences are cut into 4 or 6 of them, never 5.
    package var runProblems: [PlanProblem] {
        guard let trainer = graph.trainingCall(ofRole: "actor"), let home = assignments[trainer.name] else {
            return [.init(.run, nil, "no call trains the role actor")]
        }
        let everything = Mesh(all: cluster)
        let passes = home.layout == .fp32Master ? WeightLayout.fp32Master : .bf16
        let sampler = graph.calls.first { $0.kind == .generate }
        var problems: [PlanProblem] = []
        for call in graph.calls {
            guard let own = assignments[call.name] else { continue }
            func refuse(_ message: String) { problems.append(.init(.run, call.name, message)) }
            if own.mesh != everything {
                refuse("mesh is \(own.mesh); expected all \(cluster.devices) ranks: each takes a share of every call")
            }
            if own.strategy.tensor != 1 {
                let (tensor, isSampler) = (own.strategy.tensor, call.kind == .generate && call.role == trainer.role)
                if call.name != trainer.name, !isSampler {
                    refuse(
                        "tp is \(tensor); expected 1: only \(trainer.name) and what samples from \(trainer.role ?? "") "
                            + "may cut layers here")
                } else if home.layout != .fp32Master {
                    refuse("tp is \(tensor) with \(home.layout.rawValue); expected 1, or fp32Master")
                } else if own.layout == .int8 {
                    refuse("tp is \(tensor) with int8; expected 1, or fp32Master or fp32Packed")
                } else if let heads = models[trainer.role ?? ""]?.keyValueHeads, !heads.isMultiple(of: tensor) {
                    refuse("tp is \(tensor); expected a divisor of the \(heads) key and value heads")
                }
            }
            if own.strategy.pipeline != 1 { refuse("pp is \(own.strategy.pipeline); expected 1: no rank has a stage") }
            let layouts: [WeightLayout] =
                switch call.kind {
                case .train: [home.layout]
                case .generate: passes == .bf16 ? [.bf16] : [.fp32Master, .fp32Packed, .int8]
                // A reward model is read in float32, whatever the policy is.
                case .infer: [rewardRoles.contains(call.role ?? "") ? .fp32Master : passes]
                case .host: []
                }
            if !layouts.contains(own.layout) {
                let expected = layouts.map(\.rawValue).joined(separator: " or ")
                refuse("layout is \(own.layout.rawValue); expected \(expected) beside \(home.layout.rawValue) to train")
            }
            if own.after.contains(.offloadWeights) {
                refuse("after has offloadWeights; no weights wait on the host here")
            }
            // One setting of a job says where all optimizers keep what they keep.
            if call.kind == .train, own.after.contains(.offloadOptimizer) != home.after.contains(.offloadOptimizer) {
                refuse("after has offloadOptimizer here or in \(trainer.name) alone; expected both or neither")
            }
            for release in needed(after: call, own) where !own.after.contains(release) {
                refuse("after lacks \(release.rawValue), which a run here does anyway")
            }
            // One setting of a job cuts all passes, and one says how many rows are decoded at once.
            guard let model = call.kind == .generate ? sampler : passModel(call, trainer),
                let first = assignments[model.name]
            else { continue }
            let size = Self.sequences(of: model.work, first)
            guard model.name != call.name else {
                let whole = Self.sequences(of: call.work, dataParallel: own.strategy.data)
                let pieces = Self.share(whole, size)
                if own.microBatches != pieces {
                    refuse(
                        "microbatches is \(own.microBatches); expected \(pieces): \(whole) sequences in "
                            + "\(own.microBatches) pieces are \(size) each, which makes \(pieces)")
                }
                continue
            }
            let expected = Self.pieces(of: call.work, own, sequences: size)
            if own.microBatches != expected {
                refuse(
                    "microbatches is \(own.microBatches); expected \(expected), of \(size) sequences as \(model.name) has"
                )
            }
            if call.kind == .generate, own.layout != first.layout {
                refuse("layout is \(own.layout.rawValue); expected \(first.layout.rawValue) as \(model.name) has")
            }
            if call.kind == .generate, call.role == model.role, own.strategy != first.strategy {
                refuse("tp is \(own.strategy.tensor); expected \(first.strategy.tensor) as \(model.name) has")
            }
        }
        return problems
    }

    /// The call whose passes are as long as those of another; `nil` for one that has a length of its own.
    private func passModel(_ call: CallSpec, _ trainer: CallSpec) -> CallSpec? {
        [.train, .infer].contains(call.kind) && !rewardRoles.contains(call.role ?? "") ? trainer : nil
    }

    /// Roles that score: neither trained, nor the reference.
    private var rewardRoles: Set<String> {
        Set(graph.roles.filter { $0 != "reference" && graph.trainingCall(ofRole: $0) == nil })
    }

    /// What leaves the device here whether a plan says so or not.
    private func needed(after call: CallSpec, _ own: Assignment) -> [Release] {
        switch call.kind {
        case .train: return [.dropGradients]
        case .generate:
            let isView = home(ofRole: call.role ?? "").map { !$0.sharesStorage(with: own) } ?? false
            return isView ? [.dropKV, .dropWeights] : [.dropKV]
        case .infer, .host: return []
        }
    }

    /// Sequences of one pass of a call on one rank.
    package static func sequences(of work: CallSpec.Work, _ own: Assignment) -> Int {
        share(sequences(of: work, dataParallel: own.strategy.data), own.microBatches)
    }

    /// Sequences of a mini-batch that one of so many ranks has.
    private static func sequences(of work: CallSpec.Work, dataParallel ranks: Int) -> Int {
        share(share(work.sequences, work.miniBatches), ranks)
    }

    /// Passes of so many sequences that a call takes on one rank.
    package static func pieces(of work: CallSpec.Work, _ own: Assignment, sequences: Int) -> Int {
        share(self.sequences(of: work, dataParallel: own.strategy.data), sequences)
    }

    /// A whole in so many parts, rounded up; one at least.
    static func share(_ whole: Int, _ parts: Int) -> Int { max(1, (whole + parts - 1) / max(1, parts)) }
}
