import Credit
import Foundation
import Records
import Testing

@Suite("Numbers that must not be lost")
struct EvaluationGuardTests {
    /// Forgetting may cost 0.25 nats a token and stops; the other set is only watched.
    private let guards = [
        EvaluationGuard.Watched("texts", metric: "eval_guard/texts/log_likelihood", tolerance: 0.25, stops: true),
        EvaluationGuard.Watched("sums", metric: "eval_guard/sums/reward", tolerance: 0.5, stops: false),
    ]

    private func seen(_ step: Int, texts: Double? = nil, sums: Double? = nil) -> ObservedEvaluation {
        var measured = Metrics()
        measured["eval_guard/texts/log_likelihood"] = texts
        measured["eval_guard/sums/reward"] = sums
        return ObservedEvaluation(step: step, means: [:], measured: measured)
    }

    private func shown(_ evaluation: ObservedEvaluation, to watch: inout EvaluationGuard) throws -> ControllerUpdate {
        let update = watch.observe(evaluation)
        return try #require(update)
    }

    @Test func theFirstTheWorstAndTheChangeAreKept() throws {
        var watch = EvaluationGuard(guards)
        #expect(watch.needsEvaluation)
        let first = try shown(seen(0, texts: -2, sums: 1), to: &watch)
        #expect(!watch.needsEvaluation && first.note == nil && watch.endsRun == nil)
        #expect(first.metrics["eval_guard/texts/first"] == -2 && first.metrics["eval_guard/texts/change"] == 0)
        // −2.25 is as far as it may fall; only the texts were measured.
        let low = try shown(seen(10, texts: -2.25), to: &watch)
        #expect(low.metrics["eval_guard/texts/change"] == -0.25 && low.metrics["alarms/eval_guard/texts"] == nil)
        #expect(low.metrics.names.allSatisfy { $0.hasPrefix("eval_guard/texts/") })
        let better = try shown(seen(20, texts: -1.5, sums: 0.75), to: &watch)
        #expect(better.metrics["eval_guard/texts/worst"] == -2.25 && better.metrics["eval_guard/texts/first"] == -2)
        #expect(better.metrics["eval_guard/sums/worst"] == 0.75 && better.metrics["eval_guard/sums/change"] == -0.25)
        #expect(watch.endsRun == nil)
    }

    @Test func aFallIsSaidOnceAndEndsTheRunWhereItShould() throws {
        var watch = EvaluationGuard(guards)
        _ = watch.observe(seen(0, texts: -2, sums: 1))
        _ = watch.observe(seen(10, texts: -2.125, sums: 0.5))
        let fallen = try shown(seen(20, texts: -2.125, sums: 0.25), to: &watch)
        let note = try #require(fallen.note)
        for part in ["eval_guard sums", "by 0.75, from 1 to 0.25 at step 20", "tolerance 0.5", "last kept at step 10"] {
            #expect(note.contains(part), "\(note)")
        }
        #expect(fallen.metrics["alarms/eval_guard/sums"] == 1 && watch.endsRun == nil)
        let again = try shown(seen(30, texts: -2.5, sums: 0.25), to: &watch)
        #expect(again.metrics["alarms/eval_guard/sums"] == 1 && again.metrics["alarms/eval_guard/texts"] == 1)
        #expect(again.note?.contains("eval_guard texts") == true && again.note?.contains("sums") == false)
        #expect(watch.endsRun?.contains("by 0.5, from -2 to -2.5 at step 30") == true)
        // What comes back ends nothing.
        _ = watch.observe(seen(40, texts: -2))
        #expect(watch.endsRun == nil && watch.state.courses["texts"]?.worst.step == 30)
    }

    @Test func aNumberThatIsNoneIsPassedOver() {
        var watch = EvaluationGuard(guards)
        _ = watch.observe(seen(0, texts: -2, sums: 1))
        let before = watch.state
        let update = watch.observe(seen(10, texts: -9, sums: .nan))
        #expect(update == nil && watch.state == before)
    }

    @Test func theStateGoesThroughAFileToTheBit() throws {
        var watch = EvaluationGuard(guards)
        _ = watch.observe(seen(0, texts: -1.0 / 3, sums: 0.1 + 0.2))
        _ = watch.observe(seen(10, texts: -1.7, sums: 0.3))
        let data = try JSONEncoder().encode(watch.state)
        var other = EvaluationGuard(guards)
        other.state = try JSONDecoder().decode(EvaluationGuard.State.self, from: data)
        #expect(other.state == watch.state && other.endsRun == watch.endsRun && watch.endsRun != nil)
        try other.check(watch.state)
        // With a larger tolerance the same state ends nothing; with other sets it is another job's.
        let patient = EvaluationGuard([
            .init("texts", metric: "eval_guard/texts/log_likelihood", tolerance: 2, stops: true)
        ])
        #expect(throws: ControllerStateError.self) { try patient.check(watch.state) }
        var raised = EvaluationGuard([
            .init("texts", metric: "eval_guard/texts/log_likelihood", tolerance: 2, stops: true), guards[1],
        ])
        raised.state = watch.state
        #expect(raised.endsRun == nil)
    }
}
