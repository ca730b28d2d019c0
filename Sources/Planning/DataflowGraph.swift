/// The calls of one iteration. A call waits for those whose outputs it reads; what nobody makes comes from the data
/// set.
package struct DataflowGraph: Sendable, Hashable {
    package var name: String
    package var calls: [CallSpec]

    package init(name: String, calls: [CallSpec]) {
        self.name = name
        self.calls = calls
    }

    package func call(named name: String) -> CallSpec? { calls.first { $0.name == name } }

    /// The last call that trains a role.
    package func trainingCall(ofRole role: String) -> CallSpec? { calls.last { $0.role == role && $0.kind == .train } }

    /// Every role, in the order of their first calls.
    package var roles: [String] {
        var roles: [String] = []
        for role in calls.compactMap(\.role) where !roles.contains(role) { roles.append(role) }
        return roles
    }

    /// For each call, the calls it waits for.
    package var predecessors: [[Int]] {
        calls.map { call in
            calls.indices.filter { !calls[$0].outputs.filter(call.inputs.contains).isEmpty }
        }
    }

    /// The calls so that each stands behind those it waits for, otherwise in their order; `nil` where some wait for
    /// each other.
    package var order: [Int]? {
        let predecessors = predecessors
        var order: [Int] = []
        var isDone = [Bool](repeating: false, count: calls.count)
        while order.count < calls.count {
            guard let next = calls.indices.first(where: { !isDone[$0] && predecessors[$0].allSatisfy { isDone[$0] } })
            else { return nil }
            isDone[next] = true
            order.append(next)
        }
        return order
    }

    /// What makes it no graph.
    package var problems: [String] {
        var problems: [String] = []
        let names = calls.map(\.name)
        for name in Set(names).sorted() where names.filter({ $0 == name }).count > 1 {
            problems.append("two calls are named \(name)")
        }
        let outputs = calls.flatMap(\.outputs)
        for key in Set(outputs).sorted() where outputs.filter({ $0 == key }).count > 1 {
            problems.append("\(key) is made by several calls")
        }
        for call in calls where (call.role == nil) != (call.kind == .host) {
            problems.append(
                "\(call.name) is \(call.kind.rawValue) and has \(call.role.map { "the role \($0)" } ?? "no role")")
        }
        if order == nil { problems.append("some calls wait for each other") }
        return problems
    }
}

/// One workload on one set of weights.
package struct CallSpec: Sendable, Hashable {
    package var name: String
    package var kind: Kind
    /// Whose weights; `nil` for a call of the host.
    package var role: String?
    /// Keys it reads.
    package var inputs: [String]
    /// Keys it makes.
    package var outputs: [String]
    package var work: Work

    package enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Reads prompts and samples completions.
        case generate
        /// A forward pass.
        case infer
        /// Forward, backward, optimizer.
        case train
        /// A reward function or another program on the host.
        case host
    }

    /// How much there is to do in one iteration.
    package struct Work: Sendable, Hashable {
        package var sequences: Int
        package var promptTokens: Int
        /// Tokens of each completion.
        package var newTokens: Int
        /// Sequences that follow one prompt, which is read once for all of them.
        package var completionsPerPrompt: Int
        /// Optimizer steps that a training call cuts its sequences into.
        package var miniBatches: Int
        /// Sequences that must stay in one mini-batch; 1 where advantages are given with them.
        package var groupSize: Int
        /// Whether the backward pass computes each block anew.
        package var recomputes: Bool
        /// What a training call steps with; `nil` for AdamW's two moments in float32.
        package var optimizer: Optimizer?
        /// Milliseconds that a call of the host takes.
        package var hostMilliseconds: Int

        /// What makes a step of a gradient.
        package struct Optimizer: Sendable, Hashable {
            /// The optimizer's name, as a job's `optim`.
            package var name: String
            /// Numbers that are trained: all of a model's, or those of its adapters.
            package var parameters: Int
            /// Bytes that it keeps of all of them together, wherever they lie.
            package var stateBytes: Int

            package init(name: String, parameters: Int, stateBytes: Int) {
                self.name = name
                self.parameters = parameters
                self.stateBytes = stateBytes
            }
        }

        /// Numbers that a training call steps for each number of its model.
        func trainedShare(of shape: ModelShape) -> Double {
            optimizer.map { Double($0.parameters) / Double(shape.parameterCount) } ?? 1
        }

        /// Bytes that its optimizer keeps for each number of its model.
        func stateShare(of shape: ModelShape) -> Double {
            optimizer.map { Double($0.stateBytes) / Double(shape.parameterCount) } ?? 8
        }

        package init(
            sequences: Int, promptTokens: Int, newTokens: Int, completionsPerPrompt: Int = 1, miniBatches: Int = 1,
            groupSize: Int = 1, recomputes: Bool = true, optimizer: Optimizer? = nil, hostMilliseconds: Int = 0
        ) {
            self.completionsPerPrompt = completionsPerPrompt
            self.optimizer = optimizer
            self.sequences = sequences
            self.promptTokens = promptTokens
            self.newTokens = newTokens
            self.miniBatches = miniBatches
            self.groupSize = groupSize
            self.recomputes = recomputes
            self.hostMilliseconds = hostMilliseconds
        }

        /// Tokens of a whole sequence.
        package var length: Int { promptTokens + newTokens }
        package var tokens: Int { sequences * length }

        /// Tokens that are read of so many of the sequences: their completions, and each prompt once.
        package func tokens(of sequences: Double) -> Double {
            sequences * (Double(newTokens) + Double(promptTokens) / Double(completionsPerPrompt))
        }

        /// The same of whole prompts.
        package func tokens(of sequences: Int) -> Int {
            sequences * newTokens + (sequences + completionsPerPrompt - 1) / completionsPerPrompt * promptTokens
        }
    }

    /// Whether it trains less than its model, as adapters.
    func leavesSomeUntrained(of shape: ModelShape) -> Bool { kind == .train && work.trainedShare(of: shape) < 1 }

    package init(
        _ name: String, _ kind: Kind, role: String?, inputs: [String], outputs: [String], work: Work
    ) {
        self.name = name
        self.kind = kind
        self.role = role
        self.inputs = inputs
        self.outputs = outputs
        self.work = work
    }
}
