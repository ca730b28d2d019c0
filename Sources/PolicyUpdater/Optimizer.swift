package import Foundation
package import Placement
internal import Records
package import Tensors

/// Steps a role's parameters by the rule of its settings.
///
/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2), which the others are measured by:
///
///     m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²,   w ← w − η·λ·w − η·m̂/(√v̂ + ε)
///
/// λ is zero for biases and norm weights. A parameter without a gradient counts as one whose gradient is zero.
@TensorActor
package final class Optimizer: MemoryOwner {
    /// How far it has come.
    package internal(set) var counters = OptimizerCounters()
    package let settings: OptimizerSettings
    /// By parameter name.
    let state: [String: ParameterState]
    /// What the state kept here lies in; `nil` for memory. Each parameter's is touched by its own step alone and let go
    /// of after it, so that no more than one is in memory.
    let spill: SpillFile?
    /// Which rank keeps the state of a parameter and writes it; `nil` for one process.
    let sharding: OptimizerSharding?
    private let keepsState: Bool
    /// How the ranks of a tensor-parallel group share the parameters, and with them the state; `nil` where they are
    /// whole here.
    let shards: ParameterShards?
    /// Where the state of parameters that ranks share comes together to be saved; `nil` for memory.
    let scratch: URL?
    /// All state while a checkpoint is written, and what it lies in where that is a file.
    var assembled: [String: Tensor]?
    var assembly: SpillFile?
    private let cosines = CosineTransform()

    /// - Parameters:
    ///   - parameters: What is to be stepped, by published name.
    ///   - folder: Where the state lies in a file between steps; `nil` keeps it in memory.
    /// - Throws: the engine's refusal when the state does not fit in memory, `TensorError.file` when it does not fit
    ///   into the folder.
    package convenience init(
        of parameters: [String: Tensor], settings: OptimizerSettings, spillingTo folder: URL? = nil
    ) throws {
        try self.init(of: parameters, settings: settings, sharding: nil, spillingTo: folder)
    }

    /// An optimizer of everything that a role trains.
    ///
    /// - Parameters:
    ///   - ranks: Processes that share the state out among themselves: those with the same parameters, or the same parts
    ///     of them.
    ///   - keepsState: `false` for one that takes no step: it has the state's shapes alone.
    ///   - folder: Where the state lies in a file between steps; `nil` keeps it in memory.
    ///   - scratch: Where the state of parameters that ranks share comes together to be saved; `nil` for memory.
    /// - Throws: the engine's refusal when the state does not fit in memory, `TensorError.file` when it does not fit
    ///   into the folder.
    convenience init(
        of role: ReallocatingActor, settings: OptimizerSettings, ranks: ProcessGroup? = nil, keepsState: Bool = true,
        spillingTo folder: URL? = nil, assemblingIn scratch: URL? = nil
    ) throws {
        try self.init(
            of: role.zeros(of: []), settings: settings,
            sharding: ranks.map { OptimizerSharding(role.trainedCounts, over: $0) }, keepsState: keepsState,
            shards: role.shards, spillingTo: folder, assemblingIn: scratch)
        role.count(self)
    }

    /// - Parameter parameters: Their shapes, types and devices alone are read.
    init(
        of parameters: [String: Tensor], settings: OptimizerSettings, sharding: OptimizerSharding?,
        keepsState: Bool = true, shards: ParameterShards? = nil, spillingTo folder: URL? = nil,
        assemblingIn scratch: URL? = nil
    ) throws {
        precondition(shards == nil || settings.stepsElementByElement, "\(settings.stepName) reads whole parameters")
        func isOwn(_ name: String) -> Bool { keepsState && sharding?.own.contains(name) ?? true }
        let slots = parameters.map { name, parameter in
            (name: name, slots: settings.slots(of: name, shape: parameter.shape, parameter.elementType))
        }.sorted { $0.name < $1.name }  // in a file as they are stepped
        let bytes = slots.filter { isOwn($0.name) }.flatMap(\.slots).reduce(0) {
            $0 + SpillFile.room(for: $1.byteCount)
        }
        spill = try folder.flatMap { try bytes > 0 ? SpillFile(in: $0, byteCount: bytes) : nil }
        var state: [String: ParameterState] = [:]
        for (name, slots) in slots {
            for slot in slots {
                let device = parameters[name]!.device
                // What another rank keeps has the shape alone, without memory of its own, and is never written.
                state[name, default: [:]][slot.kind] =
                    if !isOwn(name) {
                        try Tensor.zeros([], slot.type, device: device).expanded(slot.shape)
                    } else if let spill {
                        try spill.tensor(slot.shape, slot.type)
                    } else {
                        try Tensor.zeros(slot.shape, slot.type, device: device)
                    }
            }
        }
        self.state = state
        self.settings = settings
        self.sharding = sharding
        self.keepsState = keepsState
        self.shards = shards
        self.scratch = scratch
    }

    /// By parameter name, in the form they are kept in.
    package var firstMoments: [String: Tensor] { state.compactMapValues { $0[.firstMoment] } }
    /// By parameter name, in the form they are kept in; not of parameters that have none.
    package var secondMoments: [String: Tensor] { state.compactMapValues { $0[.secondMoment] } }

    /// Bytes of everything that is kept here, in memory or in a file.
    package var stateBytes: Int {
        ownState.values.flatMap(\.values).reduce(0) { $0 + $1.count * $1.elementType.byteCount }
    }

    /// What of the state is kept here.
    var ownState: [String: ParameterState] {
        keepsState ? state.filter { sharding?.own.contains($0.key) ?? true } : [:]
    }

    package var footprint: Footprint {
        var all = Footprint()
        guard spill == nil else { return all }
        all.add(state.values.flatMap(\.values), as: .optimizer)
        if assembly == nil { all.add((assembled ?? [:]).values, as: .optimizer) }
        return all
    }

    /// η of the next step: the peak times the schedule's factor.
    package var learningRate: Double {
        settings.learningRate * settings.schedule.factor(step: counters.schedulePosition, isWarm: counters.isWarm)
    }

    /// Goes on in the schedule, with a step or without one.
    func goOnInSchedule() {
        counters.schedulePosition += 1
        counters.isWarm = counters.isWarm || counters.schedulePosition >= settings.schedule.warmupSteps
    }

    /// Writes the parameters and the state.
    ///
    /// - Parameter gradients: one per parameter, clipped already.
    package func step(parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double) throws {
        for name in own(of: parameters) {
            try step(name, parameters[name]!, gradients[name]!, state[name]!, learningRate).take()
            spill?.drop()
        }
        try spill?.write()
        try sharding?.share(parameters)
        counters.momentSteps = nextMomentStep
        counters.optimizerSteps += 1
    }

    /// The parameters that are written here, in order.
    private func own(of parameters: [String: Tensor]) -> [String] {
        parameters.keys.sorted().filter { sharding?.own.contains($0) ?? true }
    }

    /// t of the next step's bias correction.
    private var nextMomentStep: Int {
        settings.stabilization?.resets(at: counters.optimizerSteps + 1) == true ? 1 : counters.momentSteps + 1
    }

    private func step(
        _ name: String, _ parameter: Tensor, _ gradient: Tensor, _ state: ParameterState, _ learningRate: Double
    ) -> ParameterStep {
        ParameterStep(
            rule: settings.rule.rule(of: name, shape: parameter.shape), settings: settings,
            learningRate: learningRate, weightDecay: OptimizerSettings.decays(name) ? settings.weightDecay : 0,
            taken: counters.optimizerSteps, number: nextMomentStep, cosines: cosines, parameter: parameter,
            gradient: gradient, state: state)
    }

    /// The parameters that ``step(parameters:gradients:learningRate:)`` would write, to the bit; nothing is written.
    ///
    /// Costs a copy of the parameters and, one after the other, of each one's state.
    package func ahead(
        parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double
    ) throws -> [String: Tensor] {
        let ahead = try parameters.mapValues { try $0.detached().clone() }
        for name in own(of: parameters) {
            let copy = try state[name]!.mapValues { try $0.clone() }
            try step(name, ahead[name]!, gradients[name]!, copy, learningRate).take()
            spill?.drop()
        }
        try sharding?.share(ahead)
        return ahead
    }

    /// How the update answers to a move of the gradient: du, where a step writes w − η·λ·w − η·u.
    ///
    ///     dm̂ = (1−β₁)/(1−β₁ᵗ)·dg,   k = (1−β₂)/(1−β₂ᵗ)
    ///     du = [dm̂ − m̂/(√v̂ + ε)·k·(g/√v̂)·dg] / (√v̂ + ε)        with m̂ and v̂ as the step makes them
    ///
    /// The derivative of the whole step, its second moment included: with the denominators frozen a look-ahead would
    /// not be the step's. AdamW alone has one (``OptimizerSettings/hasDerivative``).
    ///
    /// - Parameters:
    ///   - gradients: Of the step, clipped.
    ///   - direction: dg, by the same names.
    package func derivative(
        gradients: [String: Tensor], along direction: [String: Tensor]
    ) throws -> [String: Tensor] {
        precondition(settings.hasDerivative, "the step of \(settings.rule.name) has no derivative")
        let step = Double(nextMomentStep)
        let first = 1 / (1 - pow(settings.beta1, step))
        let second = 1 / (1 - pow(settings.beta2, step))
        var answers = sharding == nil ? [:] : try gradients.mapValues { try $0.detached().clone() }
        for name in own(of: gradients) {
            let (gradient, move) = (gradients[name]!, direction[name]!)
            let moments = try state[name]!.moments(gradient.elementType)
            let mean = try (moments.first * settings.beta1 + gradient * (1 - settings.beta1)) * first
            let square = try (moments.second * settings.beta2 + gradient.square() * (1 - settings.beta2)) * second
            let root = try square.sqrt()
            let divisor = try root + settings.epsilon
            // Where v̂ is 0, so is g.
            let share = try gradient / maximum(root, 1e-15)
            let bend = try mean / divisor * share * ((1 - settings.beta2) * second)
            answers[name] = try move * (-bend + (1 - settings.beta1) * first) / divisor
            spill?.drop()
        }
        try sharding?.share(answers)
        return answers
    }
}

/// The gradients of an optimizer step, and the norm that decides what becomes of them.
@TensorActor
package struct StepGradients {
    /// By parameter name.
    package let gradients: [String: Tensor]
    /// √Σg² over every parameter, before clipping; not finite when a gradient is not.
    package let norm: Double
    /// How several ranks share the parameters, of which `gradients` are those of this one's parts: what is added up over
    /// parameters counts each element once.
    let shards: ParameterShards?

    /// Takes the gradients the parameters have collected; zeros where there is none.
    ///
    /// - Parameters:
    ///   - ranks: Whose gradients are added up.
    ///   - shards: How other ranks share the parameters with these.
    @TensorActor
    package init(
        of parameters: [String: Tensor], over ranks: ProcessGroup? = nil, shards: ParameterShards? = nil
    ) throws {
        let gradients = try parameters.mapValues { parameter in
            try parameter.gradient
                ?? Tensor.zeros(parameter.shape, parameter.elementType, device: parameter.device)
        }
        try ranks?.sum(gradients.sorted { $0.key < $1.key }.map(\.value))
        try self.init(gradients, shards: shards)
    }

    /// Σ weight · gradient: what one backward pass over the sum of weighted losses gives, to rounding.
    ///
    /// - Parameter terms: At least one, all of the same parameters.
    package init(sumOf terms: [(weight: Double, gradients: StepGradients)]) throws {
        precondition(!terms.isEmpty, "a sum of gradients has a term")
        let sum = try terms[0].gradients.gradients.mapValues { try $0 * terms[0].weight }
        for (weight, term) in terms.dropFirst() {
            for (name, gradient) in term.gradients { try sum[name]!.addInPlace(gradient, scaledBy: weight) }
        }
        try self.init(sum, shards: terms[0].gradients.shards)
    }

    /// - Parameters:
    ///   - gradients: By parameter name.
    ///   - shards: How several ranks share the parameters.
    package init(_ gradients: [String: Tensor], shards: ParameterShards? = nil) throws {
        self.gradients = gradients
        self.shards = shards
        func norm(of names: some Sequence<String>) throws -> Double {
            try Tensor.norm(of: names.map { gradients[$0]! })
        }
        let names = gradients.keys.sorted()
        guard let shards else {
            self.norm = try norm(of: names)
            return
        }
        let (own, all) = (try norm(of: names.filter(shards.isCut)), try norm(of: names.filter { !shards.isCut($0) }))
        self.norm = (try shards.group.sum(own * own) + all * all).squareRoot()
    }

    /// ⟨a, b⟩ over every parameter, summed in double.
    package func dot(_ others: [String: Tensor]) throws -> Double {
        try sum { name in try (gradients[name]! * others[name]!).to(.float64).sum().item() }
    }

    /// What the parameters come to together.
    func sum(_ ofParameter: (String) throws -> Double) throws -> Double {
        let names = gradients.keys.sorted()
        guard let shards else { return try names.reduce(0) { try $0 + ofParameter($1) } }
        let own = try names.filter(shards.isCut).reduce(0) { try $0 + ofParameter($1) }
        let all = try names.filter { !shards.isCut($0) }.reduce(0) { try $0 + ofParameter($1) }
        return try shards.group.sum(own) + all
    }

    /// Scales all gradients by min(1, max / (norm + 10⁻⁶)), as torch's `clip_grad_norm_`.
    package func clip(to maxNorm: Double) throws {
        let coefficient = maxNorm / (norm + 1e-6)
        guard coefficient < 1 else { return }
        try Tensor.scaleInPlace(Array(gradients.values), by: coefficient)
    }
}
