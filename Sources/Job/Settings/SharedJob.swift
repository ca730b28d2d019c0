/// A setting of a resolved job, as the ranks of a run compare it.
package struct SharedSetting: Codable, Sendable, Equatable {
    package let key: String
    /// As YAML.
    package let value: String
}

extension ResolvedJob {
    /// What every rank of a run must have alike, in the order of the job: all but what a host may have in another place,
    /// what only the first rank shows and writes, and how many threads each computes with. Of values that name files
    /// among other things only the folders are left out. The weights that paths stand for are compared by themselves.
    package var shared: [SharedSetting] {
        keys.filter { !Self.own.contains($0) }.compactMap { key in
            self[key].map { SharedSetting(key: key, value: Self.naming.contains(key) ? Self.withoutFolders($0) : $0) }
        }
    }

    private static let own: Set = [
        "resume_from_checkpoint", "overwrite_output_dir", "output_dir", "offload_optimizer_path", "threads",
        "report_to", "run_name", "project", "log_completions", "num_completions_to_print", "timeline",
        "model_name_or_path", "teacher_model_name_or_path", "critic_model_name_or_path", "dataset_name",
        "demonstrations.path", "amft.validation", "dynamic_weights.replay",
        "placement",  // its plan's digest is compared
    ]
    /// Lists in which paths stand beside other things.
    private static let naming: Set = ["datasets", "reward_funcs", "eval_guard"]

    /// Nor quotes and spaces, which stand around some paths and not around others.
    private static func withoutFolders(_ yaml: String) -> String {
        yaml.replacing(#/[^"',:\[\]{}]*\//#, with: "").filter { !$0.isWhitespace && $0 != "\"" && $0 != "'" }
    }
}
