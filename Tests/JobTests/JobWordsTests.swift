import Job
import Testing

@Suite("The words of a command line: a job, and what overrides it")
struct JobWordsTests {
    @Test(
        arguments: [
            (["job.yaml", "beta=0.1", "max_steps=3"], ["beta=0.1", "max_steps=3"]),
            (["job.yaml", "--beta", "0.1", "--max_steps=3"], ["beta=0.1", "max_steps=3"]),
            (["--beta", "-1e-5", "job.yaml", "seed=7"], ["beta=-1e-5", "seed=7"]),
            (["--config", "job.yaml", "--beta", "0.1"], ["beta=0.1"]),
            (["beta=0.1", "--config", "job.yaml"], ["beta=0.1"]),
            (["--config=job.yaml", "--use_peft", "--beta=0.1", "--bf16"], ["use_peft=true", "beta=0.1", "bf16=true"]),
            (["job.yaml", "--", "--seed=7", "column_map.prompt=a=b"], ["seed=7", "column_map.prompt=a=b"]),
            // What is no override is for the job to refuse.
            (["job.yaml", "other.yaml", "-n"], ["other.yaml", "-n"]),
        ] as [([String], [String])])
    func areReadAsTRLsUsersWriteThemToo(_ words: [String], _ overrides: [String]) {
        let read = JobWords(words, takesJob: true)
        #expect(read.job == "job.yaml")
        #expect(read.overrides == overrides)
    }

    @Test func aJobMayBeMissingOrAnOptionOfItsOwn() {
        #expect(JobWords([], takesJob: true) == JobWords(["--"], takesJob: true))
        let lacking = JobWords(["--beta", "job.yaml"], takesJob: true)
        #expect(lacking.job == nil && lacking.overrides == ["beta=job.yaml"])
        let given = JobWords(["--config", "x", "beta=1"], takesJob: false)
        #expect(given.job == nil && given.overrides == ["config=x", "beta=1"])
    }
}
