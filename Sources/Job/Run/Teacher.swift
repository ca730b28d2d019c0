internal import Coordinator
internal import Models
internal import Records
internal import Tokenization

/// The model that a policy is distilled from.
struct TeacherSource {
    let model: ModelSource

    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache.
    ///   - policy: The model that is trained.
    /// - Throws: ``JobError`` naming the first token that the two do not share; what opening the model throws.
    init(_ name: String, of policy: ModelSource) throws {
        model = try ModelSource(name, device: policy.device)
        try Self.requireSameTokens(model.tokenizer, policy.tokenizer)
    }

    private static func requireSameTokens(_ teacher: Tokenizer, _ policy: Tokenizer) throws {
        let key = "teacher_model_name_or_path"
        func refuse(_ difference: String) -> JobError {
            JobError(
                place: key,
                message:
                    "the teacher and the policy have different tokenizers, and a divergence compares them token by "
                    + "token: \(difference)")
        }
        for id in 0..<max(teacher.vocabularySize, policy.vocabularySize) {
            let (own, other) = (policy.token(of: id), teacher.token(of: id))
            guard own != other else { continue }
            func shown(_ token: String?) -> String { token.map(JSONText.string) ?? "no token" }
            throw refuse("id \(id) is \(shown(other)) for the teacher, and \(shown(own)) for the policy")
        }
    }
}

/// Completions that the teacher writes for the step's prompts, in place of demonstrations.
struct TeacherFeed: DemonstrationSource {
    let generator: EngineGenerator
    /// Completions of each prompt.
    let generations: Int

    func demonstrations(of prompts: [TokenizedPrompt]) async throws -> [DemonstratedPrompt] { [] }

    func next(_ count: Int, from source: any PromptSource, step: Int, stop: StopSignal) async throws
        -> [DemonstratedPrompt]
    {
        let requests = try await source.next(count, in: [.plain]).compactMap(\.first).map {
            RolloutRequest(prompt: $0, samples: generations)
        }
        var found: [GroupAddress: RolloutGroup] = [:]
        for try await group in generator.generate(requests, step: step, stop: stop) { found[group.address] = group }
        try stop.check()
        return requests.compactMap { found[$0.address] }.flatMap { group in
            group.rollouts.map { DemonstratedPrompt(prompt: group.prompt, completion: $0.completion) }
        }
    }

    func mark() async {}
    func rewind() async {}
}
