import Credit
import Foundation
import Records
import Testing

@Suite("The adaptive KL as a controller")
struct AdaptiveKLControllerTests {
    private func step(_ kl: Double?, completions: Int = 100) -> ObservedStep {
        let groups = [ScoredGroups.group([Double?](repeating: 1, count: completions))]
        return ObservedStep(rewardNames: ["accuracy"], groups: groups, meanKL: kl)
    }

    /// 0.05·(1 + 0.2·100/1000) = 0.051; the metric is what the step was credited with.
    @Test func itSaysWhatWasInForceAndWhatMovesIt() throws {
        var controller = AdaptiveKL(initial: 0.05, target: 0.1, horizon: 1000)
        #expect(controller.weights(at: 0) == ["kl": 0.05])
        let moved = controller.observe(step(0.15))
        let update = try #require(moved)
        #expect(update.metrics["kl_coefficient"] == 0.05)
        #expect(update.metrics["kl_coefficient/error"] == 0.2)
        #expect(update.note == nil)
        #expect(abs(try #require(controller.weights(at: 0)["kl"]) - 0.051) < 1e-12)
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity])
    func aNumberThatIsNotFiniteLeavesTheState(_ kl: Double) throws {
        var controller = AdaptiveKL(initial: 0.05, target: 0.1)
        _ = controller.observe(step(0.3))
        let before = controller
        #expect(controller.observe(step(kl)) == nil)
        #expect(controller == before)
    }

    @Test func aStepWithoutAnEstimateMovesNothing() throws {
        var controller = AdaptiveKL(initial: 0.05, target: 0.1)
        #expect(controller.observe(step(nil)) == ControllerUpdate())
        #expect(controller.weights(at: 0) == ["kl": 0.05])
    }

    /// 1.2⁴ = 2.07: the fourth step doubles it, the eighth doubles it again.
    @Test func itSpeaksWhenItHasDoubled() throws {
        var controller = AdaptiveKL(initial: 1, target: 0.1, horizon: 100)
        let notes = (0..<8).map { _ in controller.observe(step(5))?.note }
        #expect(notes.map { $0 != nil } == [false, false, false, true, false, false, false, true])
        #expect(notes[3] == "the KL coefficient went from 1 to 2.07: kl is 5 nats a token, its target 0.1")
    }

    @Test func itsStateGoesThroughAFile() throws {
        var controller = AdaptiveKL(initial: 1, target: 0.1, horizon: 100)
        for _ in 0..<5 { _ = controller.observe(step(5)) }
        var other = AdaptiveKL(initial: 1, target: 0.1, horizon: 100)
        try other.takeState(from: controller.encodedState(with: JSONEncoder()), with: JSONDecoder())
        #expect(other == controller)
        #expect(throws: DecodingError.self) { try other.takeState(from: Data("[]".utf8), with: JSONDecoder()) }
        #expect(other == controller)
    }
}
