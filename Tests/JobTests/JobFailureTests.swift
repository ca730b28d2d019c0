import Coordinator
import Job
import PolicyUpdater
import Testing

@Suite("What the user can mend")
struct JobFailureTests {
    /// A set that is too easy for dynamic sampling is the job's matter; a lost group is ours.
    @Test func dynamicSamplingThatFindsTooLittleIsInput() {
        #expect(JobFailure.isInput(CoordinatorError.tooFewLiveGroups(kept: 1, wanted: 2, waves: 3, reward: "one")))
        #expect(!JobFailure.isInput(CoordinatorError.lostGroup(prompt: "row 1")))
        #expect(JobFailure.isInput(UpdateError.state(message: "other shapes")))
        #expect(!JobFailure.isInput(UpdateError.missingCritic))
    }
}
