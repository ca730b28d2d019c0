/// The words of a command line that are none of the command's own options: a job, and what overrides its keys.
///
///     job.yaml learning_rate=2e-6 --max_steps 100 --beta=0.04 --use_peft
///
/// `--key value` and `--key=value` are `key=value`, as TRL's users write it. A key with another behind it, or with
/// nothing, is switched on. Which keys there are is the job's own affair.
package struct JobWords: Sendable, Equatable {
    /// The word behind TRL's `--config`, or the first that stands by itself; `nil` where there is none.
    package private(set) var job: String?
    /// `key=value` each, in their order. Of a command whose job is an option of its own, all words.
    package private(set) var overrides: [String] = []

    /// - Parameter takesJob: whether a job is among the words.
    package init(_ words: [String], takesJob: Bool) {
        let isNamed = words.contains { $0 == "--config" || $0.hasPrefix("--config=") }
        var rest = words[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("--") else {
                take(word, isJob: takesJob && !isNamed)
                continue
            }
            var pair = String(word.dropFirst(2))
            guard !pair.isEmpty else { continue }  // the `--` that ends a command's options
            if !pair.contains("=") {
                let isFollowed = rest.first.map { !$0.hasPrefix("--") } ?? false
                pair += "=" + (isFollowed ? rest.removeFirst() : "true")
            }
            if takesJob, pair.hasPrefix("config=") {
                take(String(pair.dropFirst("config=".count)), isJob: true)
            } else {
                overrides.append(pair)
            }
        }
    }

    private mutating func take(_ word: String, isJob: Bool) {
        if isJob, job == nil { job = word } else { overrides.append(word) }
    }
}
