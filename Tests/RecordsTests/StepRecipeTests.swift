import Records
import Testing

@Suite("Recipes of a step")
struct StepRecipeTests {
    @Test func aRecipeReadsAsAGraph() {
        let thinking = PromptVariant(name: "thinking")
        let bare = PromptVariant(name: "bare", suffix: "<think></think>")
        let calls: [StepCall] = [
            .generate(samplesPerPrompt: 8, greedy: false), .generate(samplesPerPrompt: 1, greedy: true),
            .generate(samplesPerPrompt: 4, greedy: false, variants: [thinking, bare]), .infer(.reference),
        ]
        #expect(
            calls.map(\.word) == [
                "generate(8) → score", "generate(1 + greedy) → score", "generate(4, thinking and bare) → score",
                "infer(reference)",
            ])
    }

    /// A KL penalty in the reward compares the old policy with the reference, which is the trainer's own number: so must the other be,
    /// where the sampler rounds more.
    @Test func theOldPolicyIsTheTrainersWhereTheSamplerIsNotExact() {
        func call(_ uses: OldPolicyUses, _ isExact: Bool) -> StepCall? {
            StepRecipe.oldPolicyCall(for: uses, samplerIsExact: isExact)
        }
        #expect(call(.rewardPenalty, false) == .infer(.oldPolicy))
        #expect(call(.rewardPenalty, true) == nil)
        #expect(call([], false) == nil)
        for isExact in [true, false] {
            #expect(call(.ratio, isExact) == .infer(.oldPolicy))
            #expect(call([.ratio, .rewardPenalty], isExact) == .infer(.oldPolicy))
        }
    }
}
