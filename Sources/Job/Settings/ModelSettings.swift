package import Models
package import Placement
package import Records
package import Tensors

/// `dtype:`, the element type that passes over the model compute in.
///
/// Weights are trained in the same type, but those of bfloat16 in float32: sampling and scoring read copies in
/// bfloat16.
package enum JobElementType: String, SettingsChoice {
    case float32, bfloat16, float64

    /// Also as PyTorch writes it, and `auto`.
    package static func read(_ node: SettingsNode) -> JobElementType? {
        guard case .scalar(let text, _) = node.content else { return nil }
        if text == "auto" { return .float32 }
        return JobElementType(rawValue: text.hasPrefix("torch.") ? String(text.dropFirst(6)) : text)
    }
}

/// The model of a job, and how it is computed.
package struct ModelSettings: Sendable {
    /// A folder, a GGUF file, or a name in the local cache.
    package let path: String
    package let dtype: JobElementType
    package let trained: TrainedWeights
    /// What the matrices under adapters are kept as.
    package let base: WeightStorage
    package let reading: PromptReading
    package let seed: Int
    /// Threads of the tensor engine; `nil` takes the model's usual number.
    package let threads: Int?
    /// How the weights lie while completions are sampled.
    package let generationLayout: GenerationLayout
    /// What becomes of memory that a phase has no more use for.
    package let residency: Residency
    /// Where the weights are, and everything that is computed with them.
    package let device: Device
    /// Whether every hand-over of weights is checked against their fingerprint.
    package let verification: WeightVerification

    /// - Parameter generates: Whether the method samples.
    init(reading job: inout SettingsReader, generates: Bool) {
        path = job.read(
            "model_name_or_path", required: "name a model folder", standIn: "",
            meaning:
                "A Hugging Face folder (config.json, safetensors, tokenizer.json), a PEFT adapter's folder or a GGUF file, relative to the working directory, or a name in the local Hugging Face cache. A GGUF file brings its tokenizer and chat template; a run always saves a folder."
        )
        dtype = job.read(
            "dtype", default: .float32,
            "The type that model passes compute in; bfloat16 trains float32 weights and reads copies of them. auto is float32, whatever type the folder has. torch_dtype is an alias."
        )
        reading = PromptReading(reading: &job)
        seed = job.read(
            "seed", default: 42, .atLeast(0),
            "Determines every random draw: same seed, machine and thread count, same run to the bit.")
        trained = TrainedWeights(reading: &job, seed: seed)
        threads = job.read(
            "threads", optional: nil, .from(1, to: 1024),
            "Threads of the tensor engine; by default one per core, or just one for a model below 2 M weights.")
        device = job.read(
            "device", default: .cpu,
            "Where weights, gradients and activations are: cpu, cuda (the first GPU) or cuda:N. A GPU needs a libtorch with CUDA (LIBTORCH=/path make build), and reads the weights as they are: generation_layout is shared there."
        )
        base = Self.base(reading: &job, dtype, device, trained)
        generationLayout = Self.layout(reading: &job, dtype, device, base, generates)
        residency = job.read(
            "residency", default: .release,
            "What happens to memory that a phase no longer needs: weight copies during training, gradients after a step, keys and values after sampling. release frees it, and returns it to the system after phases as long as that takes about 1 % of the time; release_always returns it after every phase, whatever it takes; keep holds it all until it is made anew, for comparison. A frozen reference in its safetensors' own type is mapped from the file; release and release_always drop its pages after each phase. The numbers of a run do not depend on it."
        )
        let verifies = job.read(
            "verify_weights", default: false,
            "Checks the weights' fingerprint at every hand-over between generation, scoring and training, and stops if anything but an optimizer step has written them. Reads every weight once per hand-over, at memory speed."
        )
        verification = verifies ? .everyHandOver : .never
    }

    private static func base(
        reading job: inout SettingsReader, _ dtype: JobElementType, _ device: Device, _ trained: TrainedWeights
    ) -> WeightStorage {
        let isInt8 = job.read(
            "load_in_8bit", default: false,
            "Keeps the block matrices under adapters in eight bits with one scale per output, a quarter of the memory; embeddings, head and norms are not quantized. Sampling, scoring and training read the same, w ≈ s·round(w/s) with s = max|w|/127 over an output; the adapters are float32. dtype: bfloat16 halves the whole model instead."
        )
        guard isInt8 else { return .whole }
        guard case .adapters = trained else {
            job.refuse(
                "load_in_8bit",
                "load_in_8bit is true, and weights that are trained are not kept in eight bits; expected use_peft: true beside it"
            )
            return .whole
        }
        job.check(
            dtype == .float32, "load_in_8bit",
            "false with dtype \(dtype.rawValue): eight-bit products are for float32")
        job.check(
            device == .cpu, "load_in_8bit", "false with device \(device.yaml): eight-bit products are for the CPU")
        return .int8
    }

    private static func layout(
        reading job: inout SettingsReader, _ dtype: JobElementType, _ device: Device, _ base: WeightStorage,
        _ generates: Bool
    ) -> GenerationLayout {
        guard generates else { return .shared }
        let isPacked = dtype == .float32 && device == .cpu && base == .whole
        let layout = job.read(
            "generation_layout", default: isPacked ? GenerationLayout.packed : .shared,
            "How the weights are laid out for sampling. packed: a copy of the matrices in the order that products of few rows read, made after each step and dropped before the next one is trained, so that peak memory stays the same; its results differ by rounding. int8: the same in eight bits per weight except embeddings and head, a quarter of the memory traffic but another policy, so importance_sampling_correction defaults to token_truncate. shared: no copy, the only choice outside float32."
        )
        job.check(
            layout == .shared || dtype == .float32, "generation_layout",
            "shared with dtype \(dtype.rawValue): packed matrices are made of float32 weights")
        job.check(
            layout == .shared || device == .cpu, "generation_layout",
            "shared with device \(device.yaml): products of packed matrices are for the CPU")
        job.check(
            layout == .shared || base == .whole, "generation_layout",
            "shared with load_in_8bit: sampling reads the base in eight bits as it is, and the adapters beside it")
        if layout == .int8 {
            job.fill("importance_sampling_correction", "token_truncate", from: "generation_layout: int8")
        }
        return layout
    }
}

extension GenerationLayout: SettingsChoice {}
extension Residency: SettingsChoice {}

/// `device:`, as torch writes it.
extension Device: SettingsValue {
    package static var expectation: String { "cpu, cuda or cuda:N" }

    /// Nothing is no device: whoever writes `device=$DEVICE` does not mean the default.
    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> Device? {
        if node.content == .null { throw node.problem("device is empty; expected \(expectation)") }
        guard case .scalar(let text, _) = node.content else { return nil }
        return Device(text)
    }

    /// - Parameter text: `cpu`, `cuda` or `cuda:N`.
    package init?(_ text: String) {
        switch text {
        case "cpu": self = .cpu
        case "cuda": self = .cuda(0)
        default:
            guard text.hasPrefix("cuda:"), text.dropFirst(5).allSatisfy({ $0.isASCII && $0.isNumber }),
                let index = Int(text.dropFirst(5)), index < 128
            else { return nil }
            self = .cuda(index)
        }
    }

    package var yaml: String {
        switch self {
        case .cpu: "cpu"
        case .cuda(let index): "\"cuda:\(index)\""
        }
    }
}
