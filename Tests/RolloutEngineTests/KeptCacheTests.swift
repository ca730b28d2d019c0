import Models
import Placement
import Records
import RolloutEngine
import Tensors
import Testing

@TensorActor @Suite("The cache between two calls")
struct KeptCacheTests {
    private func completions(_ residency: Residency) async throws -> (groups: [[RolloutGroup]], cacheBytes: [Int]) {
        let fixture = try RolloutFixture()
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: fixture.model.parametersByName), residency: residency)
        let engine = RolloutEngine(
            policy: policy, configuration: fixture.configuration, tokenizer: fixture.tokenizer, seed: 17,
            limits: BatchLimits(rows: 8, prefillTokens: 4096))
        var groups: [[RolloutGroup]] = []
        var bytes: [Int] = []
        // Wider and narrower than what is kept, longer and shorter.
        for (step, (count, length)) in [(6, 9), (3, 5), (6, 9), (9, 12)].enumerated() {
            groups.append(
                try await collected(
                    engine.generate(
                        fixture.requests(count, samples: 2), settings: SamplingSettings(maxCompletionLength: length),
                        step: step)))
            bytes.append(policy.footprint().bytes(.keyValueCache))
        }
        return (groups, bytes)
    }

    @Test func itIsGoneUnlessEverythingIsKeptAndChangesNothing() async throws {
        let released = try await completions(.release)
        let kept = try await completions(.keep)
        #expect(released.cacheBytes == [0, 0, 0, 0])
        #expect(kept.groups == released.groups)
        let bytes = kept.cacheBytes
        #expect(bytes[0] > 0 && bytes[1] == bytes[0] && bytes[2] == bytes[0])  // the same one
        #expect(bytes[3] > bytes[0])  // too small for the last
    }
}
