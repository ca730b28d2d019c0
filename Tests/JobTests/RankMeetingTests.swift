import Foundation
import Job
import Records
import Testing

@Suite("Where the processes of a run meet")
struct RankMeetingTests {
    private static let torchrun = [
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500",
    ]

    @Test func torchrunsVariablesSayIt() throws {
        let meeting = try #require(try RankMeeting(Self.torchrun))
        #expect((meeting.rank, meeting.size) == (3, 4))
    }

    @Test func slurmsVariablesSayItWhereTheOthersAreMissing() throws {
        let slurm = [
            "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1", "SLURM_JOB_ID": "123456",
        ]
        let meeting = try #require(try RankMeeting(slurm))
        #expect((meeting.rank, meeting.size) == (1, 2))
        let both = try #require(try RankMeeting(slurm.merging(Self.torchrun) { $1 }))
        #expect(both.rank == 3)
    }

    @Test func aProcessAloneMeetsNobody() throws {
        #expect(try RankMeeting([:]) == nil)
        #expect(try RankMeeting(["RANK": "0", "WORLD_SIZE": "1"]) == nil)
        #expect(try RankMeeting(["SLURM_PROCID": "0", "SLURM_NTASKS": "1"]) == nil)
    }

    /// In YAML ' #' begins a comment and ': ' a map.
    @Test func theScratchFolderMayHaveAnyName() throws {
        let scratch = "/tmp/rank #1: 'a'"
        let file = try JobFile(
            text: "model_name_or_path: m\ndataset_name: d\noutput_dir: o\nreward_funcs: accuracy_reward",
            name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: RankMeeting.overrides(scratch: scratch))
        #expect(try ResolvedJob(file).run.outputDirectory == scratch)
    }

    @Test(arguments: [
        ("RANK", "4", "RANK: is '4'; expected a whole number from 0 to 3"),
        ("RANK", "-1", "RANK: is '-1'"), ("WORLD_SIZE", "many", "WORLD_SIZE: is 'many'"),
        ("WORLD_SIZE", nil, "WORLD_SIZE: is missing"), ("MASTER_ADDR", nil, "MASTER_ADDR: is missing"),
        ("MASTER_PORT", "70000", "MASTER_PORT: is missing or no port"),
    ])
    func whatIsWrongIsNamed(_ name: String, _ value: String?, _ says: String) {
        var environment = Self.torchrun
        environment[name] = value
        let error = #expect(throws: JobError.self) { try RankMeeting(environment) }
        #expect("\(error.map { "\($0)" } ?? "")".contains(says))
    }
}
