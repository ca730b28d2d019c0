import ArgumentParser
import Benchmarks
import Evaluation
import Job
import Models
import Placement

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Time a step, a rollout or an update against the machine's ceilings.",
        subcommands: [Step.self, Rollout.self, Update.self, Optimizers.self, Suite.self, Learning.self])

    /// What is timed and how often; the defaults are the small comparison's.
    struct Options: ParsableArguments {
        @Option(help: "A model folder; init-model makes one.") var model: String
        @Option(help: "Different prompts per step.") var prompts = 4
        @Option(help: "Completions per prompt; 8, or for dpo a pair.") var completions: Int?
        @Option(help: "Tokens per prompt.") var promptTokens = 256
        @Option(help: "Tokens per completion; each has its full length.") var completionTokens = 64
        @Option(help: "Measured repetitions, after one warm-up.") var steps = 3
        @Option(help: "Threads per operation; all cores by default.") var threads: Int?
        @Option(help: "Packed tokens per backward pass; fewer need less memory.") var maxTokensPerMicroBatch = 2048
        @Option(
            help: "Weight layout for sampling, like a job's generation_layout.",
            transform: { text in
                guard let layout = GenerationLayout(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected shared, packed or int8")
                }
                return layout
            })
        var generationLayout = GenerationLayout.packed
        @Option(
            help: "What happens to memory that a phase no longer needs, like a job's residency.",
            transform: { text in
                guard let residency = Residency(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected release, release_always or keep")
                }
                return residency
            })
        var residency = Residency.release
        @Option(help: "GB of outputs kept from sampling for the update, like a job's forward_cache_gb.")
        var forwardCacheGb = 2.5
        @Option(help: "The optimizer, like a job's optim.") var optim = "adamw_torch"
        @Option(parsing: .upToNextOption, help: "A job's low_rank keys, such as rank=32 remainder=fira.")
        var lowRank: [String] = []
        @Option(help: "Train adapters of this rank on every projection instead of the model.") var loraRank: Int?
        @Flag(name: .customLong("load-in-8bit"), help: "Keep the matrices under the adapters in eight bits.")
        var loadIn8bit = false
        @Flag(help: "Print only the JSON object.") var json = false

        func validate() throws {
            if let threads, threads < 1 { throw ValidationError("--threads \(threads): at least 1") }
            if let loraRank, !(1...65_536).contains(loraRank) {
                throw ValidationError("--lora-rank \(loraRank): from 1 to 65536")
            }
            if loadIn8bit, loraRank == nil { throw ValidationError("--load-in-8bit needs --lora-rank") }
            if !lowRank.isEmpty, optim != "low_rank" {
                throw ValidationError("--low-rank needs --optim low_rank; --optim is \(optim)")
            }
            if let wrong = lowRank.first(where: { !$0.contains("=") }) {
                throw ValidationError("--low-rank '\(wrong)': expected key=value, such as rank=32")
            }
        }

        /// By key.
        private var lowRankKeys: [String: String] {
            let parts = lowRank.map { $0.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false) }
            return Dictionary(parts.map { (String($0[0]), String($0[1])) }) { $1 }
        }

        func run(
            _ part: Workload.Part, _ algorithm: Workload.Algorithm = .grpo,
            controllers: [Workload.Controller] = [], learningRate: Double = 1e-6, adamEpsilon: Double = 1e-8,
            firstStepFolder: String? = nil, lastStepFolder: String? = nil
        ) async throws {
            let workload = try Workload(
                part, algorithm, prompts: prompts, completions: completions ?? (algorithm == .dpo ? 2 : 8),
                promptTokens: promptTokens,
                completionTokens: completionTokens, steps: steps, controllers: controllers)
            let run = try BenchmarkRun(
                model: model, workload: workload, threads: threads, maxTokensPerMicroBatch: maxTokensPerMicroBatch,
                optim: optim, lowRank: lowRankKeys, learningRate: learningRate, adamEpsilon: adamEpsilon,
                adapterRank: loraRank, base: loadIn8bit ? .int8 : .whole, layout: generationLayout,
                residency: residency, forwardCacheBytes: Int(min(max(0, forwardCacheGb), 1e6) * 1e9),
                firstStepFolder: firstStepFolder, lastStepFolder: lastStepFolder)
            let report = try await run.run()
            if !json { try Terminal.result(report.text) }
            try Terminal.exact(report.json)
        }
    }

    struct Step: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "A rollout, its credit and one optimizer step; or with dpo an optimizer step on given pairs.")
        @Option(
            help:
                "grpo samples what it learns from; dpo compares pairs of random tokens with known reference log-probs.",
            transform: { text in
                guard let algorithm = Workload.Algorithm(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected grpo or dpo")
                }
                return algorithm
            })
        var algorithm = Workload.Algorithm.grpo
        @Option(
            parsing: .upToNextOption,
            help:
                "Controllers of two rewards' weights to time separately: constraints or gradient, and hypervolume.",
            transform: { text in
                guard let controller = Workload.Controller(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected constraints, hypervolume or gradient")
                }
                return controller
            })
        var controllers: [Workload.Controller] = []
        @Option(help: "The optimizer's step size.") var learningRate = 1e-6
        @Option(
            help:
                "AdamW's epsilon; 1 makes the first step follow the gradient, to compare it with another trainer's."
        )
        var adamEpsilon = 1e-8
        @Option(help: "Where to write the model after the first step, to compare it with another trainer's.")
        var saveFirstStep: String?
        @Option(help: "The same after the last step.") var saveLastStep: String?
        @OptionGroup var options: Options

        func validate() throws {
            if !(adamEpsilon > 0 && adamEpsilon.isFinite) {
                throw ValidationError("--adam-epsilon \(adamEpsilon): above 0")
            }
        }

        func run() async throws {
            try await options.run(
                .step, algorithm, controllers: controllers, learningRate: learningRate, adamEpsilon: adamEpsilon,
                firstStepFolder: saveFirstStep, lastStepFolder: saveLastStep)
        }
    }

    struct Rollout: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Sampling alone.")
        @OptionGroup var options: Options
        func run() async throws { try await options.run(.rollout) }
    }

    struct Update: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Optimizer steps on one rollout.")
        @OptionGroup var options: Options
        func run() async throws { try await options.run(.update) }
    }

    struct Optimizers: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Memory and time of each optimizer and of adapters: estimated and measured, a process each.")
        @Option(help: "A model folder; init-model makes one.") var model: String
        @Option(help: "Different prompts per step, 8 completions each.") var prompts = 2
        @Option(help: "Tokens per prompt.") var promptTokens = 256
        @Option(help: "Tokens per completion.") var completionTokens = 64
        @Option(help: "Measured steps, after one warm-up.") var steps = 2
        @Option(help: "Threads per operation; all cores by default.") var threads: Int?

        func run() throws {
            let flags = [
                "--model", model, "--prompts", "\(prompts)", "--prompt-tokens", "\(promptTokens)",
                "--completion-tokens", "\(completionTokens)", "--steps", "\(steps)",
            ]
            let table = OptimizerTable(flags: flags + (threads.map { ["--threads", "\($0)"] } ?? []))
            try Terminal.result(try table.run { Terminal.progress($0) })
        }
    }

    struct Learning: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Train one policy briefly by every method; append the results to a table.")
        @Option(help: "The model every run starts from.") var model: String
        @Option(help: "The job all runs share.") var job = "prompts/arithmetic/learning.yaml"
        @Option(help: "The prompt set to evaluate on.") var prompts = "prompts/arithmetic"
        @Option(help: "The reward to evaluate.") var reward = "exact_number"
        @Option(parsing: .upToNextOption, help: "Methods to train with; all by default.")
        var methods = LearningTable.methods
        @Option(parsing: .upToNextOption, help: "One run of each method per seed.") var seeds = [1, 2, 3]
        @Option(help: "Optimizer steps per run.") var steps = 250
        @Option(help: "Completions per held-out prompt, before and after.") var samples = 4
        @Option(help: "The accuracy whose cost is noted.") var target = 0.6
        @Option(help: "JSON Lines to append rows to; runs already in it are not repeated.")
        var output = "learning.jsonl"
        @Argument(
            parsing: .allUnrecognized,
            help: ArgumentHelp("Overrides of the job: key=value, --key value or --key=value.", valueName: "overrides"))
        var words: [String] = []

        func run() throws {
            let setting = LearningTable.Setting(
                model: model, job: job, prompts: prompts, reward: reward, steps: steps, samples: samples,
                target: target, overrides: JobWords(words, takesJob: false).overrides)
            let rows = try LearningTable(setting, output: output).run(methods: methods, seeds: seeds) {
                Terminal.progress($0)
            }
            try Terminal.result(Table(rows[0], Array(rows.dropFirst())).text)
        }
    }

    struct Suite: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Time steps of a tiny and a small fresh model against the peers that are installed.",
            discussion: """
                GRPO steps against TRL and plain PyTorch, with adapters of rank 16 against TRL with peft, DPO steps
                against TRL, and sampling 1, 8 and 32 completions of a prompt against llama.cpp. For Plumbline alone: how
                a step grows with its completions, how fast a prompt is read, and how long generate takes to its first
                token. A peer whose packages --peers-python lacks is left out and named:

                    python3 -m venv peers && peers/bin/pip install trl datasets torch peft cyllama
                    plumbline bench suite --peers-python peers/bin/python --json suite.json

                A failed measurement is a row that says why, and the others go on; Ctrl-C prints what there is.
                """)
        @Option(help: "A Python that has TRL, PyTorch, or llama.cpp as cyllama.") var peersPython: String?
        @Option(help: "The folder with the scripts that time them.") var peersScripts = "Tests/References"
        @Option(help: "Measured steps per model.") var steps = 2
        @Option(
            help: ArgumentHelp(
                "What to measure, comma-separated; all by default: \(names.joined(separator: ", ")).",
                valueName: "parts"),
            transform: Self.parts)
        var only: Set<BenchmarkSuite.Part>?
        @Option(help: ArgumentHelp("A file rewritten after every measurement.", valueName: "file"))
        var json: String?

        private static var names: [String] { BenchmarkSuite.Part.allCases.map(\.rawValue) }

        private static func parts(_ text: String) throws -> Set<BenchmarkSuite.Part> {
            Set(
                try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
                    guard let part = BenchmarkSuite.Part(rawValue: String(name)) else {
                        throw ValidationError(
                            "'\(name)'; expected some of \(names.joined(separator: ",")), comma-separated")
                    }
                    return part
                })
        }

        func validate() throws {
            if steps < 1 { throw ValidationError("--steps \(steps): at least 1") }
        }

        func run() async throws {
            let suite = try BenchmarkSuite(
                peersPython: peersPython, peersScripts: peersScripts, steps: steps, only: only, json: json,
                stop: Interruption.shared.stop)
            Interruption.shared.hold()  // what was measured is printed first
            let report = await suite.run { Terminal.progress($0) }
            try Terminal.result(report.text)
            if case .stopped = report.end {
                throw StoppedRun(kept: "what was measured is above" + (json.map { ", and in \($0)" } ?? ""))
            }
            if let error = report.error { throw error }
        }
    }
}
