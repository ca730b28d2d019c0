import Credit
import Foundation
import Records
import Testing

@Suite("Limits are searched for within one run")
struct ThresholdSearchTests {
    private let constraints = [
        Constraint("style", limit: 0.2, kind: .equal, range: 0...1),
        Constraint("facts", limit: 0.3, kind: .equal, range: 0...1),
    ]

    private func search(_ maxRollouts: Int = 400, perPoint: Int? = nil, tolerance: Double = 1e-3) -> ThresholdSearch {
        let bounds = Dictionary(uniqueKeysWithValues: constraints.map { ($0.name, $0.range!) })
        return ThresholdSearch(
            LagrangianConstraints(constraints, MultiplierSettings(.xiPPO)),
            ThresholdSearchSettings(
                gold: "gold", bounds: bounds, maxRollouts: maxRollouts, rolloutsPerPoint: perPoint,
                tolerance: tolerance), seed: 7)
    }

    private func step(_ style: Double, _ facts: Double) -> ObservedStep {
        ObservedStep(
            rewardNames: ["style", "facts", "gold"],
            groups: [ScoredGroups.group(scores: [[.value(style), .value(facts), .value(0)]])])
    }

    /// Gold peaks at style 0.6 and facts 0.45 and falls on every side: a proxy that is pushed beyond its point
    /// over-optimizes.
    private func gold(_ style: Double, _ facts: Double) -> Double {
        1 - 2 * pow(style - 0.6, 2) - 3 * pow(facts - 0.45, 2) - (style - 0.6) * (facts - 0.45)
    }

    /// A policy that goes half of the way to the limits in each rollout, evaluated after every second one.
    private struct World {
        var style = 0.1
        var facts = 0.1
        var rollouts = 0

        mutating func rollout(_ search: inout ThresholdSearch, _ test: ThresholdSearchTests) -> ControllerUpdate? {
            style += 0.5 * ((search.limits["style"] ?? 0) - style)
            facts += 0.5 * ((search.limits["facts"] ?? 0) - facts)
            rollouts += 1
            _ = search.observe(test.step(style, facts))
            guard rollouts % 2 == 0 else { return nil }
            return search.observe(
                ObservedEvaluation(
                    step: rollouts, means: ["style": style, "facts": facts, "gold": test.gold(style, facts)]))
        }
    }

    @Test func itFindsWhereGoldPeaks() throws {
        var search = search()
        var world = World()
        var notes: [String] = []
        for _ in 0..<400 {
            if let note = world.rollout(&search, self)?.note { notes.append(note) }
            #expect(search.limits.values.allSatisfy { (0...1).contains($0) })
        }
        #expect(abs(try #require(search.limits["style"]) - 0.6) < 0.06)
        #expect(abs(try #require(search.limits["facts"]) - 0.45) < 0.045)
        #expect(notes.first?.hasPrefix("the limits facts 0.3, style 0.2 were reached: gold is ") == true)
        #expect(notes.last?.contains("the search has ended, the limits stay at its best") == true)
        // It stays there, and says no more.
        let limits = search.limits
        for _ in 0..<10 { #expect(world.rollout(&search, self)?.note == nil) }
        #expect(search.limits == limits)
    }

    /// The constraints are held to the limits that are tried: their metric is the moving limit.
    @Test func theConstraintsTakeTheLimits() throws {
        var search = search()
        let begun = search.observe(step(0.5, 0.5))
        #expect(begun?.metrics["constraints/style/limit"] == 0.2)
        _ = search.observe(ObservedEvaluation(step: 1, means: ["style": 0.2, "facts": 0.3, "gold": 1]))
        let next = search.observe(step(0.5, 0.5))
        #expect(next?.metrics["constraints/style/limit"] == search.limits["style"])
        #expect(search.limits["style"] != 0.2)
    }

    /// A point whose limits are out of reach ends after its rollouts, with what gold then is.
    @Test func aPointThatIsNotReachedEndsByItsRollouts() {
        var search = search(100, perPoint: 3)
        let missed = ObservedEvaluation(step: 1, means: ["style": 0.9, "facts": 0.9, "gold": 0.5])
        var notes: [String?] = []
        for _ in 0..<3 {
            _ = search.observe(step(0.9, 0.9))
            notes.append(search.observe(missed)?.note)
        }
        #expect(notes[0] == nil && notes[1] == nil)
        #expect(
            notes[2]?.hasPrefix("the limits facts 0.3, style 0.2 were not reached in 3 rollouts: gold is 0.5") == true)
    }

    /// A guard's rows say nothing of gold, and are no skipped evaluation either; one without gold is.
    @Test func aGuardsEvaluationIsNoSkip() {
        var search = search(100, perPoint: 1)
        _ = search.observe(step(0.9, 0.9))
        let before = search.state
        var guarded = ObservedEvaluation(step: 1, means: [:])
        guarded.measured["eval_guard/held/reward"] = 0.5
        #expect(search.observe(guarded) == ControllerUpdate())
        #expect(search.observe(ObservedEvaluation(step: 1, means: ["style": 0.9, "facts": 0.9])) == nil)
        #expect(search.observe(ObservedEvaluation(step: 1, means: ["style": 0.9, "facts": 0.9, "gold": .nan])) == nil)
        #expect(search.state == before)
    }

    @Test func aSearchWhoseRolloutsAreSpentStaysAtItsBest() throws {
        var search = search(9, perPoint: 2, tolerance: 0)
        var world = World()
        for _ in 0..<30 { _ = world.rollout(&search, self) }
        let best = try #require(search.state.search.best)
        #expect(search.limits == best.point)
    }

    /// In the middle of a search, to the bit.
    @Test func itGoesOnFromAFile() throws {
        var (whole, world) = (search(), World())
        for _ in 0..<31 { _ = world.rollout(&whole, self) }
        var resumed = search()
        try resumed.takeState(from: whole.encodedState(with: JSONEncoder()), with: JSONDecoder())
        var other = world
        for _ in 0..<120 {
            let (one, two) = (world.rollout(&whole, self), other.rollout(&resumed, self))
            #expect(one == two && whole.state == resumed.state && whole.limits == resumed.limits)
        }
    }

    @Test func anotherSearchsStateIsRefused() throws {
        let saved = try search().encodedState(with: JSONEncoder())
        var other = ThresholdSearch(
            LagrangianConstraints(constraints, MultiplierSettings(.xiPPO)),
            ThresholdSearchSettings(gold: "gold", bounds: ["style": 0...2, "facts": 0...1], maxRollouts: 10), seed: 7)
        #expect(throws: ControllerStateError.self) { try other.takeState(from: saved, with: JSONDecoder()) }
    }
}
