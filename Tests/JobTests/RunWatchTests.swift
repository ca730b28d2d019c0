import Job
import Records
import Testing

@Suite("Signs that a run learns nothing")
struct RunWatchTests {
    /// A method that learns from completions of equal rewards has no such step.
    @Test(arguments: [(true, 1.0, ["dead"]), (true, 0.5, []), (false, 1.0, [])] as [(Bool, Double, [String])])
    func aStepOfEqualRewardsIsDeadWhereDifferencesTeach(
        _ needsDifferences: Bool, _ share: Double, _ expected: [String]
    ) {
        var metrics = Metrics()
        metrics["frac_reward_zero_std"] = share
        let watch = RunWatch(gapLimit: nil, needsDifferences: needsDifferences)
        #expect(watch.warnings(metrics).map(\.name) == expected)
    }
}
