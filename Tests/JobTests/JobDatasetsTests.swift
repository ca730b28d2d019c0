import Foundation
import Job
import Records
import Testing

private func job(_ text: String, _ overrides: [String] = []) throws -> ResolvedJob {
    try ResolvedJob(
        JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: overrides))
}

/// What else a job needs, behind its data.
private let rest = "\nmodel_name_or_path: m\noutput_dir: o\nreward_funcs: accuracy_reward"

@Suite("datasets: in a job")
struct JobDatasetsTests {
    private static let complete = """
        model_name_or_path: model
        output_dir: runs/one
        reward_funcs: accuracy_reward
        datasets:
          - path: math.parquet
            fraction: 0.7
            columns: [question, answer]
            column_map: {prompt: question}
          - path: words
            split: hard
            fraction: 0.3

        """

    @Test func aMixtureIsReadAndWrittenAgain() throws {
        let resolved = try job(Self.complete)
        let datasets = resolved.data.datasets
        #expect(datasets.map(\.path) == ["math.parquet", "words"] && datasets.map(\.split) == ["train", "hard"])
        #expect(datasets.map(\.fraction) == [0.7, 0.3] && datasets[0].columns == ["question", "answer"])
        #expect(datasets[0].columnMap == [NamedValue(name: "prompt", value: .string("question"))])
        #expect(datasets[1].columns == nil && datasets[1].columnMap == nil)
        let again = try job(resolved.yaml)
        #expect(again.yaml == resolved.yaml && again.data.datasets == datasets)
    }

    @Test func pathsAloneAndOverridesAreTaken() throws {
        let file = try job(Self.complete, ["datasets=[a.jsonl, {path: b.csv, fraction: null}]", "datasets.1.split=x"])
        #expect(file.data.datasets.map(\.path) == ["a.jsonl", "b.csv"])
        #expect(file.data.datasets[1].split == "x" && file.data.datasets[1].fraction == nil)
        #expect(try job(Self.complete, ["datasets.1.fraction=0.5"]).data.datasets[1].fraction == 0.5)
        #expect(try !job("datasets:\ndataset_name: p" + rest).data.isMixture)
    }

    @Test func datasetNameBesideItIsWithoutEffect() throws {
        #expect(
            try job(Self.complete + "dataset_name: other").notices
                == ["without effect beside datasets: dataset_name"])
    }

    /// As TRL names a configuration of a set of the Hub's.
    @Test func aConfigurationIsAFolderOfTheSet() throws {
        let one = try job("dataset_name: openai/gsm8k\ndataset_config: main" + rest)
        #expect(one.data.datasets.map(\.path) == ["openai/gsm8k/main"] && one.notices == [])
        #expect(one["dataset_name"] == "openai/gsm8k/main" && one["dataset_config"] == "null")
        #expect(try job(one.yaml).data.datasets == one.data.datasets)
        #expect(try job("dataset_name: a\ndataset_config: default" + rest).data.datasets.map(\.path) == ["a"])
        let several = try job(
            "datasets:\n  - {name: main, path: a/}\n  - {path: b, name: null}\n  - {path: c, name: default}\n"
                + "dataset_config: x" + rest)
        #expect(several.data.datasets.map(\.path) == ["a/main", "b", "c"])
        #expect(several.notices == ["without effect beside datasets: dataset_config"])
        #expect(try job(several.yaml).data.datasets == several.data.datasets)
    }

    @Test(arguments: [
        ("datasets: math.jsonl", 1, "datasets is 'math.jsonl'; expected a list of sections"),
        ("datasets:\n  - split: train", 2, "a set of datasets has no path; found a section with split"),
        ("datasets:\n  - path: a\n    fraction: 0", 3, "datasets: fraction is '0'; expected a number above 0"),
        ("datasets:\n  - path: a\n    fraktion: 1", 3, "datasets: unknown key 'fraktion'; did you mean fraction?"),
        ("datasets:\n  - path: a\n    weight: 1", 3, "datasets: unknown key 'weight'; expected path, split, fraction"),
        (
            "datasets:\n  - path: a\n    data_files: x", 3,
            "datasets: data_files is not supported; name the file or folder in path"
        ),
        ("datasets:\n  - path: a\n    column_map: x", 3, "datasets: column_map is 'x'; expected a section"),
        ("datasets:\n  - [a]", 2, "a set of datasets is a list of 1; expected a section with path"),
        ("test_split_size: 0.1", 1, "test_split_size: '0.1' is not supported: rows are not held out"),
    ])
    func aWrongEntryIsNamedWithItsLine(_ text: String, _ line: Int, _ message: String) throws {
        let named = text.hasPrefix("test_split") ? "\ndataset_name: p" : ""
        let error = try #require(throws: JobError.self) { try job(text + named + rest) }
        // A list that cannot be read leaves the job without prompts, which is said behind it.
        #expect(error.problems.first?.place == "job.yaml line \(line)")
        #expect(error.problems.dropFirst().allSatisfy { $0.message.hasPrefix("dataset_name is missing") })
        #expect(error.description.contains(message), "\(error)")
    }

    @Test func fractionsForSomeSetsOnlyAreRefused() throws {
        let error = try #require(throws: JobError.self) {
            try job(Self.complete, ["datasets.0.fraction=null"])
        }
        #expect(error.description.contains("a fraction to some sets and none to math.parquet; expected all or none"))
        let member = try #require(throws: JobError.self) { try job(Self.complete, ["datasets.7.path=x"]) }
        #expect(member.description.contains("datasets has no member '7.path'; it has the entries 0 to 1"))
    }
}
