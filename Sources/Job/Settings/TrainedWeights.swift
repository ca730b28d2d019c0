package import Models
internal import Records

/// Which weights of its model a job trains.
package enum TrainedWeights: Sendable, Equatable {
    case all
    /// The parameters whose names a regular expression is found in: `trainable:`.
    case matching(String)
    /// A random half of each kind of parameters, another one in each stage: `trainable: half`.
    case half(stage: Int, seed: UInt64)
    /// None of them, but low-rank adapters on top: `use_peft:`.
    case adapters(LoRAConfiguration)

    /// - Parameter seed: The job's.
    init(reading job: inout SettingsReader, seed: Int) {
        let usesAdapters = job.read(
            "use_peft", default: false,
            "Trains low-rank adapters (LoRA, arXiv:2106.09685) and leaves the model unchanged: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ. The reference policy is the model without them; checkpoints are in PEFT's format. An adapter that model_name_or_path names is trained further, and the reference is that adapter as it was. A ppo critic has its own adapters and value head on the same base."
        )
        let rank = job.read(
            "lora_r", default: 16, .from(1, to: 65_536), "The rank of an adapter: rows of A and columns of B.")
        let alpha = job.read(
            "lora_alpha", default: 32.0, .above(0), "α of an adapter's scale: s = α/r.")
        let isStabilized = job.read(
            "use_rslora", default: false,
            "Scales adapters by s = α/√r in place of α/r, so that a larger rank learns as fast (rsLoRA, arXiv:2312.03732)."
        )
        let targets: TargetModules? = job.read(
            "lora_target_modules", optional: nil,
            "The projections that get adapters: their names, all-linear for every one in the blocks, or a regular expression for whole names such as model.layers.0.mlp.up_proj; q_proj and v_proj unless set, as in peft."
        )
        let dropout = job.read(
            "lora_dropout", default: 0.0, .from(0, below: 1),
            "Share p of an adapter's input x that is dropped before A, the rest scaled by 1/(1 - p), as in peft; TRL's default is 0.05. Only training passes drop, not sampling, evaluation or the scoring of old and reference log-probs, so the update's log-probs are of another policy than the one sampled from. The mask follows from seed, step, token and projection; a prompt has one for all its completions. An adapter trained further uses this value, whatever its file says."
        )
        let disablesDropout = job.read(
            "disable_dropout", default: false, "No dropout, whatever lora_dropout says.")
        let pattern: String? = job.read(
            "trainable", optional: nil,
            "A regular expression, such as layers.2[0-9] or embed_tokens: only parameters whose names contain a match are trained. half trains a random half of each kind (half fine-tuning, arXiv:2404.18466): in every block two of the four attention projections, one of the three feed-forward ones (two in half of the blocks) and one of the two norms; and, as in the paper, embedding and head. Our choices: a bias goes with its projection, one of the query and key norms is drawn, and the last norm is trained. A separate ppo critic trains the same of its model, and its value head. All unless set."
        )
        let stage = job.read(
            "trainable_stage", default: 0, .from(0, to: 1_000_000),
            "Which half trainable: half draws: each number and seed gives an independent one, as the paper draws anew for each stage of training (arXiv:2404.18466)."
        )
        job.ignore("trainable_stage", when: pattern != "half")
        guard usesAdapters else {
            job.ignore("lora_r", "lora_alpha", "use_rslora", "lora_target_modules", "disable_dropout")
            job.ignore("lora_dropout", when: dropout != 0.05)  // a file may write TRL's defaults out
            self = pattern.map { .matching($0) } ?? .all
            if pattern == "half" { self = .half(stage: stage, seed: UInt64(seed)) }
            if let pattern {
                do { _ = try Regex(pattern) } catch {
                    job.refuse("trainable", "trainable is '\(pattern)', which is no regular expression: \(error)")
                }
            }
            return
        }
        if pattern != nil {
            job.refuse("trainable", "trainable beside use_peft: with adapters nothing of the model itself is trained")
        }
        job.ignore("disable_dropout", when: dropout == 0)
        self = .adapters(
            LoRAConfiguration(
                rank: rank, alpha: alpha, isRankStabilized: isStabilized, targets: targets?.targets ?? .usual,
                dropout: disablesDropout ? 0 : dropout))
    }

    /// Whether passes that train drop some of what adapters read.
    var drops: Bool {
        guard case .adapters(let adapters) = self else { return false }
        return adapters.dropout > 0
    }

    /// Words about a learning rate that was not chosen for adapters.
    ///
    /// - Parameter rate: The one that the job has.
    func advise(_ rate: Double, reading job: inout SettingsReader) {
        guard case .adapters = self, !job.isGiven("learning_rate") else { return }
        job.notice(
            "learning_rate is \(rate), the default for whole models; adapters usually want about ten times as much")
    }
}

/// `lora_target_modules:`, names, `all-linear` or a regular expression.
struct TargetModules: SettingsValue {
    let targets: LoRAConfiguration.Targets

    static var expectation: String { "names of projections, all-linear or a regular expression" }

    static func read(_ node: SettingsNode) throws(SettingsProblem) -> TargetModules? {
        guard let texts = try [String].read(node), !texts.isEmpty, texts.allSatisfy({ !$0.isEmpty }) else { return nil }
        if texts == ["all-linear"] { return TargetModules(targets: .allLinear) }
        let areNames = texts.allSatisfy { $0.allSatisfy { $0.isLetter || $0.isNumber || "_.".contains($0) } }
        if areNames { return TargetModules(targets: .names(texts)) }
        return texts.count == 1 ? TargetModules(targets: .pattern(texts[0])) : nil
    }

    var yaml: String {
        switch targets {
        case .usual: "null"
        case .allLinear: "all-linear"
        case .names(let names): names.yaml
        case .pattern(let pattern): pattern.yaml
        }
    }
}
