package import Records
internal import Tensors

/// What makes a step of a gradient: `optim:`.
package enum OptimizerRule: Sendable, Equatable {
    /// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
    case adamW
    /// AdamW with moments of a byte a number (Dettmers et al. 2021, arXiv:2110.02861).
    case adamW8bit
    /// Lion (Chen et al. 2023, arXiv:2302.06675).
    case lion
    /// AdamW in a subspace of each matrix.
    case lowRank(LowRankSettings)

    /// A rule by its name.
    private enum Name: String, SettingsChoice {
        case adamW = "adamw_torch"
        case adamW8bit = "adamw_8bit"
        case lion
        case lowRank = "low_rank"

        /// Names that transformers has for the same. Where moments live is its paged ones' concern alone.
        private static let synonyms: [String: Name] = [
            "adamw": .adamW, "adamw_torch_fused": .adamW, "adamw_hf": .adamW, "adamw_torch_xla": .adamW,
            "adamw_torch_npu_fused": .adamW, "adamw_apex_fused": .adamW, "paged_adamw": .adamW,
            "paged_adamw_32bit": .adamW, "adamw_bnb_8bit": .adamW8bit, "adamw_torch_8bit": .adamW8bit,
            "paged_adamw_8bit": .adamW8bit, "lion_32bit": .lion, "paged_lion_32bit": .lion,
        ]

        /// Others of transformers' names by a part of each, the first that fits counting, with what is here instead.
        private static let others = [
            ("galore", "GaLore is optim: low_rank, with its own rank, update_every and scale below low_rank"),
            ("apollo", "APOLLO is not built; low_rank with low_rank.remainder: fira is the nearest"),
            ("lion", "Lion keeps its one moment whole here; optim: lion"),
            ("stable_adamw", "clipping by update is not built; stable_spam: true clips by gradient"),
            ("adamw_torch_4bit", "4-bit moments are not built; optim: adamw_8bit"),
            ("ademamix", "AdEMAMix is not built"), ("schedule_free", "schedule-free optimizers are not built"),
            ("adafactor", "Adafactor is not built; adamw_8bit, lion and low_rank need little memory"),
            ("anyprecision", "weights are kept in float32 here; optim: adamw_torch"),
            ("sgd", "SGD is not built"), ("rmsprop", "RMSprop is not built"), ("adagrad", "Adagrad is not built"),
            ("lomo", "LOMO is not built; adamw_8bit, lion and low_rank need little memory"),
            ("grokadamw", "GrokAdamW is not built"), ("muon", "Muon is not built"),
        ]

        static func read(_ node: SettingsNode) throws(SettingsProblem) -> Name? {
            guard case .scalar(let text, _) = node.content else { return nil }
            let name = text.lowercased()
            if let known = Name(rawValue: name) ?? synonyms[name] { return known }
            if let (_, instead) = others.first(where: { name.contains($0.0) }) {
                throw node.problem("optim: \(node.found) is not supported: \(instead)")
            }
            return nil
        }
    }

    package init(reading job: inout SettingsReader) {
        let name = job.read(
            "optim", default: Name.adamW,
            "The optimizer, with the bytes it keeps per trained number: adamw_torch 8 (arXiv:1711.05101); adamw_8bit 2, in blocks of 256, with vectors, small matrices and the embedding not quantized, as in bitsandbytes (arXiv:2110.02861); lion 4, whose step is a sign: use a learning rate 3 to 10 times smaller and a weight_decay larger by as much (arXiv:2302.06675); low_rank far less: AdamW in a subspace of each matrix, see low_rank. transformers' other names for these work too."
        )
        let lowRank = LowRankSettings(reading: &job, isWanted: name == .lowRank)
        self =
            switch name {
            case .adamW: .adamW
            case .adamW8bit: .adamW8bit
            case .lion: .lion
            case .lowRank: .lowRank(lowRank)
            }
    }

    /// As the job calls it.
    package var name: String {
        switch self {
        case .adamW: Name.adamW.rawValue
        case .adamW8bit: Name.adamW8bit.rawValue
        case .lion: Name.lion.rawValue
        case .lowRank: Name.lowRank.rawValue
        }
    }

    // MARK: One parameter

    /// What steps one parameter: AdamW with whole moments where the rule has no use for it.
    ///
    /// The embedding's moments are whole, and beside a subspace the head's, as in the papers. A word that a batch lacks
    /// has a gradient of 0, and rounded to a byte beside larger ones its second moment would be 0 too, which the first
    /// is divided by.
    ///
    /// - Parameter name: As published.
    func rule(of name: String, shape: [Int]) -> OptimizerRule {
        switch self {
        case .adamW, .lion: self
        case .adamW8bit:
            name.contains("embed_tokens") || shape.reduce(1, *) < Self.smallest8bitCount ? .adamW : self
        case .lowRank(let settings): Self.shorterSide(of: name, shape: shape) > settings.rank ? self : .adamW
        }
    }

    /// The shorter side of a matrix that may be projected, 0 for what is left whole.
    private static func shorterSide(of name: String, shape: [Int]) -> Int {
        let isWords = ["embed_tokens", "lm_head"].contains(where: name.contains)
        return shape.count == 2 && !isWords ? shape.min()! : 0
    }

    /// What is wrong with the rule for a role, in words that follow `low_rank.rank`; `nil` when it has something to act
    /// on.
    ///
    /// - Parameter shapes: Of what the role trains, by name.
    package func problem(training shapes: [String: [Int]]) -> String? {
        guard case .lowRank(let settings) = self else { return nil }
        let longest = shapes.map { Self.shorterSide(of: $0.key, shape: $0.value) }.max() ?? 0
        guard longest <= settings.rank else { return nil }
        return "is \(settings.rank), and no matrix that is trained has both sides longer, embedding and head aside; "
            + (longest > 1 ? "expected at most \(longest - 1)" : "expected another optim")
    }

    /// Parameters with fewer numbers keep whole moments.
    private static let smallest8bitCount = 4096

    /// The tensors that are kept of one parameter.
    func slots(of name: String, shape: [Int], _ type: ElementType) -> [StateSlot] {
        let whole = { (kind: StateSlot.Kind) in StateSlot(kind, shape, type) }
        switch rule(of: name, shape: shape) {
        case .adamW: return [whole(.firstMoment), whole(.secondMoment)]
        case .lion: return [whole(.firstMoment)]
        case .adamW8bit:
            let blocks = [CodedTensor.blockCount(shape.reduce(1, *))]
            return [
                StateSlot(.firstMoment, shape, .uint8), StateSlot(.firstMomentScales, blocks, .float32),
                StateSlot(.secondMoment, shape, .uint8), StateSlot(.secondMomentScales, blocks, .float32),
            ]
        case .lowRank(let settings): return settings.slots(shape: shape, type)
        }
    }
}

/// One tensor that an optimizer keeps of a parameter.
struct StateSlot {
    /// What it is; the raw value begins its name in a checkpoint.
    enum Kind: String {
        case firstMoment = "first_moment"
        case secondMoment = "second_moment"
        case firstMomentScales = "first_moment_scales"
        case secondMomentScales = "second_moment_scales"
        /// Orthonormal rows that span the subspace, `[rank, columns]`.
        case basis
        /// The indices of those rows in the matrix of cosines, `[rank]`.
        case cosines
        /// The norm of Fira's last remainder, `[1]`.
        case remainderNorm = "remainder_norm"
        /// Running means of the gradient's largest number, its norm and its norm's square, `[3]`.
        case gradientMeans = "gradient_means"

        var isMoment: Bool {
            switch self {
            case .firstMoment, .secondMoment, .firstMomentScales, .secondMomentScales: true
            case .basis, .cosines, .remainderNorm, .gradientMeans: false
            }
        }
    }

    let kind: Kind
    let shape: [Int]
    let type: ElementType

    init(_ kind: Kind, _ shape: [Int], _ type: ElementType) {
        self.kind = kind
        self.shape = shape
        self.type = type
    }

    var byteCount: Int { shape.reduce(type.byteCount, *) }
}

/// What an optimizer keeps of one parameter.
typealias ParameterState = [StateSlot.Kind: Tensor]
