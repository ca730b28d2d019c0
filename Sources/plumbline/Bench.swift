import ArgumentParser
import Benchmarks
import Evaluation
import Job
import Models
import Placement

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Time a step, a rollout or an update beside the machine's ceilings.",
        subcommands: [Step.self, Rollout.self, Update.self, Optimizers.self, Suite.self, Learning.self])

    /// What is timed and how often; the defaults are the small comparison's.
    struct Options: ParsableArguments {
        @Option(help: "A model folder; init-model makes one.") var model: String
        @Option(help: "Different prompts a step.") var prompts = 4
        @Option(help: "Completions of each prompt; 8, and for dpo a pair.") var completions: Int?
        @Option(help: "Tokens of a prompt.") var promptTokens = 256
        @Option(help: "Tokens of a completion; every one has its full length.") var completionTokens = 64
        @Option(help: "Measured repetitions, after one that warms up.") var steps = 3
        @Option(help: "Threads of one operation; all cores by default.") var threads: Int?
        @Option(help: "Packed tokens of one backward pass; fewer need less memory.") var maxTokensPerMicroBatch = 2048
        @Option(
            help: "How the weights lie while completions are sampled, as a job's generation_layout.",
            transform: { text in
                guard let layout = GenerationLayout(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected shared, packed or int8")
                }
                return layout
            })
        var generationLayout = GenerationLayout.packed
        @Option(
            help: "What becomes of memory that a phase has no more use for, as a job's residency.",
            transform: { text in
                guard let residency = Residency(rawValue: text) else {
                    throw ValidationError("'\(text)'; expected release, release_always or keep")
                }
                return residency
            })
        var residency = Residency.release
        @Option(help: "GB of products that wait from sampling for the update of a step, as a job's forward_cache_gb.")
        var forwardCacheGb = 2.5
        @Option(help: "What makes a step of a gradient, as a job's optim.") var optim = "adamw_torch"
        @Option(parsing: .upToNextOption, help: "A job's keys below low_rank, such as rank=32 remainder=fira.")
        var lowRank: [String] = []
        @Option(help: "Train adapters of this rank on every projection, in place of the model.") var loraRank: Int?
        @Flag(name: .customLong("load-in-8bit"), help: "Keep the matrices under the adapters in eight bits.")
        var loadIn8bit = false
        @Flag(help: "Print the JSON object alone.") var json = false

        func validate() throws {
            if let threads, threads < 1 { throw ValidationError("--threads \(threads): at least 1") }
            if let loraRank, !(1...65_536).contains(loraRank) {
                throw ValidationError("--lora-rank \(loraRank): from 1 to 65536")
            }
            if loadIn8bit, loraRank == nil { throw ValidationError("--load-in-8bit: with --lora-rank") }
            if !lowRank.isEmpty, optim != "low_rank" {
                throw ValidationError("--low-rank is about --optim low_rank, and --optim is \(optim)")
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
                "grpo samples what it learns from; dpo compares pairs of random tokens, the reference's log-probs known.",
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
                "What moves the weights of two rewards, to be timed apart: constraints or gradient, and hypervolume.",
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
                "AdamW's epsilon; 1 makes the first step one along the gradient, to be compared with another trainer's."
        )
        var adamEpsilon = 1e-8
        @Option(help: "Where to write the model as the first step leaves it, to compare it with another trainer's.")
        var saveFirstStep: String?
        @Option(help: "The same of the last step.") var saveLastStep: String?
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
            abstract: "What each optimizer, and adapters, keep and take: estimated and measured, a process each.")
        @Option(help: "A model folder; init-model makes one.") var model: String
        @Option(help: "Different prompts a step, of 8 completions each.") var prompts = 2
        @Option(help: "Tokens of a prompt.") var promptTokens = 256
        @Option(help: "Tokens of a completion.") var completionTokens = 64
        @Option(help: "Measured steps, after one that warms up.") var steps = 2
        @Option(help: "Threads of one operation; all cores by default.") var threads: Int?

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
            abstract: "Train one policy by every method for a short time; append what came of it to a table.")
        @Option(help: "The model every run starts from.") var model: String
        @Option(help: "The job all runs share.") var job = "prompts/arithmetic/learning.yaml"
        @Option(help: "The prompt set that is evaluated.") var prompts = "prompts/arithmetic"
        @Option(help: "The reward that is evaluated.") var reward = "exact_number"
        @Option(parsing: .upToNextOption, help: "As algorithm: names them; all by default.")
        var methods = LearningTable.methods
        @Option(parsing: .upToNextOption, help: "One run of each method a seed.") var seeds = [1, 2, 3]
        @Option(help: "Optimizer steps of a run.") var steps = 250
        @Option(help: "Completions of each held-out prompt, before and after.") var samples = 4
        @Option(help: "The accuracy whose price is noted.") var target = 0.6
        @Option(help: "JSON lines that rows are appended to; runs that are there are not made again.")
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
            abstract: "Time steps of a tiny and a small model made on the spot, beside the peers that are installed.",
            discussion: """
                Steps of GRPO beside TRL and beside the same written straight in PyTorch, with adapters of rank 16 beside
                TRL with peft, steps of DPO beside TRL, and sampling 1, 8 and 32 completions of a prompt beside llama.cpp.
                Of Plumbline alone: how a step grows with its completions, how fast a prompt is read, and how long generate
                takes to its first token. A peer whose packages --peers-python does not have is left out, and named:

                    python3 -m venv peers && peers/bin/pip install trl datasets torch peft cyllama
                    plumbline bench suite --peers-python peers/bin/python --json suite.json

                A measurement that fails is a row that says how, and the others go on; after Ctrl-C what there is is printed.
                """)
        @Option(help: "A Python that has TRL, PyTorch, or llama.cpp as cyllama.") var peersPython: String?
        @Option(help: "The folder of the scripts that time them.") var peersScripts = "Tests/References"
        @Option(help: "Measured steps of each model.") var steps = 2
        @Option(
            help: ArgumentHelp(
                "What is measured, everything by default: of \(names.joined(separator: ", ")), with commas between.",
                valueName: "parts"),
            transform: Self.parts)
        var only: Set<BenchmarkSuite.Part>?
        @Option(help: ArgumentHelp("A file that is written anew after every measurement.", valueName: "file"))
        var json: String?

        private static var names: [String] { BenchmarkSuite.Part.allCases.map(\.rawValue) }

        private static func parts(_ text: String) throws -> Set<BenchmarkSuite.Part> {
            Set(
                try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
                    guard let part = BenchmarkSuite.Part(rawValue: String(name)) else {
                        throw ValidationError(
                            "'\(name)'; expected some of \(names.joined(separator: ",")), with commas between")
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
