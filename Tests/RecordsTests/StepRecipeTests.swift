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

    /// A KL penalty in the reward compares the old policy with the reference, which is the trainer's own number: so
    /// must the other be, where the sampler rounds more.
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

    @Test func aRunMayBeginOtherwise() {
        let recipe = StepRecipe(
            method: "amft",
            calls: [.generate(samplesPerPrompt: 8, greedy: false), .demonstrate, .credit, .weigh, .train],
            warmup: .init(steps: 2, calls: [.demonstrate, .train]))
        #expect((0..<4).map { recipe.calls(at: $0, number: $0).count } == [2, 2, 5, 5])
        #expect((0..<4).map { recipe.isWarmingUp(at: $0) } == [true, true, false, false])
        #expect(
            recipe.words
                == "demonstrate → train for 2 optimizer steps, then generate(8) → score → demonstrate → credit → weigh → train"
        )
    }

    /// A share of s has floor(n·s) of the first n steps.
    @Test(arguments: [0.25, 0.5, 0.3, 1]) func aShareOfTheStepsIsSpreadEvenly(_ share: Double) {
        let recipe = StepRecipe(
            method: "distill", calls: [.generate(samplesPerPrompt: 8, greedy: false), .credit, .train],
            interlude: .init(share: share, calls: [.demonstrate, .train]))
        for count in 1...40 {
            let others = (0..<count).count { recipe.calls(at: 0, number: $0).count == 2 }
            #expect(others == Int((Double(count) * share).rounded(.down)))
        }
    }
}
