import Foundation
import Job

/// A job of the keys that every job needs, one a line, with more behind them from the sixth line on.
func plainJob(_ lines: String = "") throws -> ResolvedJob {
    let text = """
        model_name_or_path: m
        dataset_name: d
        output_dir: o
        reward_funcs: accuracy_reward

        """
    return try ResolvedJob(JobFile(text: text + lines, name: "job.yaml", folder: URL(filePath: "/jobs")))
}
