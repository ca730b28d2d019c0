package import Records
package import Tensors

/// Settings of the optimizer: unless said otherwise AdamW with the defaults of TRL's GRPO trainer.
package struct OptimizerSettings: Sendable, Equatable {
    /// What makes a step of a gradient.
    package let rule: OptimizerRule
    /// The peak, before the schedule's factor.
    package let learningRate: Double
    /// Decay of the running mean of the gradients.
    package let beta1: Double
    /// Decay of the running mean of their squares.
    package let beta2: Double
    /// Added to the root of the second moment.
    package let epsilon: Double
    /// Decoupled weight decay; biases and norm weights are left out, as in the Hugging Face trainer.
    package let weightDecay: Double
    /// The global norm above which gradients are scaled down; `nil` leaves them as they are.
    package let maxGradientNorm: Double?
    /// What happens to gradients before the rule; `nil` leaves them as they are.
    package let stabilization: StableSPAM?
    package let schedule: LearningRateSchedule

    package init(
        rule: OptimizerRule = .adamW, learningRate: Double = 1e-6, beta1: Double = 0.9, beta2: Double = 0.999,
        epsilon: Double = 1e-8, weightDecay: Double = 0, maxGradientNorm: Double? = 1,
        stabilization: StableSPAM? = nil, schedule: LearningRateSchedule
    ) {
        self.rule = rule
        self.stabilization = stabilization
        self.learningRate = learningRate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.maxGradientNorm = maxGradientNorm
        self.schedule = schedule
    }

    /// The schedule's length is known once the prompts are: see ``LearningRateSchedule/over(_:)``.
    ///
    /// - Parameter learningRate: The method's default.
    package init(reading job: inout SettingsReader, learningRate fallback: Double) {
        learningRate = job.read(
            "learning_rate", default: fallback, .from(0, to: 1e6), "The step size at the schedule's peak.")
        schedule = LearningRateSchedule(reading: &job, learningRate: learningRate)
        weightDecay = job.read(
            "weight_decay", default: 0.0, .atLeast(0),
            "Decoupled decay of the matrices; biases and norms are left out, as in the Hugging Face trainer (arXiv:1711.05101)."
        )
        rule = OptimizerRule(reading: &job)
        beta1 = job.read("adam_beta1", default: 0.9, .from(0, below: 1), "Decay of the first moment.")
        beta2 = job.read(
            "adam_beta2", default: rule == .lion ? 0.99 : 0.999, .from(0, below: 1),
            "Decay of the second moment; for lion, which has none, of its momentum (the paper's 0.99 unless set, arXiv:2302.06675)."
        )
        epsilon = job.read(
            "adam_epsilon", default: 1e-8, .above(0), "AdamW's guard against division by zero (arXiv:1412.6980).")
        stabilization = StableSPAM(reading: &job)
        job.ignore("adam_epsilon", when: rule == .lion && stabilization == nil)
        let norm = job.read(
            "max_grad_norm", default: stabilization == nil ? 1.0 : 0, .atLeast(0),
            "Gradients longer than this are scaled down to it; 0 is off, the default with stable_spam (arXiv:1211.5063)."
        )
        maxGradientNorm = norm > 0 ? norm : nil
    }

    /// The same with another peak and the schedule over so many steps.
    package func with(learningRate: Double? = nil, totalSteps: Int) throws(SettingsError) -> OptimizerSettings {
        OptimizerSettings(
            rule: rule, learningRate: learningRate ?? self.learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
            weightDecay: weightDecay, maxGradientNorm: maxGradientNorm, stabilization: stabilization,
            schedule: try schedule.over(totalSteps))
    }

    /// Whether a step answers smoothly to its gradient, so that a look-ahead through it can be differentiated.
    package var hasDerivative: Bool { [.adamW, .adamW8bit].contains(rule) && stabilization == nil }

    /// Whether each number is stepped by itself, so that ranks may each step their parts of a parameter.
    package var stepsElementByElement: Bool { [.adamW, .lion].contains(rule) && stabilization == nil }

    /// What a step is made by, as the job calls it.
    package var stepName: String { rule.name + (stabilization == nil ? "" : " with stable_spam") }

    /// Bytes that are kept of one parameter beside it and its gradient.
    ///
    /// - Parameters:
    ///   - name: As published.
    ///   - type: What it is trained in.
    package func stateBytes(of name: String, shape: [Int], _ type: ElementType) -> Int {
        slots(of: name, shape: shape, type).reduce(0) { $0 + $1.byteCount }
    }

    /// The tensors that are kept of one parameter.
    func slots(of name: String, shape: [Int], _ type: ElementType) -> [StateSlot] {
        rule.slots(of: name, shape: shape, type)
            + (stabilization == nil ? [] : [StateSlot(.gradientMeans, [3], .float64)])
    }

    /// Whether weight decay acts on a parameter: not on biases and not on norms, told by their published names.
    ///
    /// The rule of the Hugging Face trainer: no part of the name is a `bias`, and none names a norm (`norm`, `…_norm`,
    /// `…layernorm`, `…rmsnorm`).
    package static func decays(_ name: String) -> Bool {
        let lowered = name.lowercased()
        if ["bias", "layernorm", "rmsnorm"].contains(where: lowered.contains) { return false }
        return !lowered.split(separator: ".").contains { $0 == "norm" || $0.hasSuffix("_norm") }
    }
}
