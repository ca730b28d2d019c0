package import Placement
package import Records

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
    package let reading: PromptReading
    package let seed: Int
    /// Threads of the tensor engine; `nil` takes the model's usual number.
    package let threads: Int?
    /// Whether every hand-over of weights is checked against their fingerprint.
    package let verification: WeightVerification

    init(reading job: inout SettingsReader) {
        path = job.read(
            "model_name_or_path", required: "name a model folder", standIn: "",
            meaning:
                "A Hugging Face folder (config.json, safetensors, tokenizer.json), a PEFT adapter's or a GGUF file, relative to the working directory, or a name in the local Hugging Face cache. A GGUF file is read with its tokenizer and chat template; what a run saves is a folder."
        )
        dtype = job.read(
            "dtype", default: .float32,
            "What passes over the model compute in; bfloat16 trains float32 weights and reads copies of them. auto is float32, whatever type the folder has. torch_dtype is another name of it."
        )
        reading = PromptReading(reading: &job)
        seed = job.read(
            "seed", default: 42, .atLeast(0),
            "Addresses every random draw: same seed, machine and thread count, same run to the bit.")
        trained = TrainedWeights(reading: &job, seed: seed)
        threads = job.read(
            "threads", optional: nil, .from(1, to: 1024),
            "Threads of the tensor engine; by default the machine's cores, and one for a model below 2 M weights.")
        let verifies = job.read(
            "verify_weights", default: false,
            "Compares the weights with their fingerprint at every hand-over between generation, scoring and training, and stops when anything but an optimizer step has written them. Reads every weight once a hand-over, at the speed of memory."
        )
        verification = verifies ? .everyHandOver : .never
    }
}
