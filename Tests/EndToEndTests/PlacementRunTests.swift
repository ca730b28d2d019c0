import Foundation
import JSON
import Planning
import Runs
import Testing

@Suite("A profile, a plan, a run under it", .serialized)
struct PlacementRunTests {
    private let place: Workplace
    private let job: String
    init() throws {
        place = try Workplace()
        job = try place.job("grpo", "num_generations: 4\nbeta: 0.1")
    }

    private func run(_ arguments: String...) throws -> Command.Outcome {
        try Command.run(arguments, in: place.folder)
    }

    private func plan(_ name: String = "plan.json") throws -> ExecutionPlan {
        try ExecutionPlan(parsing: Array(place.bytes(name)), file: name)
    }

    /// A quick profile of the small model, once for all tests.
    private static let profile: Result<Data, any Error> = Result {
        let place = try Workplace()
        try Command.succeed(["profile", "--model", "model", "--quick", "-o", "profile.json"], in: place.folder)
        return try place.bytes("profile.json")
    }

    /// Plans the job with the quick profile.
    @discardableResult
    private func makePlan(_ arguments: String..., to name: String = "plan.json") throws -> Command.Outcome {
        try place.write("profile.json", Self.profile.get())
        let outcome = try Command.run(
            ["plan", "--job", job, "--profile", "profile.json", "-o", name] + arguments, in: place.folder)
        try #require(outcome.status == 0, "\(outcome.progress)")
        return outcome
    }

    @Test func aProfileHasEveryLayoutAndOptimizer() throws {
        let bytes = try Self.profile.get()
        let profile = try CostProfile(parsing: Array(bytes), file: "profile.json")
        #expect(Data(profile.json.indented.utf8) == bytes)
        func layouts(_ operation: CostProfile.Operation) -> Set<WeightLayout> {
            Set(profile.points.filter { $0.operation == operation }.map(\.layout))
        }
        #expect(layouts(.prefill) == [.fp32Master, .fp32Packed, .int8, .bf16])
        #expect(layouts(.decode) == layouts(.prefill))
        #expect(layouts(.conversion) == [.fp32Packed, .int8, .bf16])
        #expect(layouts(.forward) == [.fp32Master, .bf16] && layouts(.backward) == [.fp32Master, .bf16WithMaster])
        #expect(profile.points.contains { $0.operation == .allReduce } && profile.diskGBps ?? 0 > 0)
        let optimizers = Set(profile.points.filter { $0.operation == .optimizer }.compactMap(\.optimizer))
        #expect(optimizers == ["adamw_torch", "adamw_8bit", "lion", "low_rank"])
        // The model's own numbers: the embedding, and what config.json says of two blocks of 32.
        #expect(profile.model.layers == 2 && profile.model.hiddenSize == 32 && profile.model.output == .tied)
        #expect(profile.gigaflops > 0 && profile.memoryGBps > 0 && profile.processGBps > 0)
    }

    /// A model of so few weights runs on one thread unless the job says otherwise.
    @Test func aProfileOfOtherThreadsIsRemarkedOn() throws {
        var profile = try CostProfile(parsing: Array(Self.profile.get()), file: "profile.json")
        for (threads, overrides, isRemarked) in [
            (7, [], true), (1, [], false), (7, ["threads=7"], false), (1, ["threads=2"], true),
        ] as [(Int, [String], Bool)] {
            profile.threads = threads
            try place.write("other.json", profile.json.indented)
            let planned = try Command.run(
                ["plan", "--job", job, "--profile", "other.json", "-n", "1"] + overrides, in: place.folder)
            #expect(planned.status == 0)
            #expect(
                planned.progress.contains("note: the profile was measured with \(threads) thread") == isRemarked,
                "\(planned.progress)")
        }
    }

    /// What a run under a plan would refuse is said before there is one.
    @Test func aJobThatNoPlanFitsIsRefused() throws {
        let planned = try run("plan", "--job", job, "--profile", "profile.json", "-n", "1", "residency=keep")
        #expect(planned.status == 65, "\(planned.progress)")
        #expect(planned.progress.contains("residency: is keep; the calls of a plan drop"), "\(planned.progress)")
    }

    @Test func theChosenPlanIsTheFirstCandidate() throws {
        let made = try makePlan("--json")
        let listing = try JSONValue(parsing: made.output)
        let candidates = try #require(listing["candidates"]?.elements)
        #expect(candidates.count > 10)
        let seconds = candidates.compactMap { $0["iteration_s"]?.double }
        #expect(seconds.count == candidates.count && zip(seconds, seconds.dropFirst()).allSatisfy { $0 <= $1 })
        let plan = try plan()
        #expect(listing["plan_hash"]?.string == plan.planHash)
        // The job's own: 16 completions of 4 tokens, four of a prompt.
        let work = try #require(plan.graph.call(named: "actor_gen")?.work)
        #expect(work.sequences == 16 && work.newTokens == 4 && work.completionsPerPrompt == 4)
        #expect(plan.graph.call(named: "actor_train")?.work.optimizer?.name == "adamw_torch")
        let simulated = try run("simulate", "plan.json", "--profile", "profile.json", "--json")
        let numbers = try JSONValue(parsing: simulated.output)
        #expect(numbers["iteration_s"]?.double == seconds[0])
        // In words, and measured on the spot.
        let words = try run("plan", "--job", job, "-n", "1")
        #expect(words.status == 0 && words.output.contains("layout to sample"), "\(words.progress)")
        #expect(words.progress.contains("no --profile"))
    }

    /// Everything but times is what the keys by name give, to the bit; a step is cut in the same passes.
    @Test(arguments: [WeightLayout.fp32Packed, .int8])
    func aRunUnderAPlanIsThatOfItsKeys(_ layout: WeightLayout) throws {
        let named = layout == .int8 ? "int8" : "packed"
        try makePlan("-n", "1", "generation_layout=\(named)", "max_tokens_per_micro_batch=40")
        let plan = try plan()
        #expect(plan.assignments["actor_gen"]?.layout == layout)
        let planned = try place.train(job, "placement=plan.json", "output_dir=planned", "logprob_gap_limit=0.1")
        #expect(planned.status == 0, "\(planned.progress)")
        #expect(planned.progress.contains("placement: plan.json, planHash \(plan.planHash.prefix(12)), 1 rank"))
        let config = try String(decoding: place.bytes("planned/config.yaml"), as: UTF8.self)
        func value(_ key: String) throws -> String {
            let line = try #require(config.split(separator: "\n").first { $0.hasPrefix("\(key): ") })
            return String(line.dropFirst(key.count + 2))
        }
        #expect(try value("generation_layout") == named)
        #expect(try value("placement") == "plan.json")
        let keys = try ["generation_layout", "max_tokens_per_micro_batch", "max_concurrent_completions", "dtype"].map {
            try "\($0)=\(value($0))"
        }
        let byKeys = try Command.run(
            ["train", job, "output_dir=keys", "logprob_gap_limit=0.1"] + keys, in: place.folder)
        #expect(byKeys.status == 0, "\(byKeys.progress)")
        #expect(try place.metrics("planned") == place.metrics("keys"))
        #expect(try place.bytes("planned/model.safetensors") == place.bytes("keys/model.safetensors"))
        // The plan stands in what the run leaves.
        for folder in ["planned", "planned/checkpoint-2"] {
            let manifest = try JSONValue(parsing: Array(place.bytes("\(folder)/manifest.json")))
            #expect(manifest["plan_hash"]?.string == plan.planHash)
        }
        #expect(try JSONValue(parsing: Array(place.bytes("keys/manifest.json")))["plan_hash"] == nil)
    }

    /// Some plans are run: the chosen one, and the shortest and longest passes. What the estimator says would take longer
    /// than it may is not begun.
    @Test func plansAreMeasured() throws {
        try place.write("profile.json", Self.profile.get())
        let arguments = [
            "plan", "--job", job, "--profile", "profile.json", "-n", "1", "generation_layout=packed",
            "max_concurrent_completions=16", "--measure", "--steps", "1", "--best", "1",
        ]
        let outcome = try Command.run(arguments + ["-o", "plan.json", "--json"], in: place.folder)
        try #require(outcome.status == 0, "\(outcome.progress)")
        let listing = try JSONValue(parsing: outcome.output)
        let rows = try #require(listing["measured"]?.elements)
        #expect((2...3).contains(rows.count), "\(outcome.output)")
        #expect(try rows[0]["plan_hash"]?.string == plan().planHash && listing["plan_hash"] == rows[0]["plan_hash"])
        #expect(rows.allSatisfy { ($0["measured_s"]?.double ?? 0) > 0 && $0["failure"] == .null }, "\(outcome.output)")
        #expect(rows.compactMap { $0["rank"]?.double }.sorted() == (1...rows.count).map(Double.init))
        #expect(listing["mean_ln_error_seconds"]?.double != nil && listing["plans"]?.double ?? 0 >= 3)
        // What was predicted is what simulate says.
        let simulated = try run("simulate", "plan.json", "--profile", "profile.json", "--json")
        #expect(try JSONValue(parsing: simulated.output)["iteration_s"] == rows[0]["iteration_s"])
        let long = try Command.run(arguments + ["--minutes", "0.01"], in: place.folder)
        #expect(long.status == 64 && long.progress.contains("allow it with --minutes 1"), "\(long.progress)")
        #expect(!place.exists("run"))
    }

    @Test func aRunKeepsItsPlan() throws {
        try makePlan("-n", "1", "generation_layout=packed")
        try makePlan("-n", "1", "generation_layout=shared", to: "other.json")
        let whole = try place.train(job, "placement=plan.json", "output_dir=whole")
        #expect(whole.status == 0, "\(whole.progress)")
        let from = "resume_from_checkpoint=whole/checkpoint-2"
        #expect(try place.train(job, "placement=plan.json", "output_dir=again", from).status == 0)
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("again/model.safetensors"))
        #expect(try place.metrics("again") == Array(place.metrics("whole").suffix(2)))
        let other = try place.train(job, "placement=other.json", "output_dir=other", from)
        #expect(other.status == 65 && !place.exists("other"))
        let (own, new) = (try plan().planHash.prefix(12), try plan("other.json").planHash.prefix(12))
        #expect(
            other.progress.contains("made under the plan \(own), and placement: other.json is \(new)"),
            "\(other.progress)")
        let without = try place.train(job, "output_dir=without", from)
        #expect(without.status == 0 && without.progress.contains("from here on the keys decide"))
    }

    @Test func whatIsWrongIsSaid() throws {
        try makePlan("-n", "2", to: "two.json")
        let alone = try place.train(job, "placement=two.json")
        #expect(alone.status == 65 && !place.exists("run"))
        #expect(
            alone.progress.contains("two.json is for 2 processes, and the run has 1; type plumbline launch -n 2 train"),
            "\(alone.progress)")
        let key = try place.train(job, "placement=two.json", "generation_layout=int8")
        #expect(key.status == 65 && key.progress.contains("generation_layout is int8, and two.json says the layout"))
        var plan = try plan("two.json")
        plan.assignments["ref_inf"]?.strategy = Strategy(1, 2, 1)
        try place.write("wide.json", plan.json.indented)
        let wide = try place.train(job, "placement=wide.json")
        let rule = "wide.json: train calls.ref_inf: tp is 2; expected 1: only actor_train and what samples from actor"
        #expect(wide.status == 65 && wide.progress.contains(rule), "\(wide.progress)")
        try makePlan()
        try place.makeModel("broad", contextLength: 64, hiddenSize: 64)
        for (key, message) in [
            ("model_name_or_path=broad", "its actor has 2 layers of 32,"), ("optim=lion", "adamw_torch over"),
            ("gradient_checkpointing=true", "gradient_checkpointing is false there, and true here"),
        ] {
            for flags in [[], ["--dry-run"]] {
                let other = try Command.run(["train", job, "placement=plan.json", key] + flags, in: place.folder)
                #expect(other.status == 65 && !place.exists("run"))
                #expect(
                    other.progress.contains("plan.json is a plan of another job: \(message)"), "\(other.progress)")
            }
        }
        let ppo = try place.job("ppo")
        let planned = try run("plan", "--job", ppo, "--profile", "profile.json", "-n", "1", "-o", "ppo.json")
        #expect(planned.status == 0, "\(planned.progress)")
        for (critic, status) in [("teacher", 65), ("model", 0)] as [(String, Int32)] {
            let other = try place.train(
                ppo, "placement=ppo.json", "critic_model_name_or_path=\(critic)", "--dry-run")
            #expect(other.status == status, "\(other.progress)")
            let words = "ppo.json is a plan of another job: its critic has 2 layers of 32,"
            #expect(other.progress.contains(words) == (status == 65), "\(other.progress)")
        }
        let split = ["max_staleness=1", "generation_ranks=1"]
        let apart = try Command.run(["train", job, "placement=plan.json"] + split, in: place.folder)
        #expect(apart.status == 65 && apart.progress.contains("the calls of plan.json are on all ranks"))
        let unplanned = try Command.run(["plan", "--job", job] + split + ["-o", "no.json"], in: place.folder)
        #expect(unplanned.status == 65 && unplanned.progress.contains("expected 0") && !place.exists("no.json"))
        try place.write("broken.json", "{\"format\": \"plumbline-profile\", \"version\": 7}")
        let broken = try run("plan", "--job", job, "--profile", "broken.json")
        #expect(broken.status == 65 && broken.progress.contains("version is '7'"), "\(broken.progress)")
        let three = try run("plan", "--job", job, "--profile", "profile.json", "-n", "3")
        #expect(three.status == 65 && three.progress.contains("3 ranks; a plan has 1, 2, 4"))
        #expect(try run("plan", "--graph", "grpo").status == 64)
        #expect(try run("profile", "--model", "model", "--seconds", "0").status == 64)
        let none = try run("profile", "--model", "nowhere", "--quick")
        #expect(none.status == 65 && none.progress.contains("nowhere"))
    }

    /// Two processes under a plan for two; a rank with another plan ends all.
    @Test func ranksHaveOnePlan() throws {
        try makePlan("-n", "2")
        let two = try Command.run(
            ["launch", "-n", "2", "train", job, "placement=plan.json", "output_dir=two"], in: place.folder)
        #expect(two.status == 0, "\(two.progress)")
        #expect(two.progress.contains("2 ranks"))
        var other = try plan()
        other.cluster.hostGBps += 1
        try place.write("other.json", other.json.indented)
        let port = 20_000 + Int(getpid()) % 10_000 + Int.random(in: 0..<2_000)
        let ranks = try ["plan.json", "other.json"].enumerated().map { rank, path in
            try Command.start(
                ["train", job, "placement=\(path)", "output_dir=apart"], in: place.folder,
                environment: [
                    "RANK": "\(rank)", "LOCAL_RANK": "\(rank)", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port)",
                ])
        }
        for outcome in try ranks.map({ try $0.wait() }) {
            #expect(outcome.status == 65)
            #expect(
                outcome.progress.contains("placement: rank 1 has the plan \(other.planHash.prefix(12)), rank 0 has"),
                "\(outcome.progress)")
        }
        #expect(!place.exists("apart"))
    }

    /// Layers are cut where the plan trains, where it samples, or both: of a model whose words are an odd number.
    @Test func layersAreCutAsThePlanSays() throws {
        let plans = [("whole", 1, 1), ("cut", 2, 1), ("both", 2, 2), ("sampled", 1, 2)]
        for (name, trained, sampled) in plans {
            // All else alike: a step differs in rounding alone.
            try makePlan(
                "-n", "2", "generation_layout=packed", "max_tokens_per_micro_batch=40", "max_concurrent_completions=8",
                "tensor_parallel_size=\(trained)", "generation_tensor_parallel_size=\(sampled)", to: "\(name).json")
            let made = try plan("\(name).json").assignments
            #expect(made["actor_train"]?.strategy == Strategy(1, trained, 2 / trained))
            #expect(made["actor_gen"]?.strategy == Strategy(1, sampled, 2 / sampled))
        }
        // Without the keys all of them are tried, and compared.
        let listing = try makePlan("-n", "2", "--json").output
        let tried = try #require(try JSONValue(parsing: listing)["candidates"]?.elements)
        let degrees = tried.map { plan in
            ["tensor_parallel", "generation_tensor_parallel"].map { plan[$0]?.double ?? 0 }
        }
        #expect(Set(degrees) == [[1, 1], [1, 2], [2, 1], [2, 2]])
        for (name, trained, sampled) in plans {
            let outcome = try Command.run(
                ["launch", "-n", "2", "train", job, "placement=\(name).json", "output_dir=\(name)"], in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
            #expect(outcome.progress.contains("is shared by 2 processes") == (trained == 2), "\(outcome.progress)")
            #expect(outcome.progress.contains("2 processes sample together") == (sampled == 2), "\(outcome.progress)")
            for (row, other) in zip(try place.metrics("whole"), try place.metrics(name)) {
                for (metric, value) in row where metric != "realloc/bytes" {
                    let found = try #require(other[metric])
                    #expect(abs(found - value) <= 1e-5 * max(1, abs(value)), "\(name) \(metric): \(found), \(value)")
                }
            }
        }
        // And on paper, from shards to shards: all equal, nothing sent; to whole ones, half of what is cut each way.
        let paths = ("both.json:actor_train", "both.json:actor_gen", "sampled.json:actor_train")
        let kept = try run("reshard", "--from", paths.0, "--to", paths.1, "--model", "model", "--verify")
        #expect(kept.status == 0 && kept.output.contains("0 sends"), "\(kept.output)\(kept.progress)")
        let gathered = try run("reshard", "--from", paths.0, "--to", paths.2, "--model", "model", "--verify")
        #expect(gathered.status == 0 && gathered.output.contains("equal to the bit"), "\(gathered.progress)")
        let key = try Command.run(
            ["launch", "-n", "2", "train", job, "placement=cut.json", "tensor_parallel_size=1"], in: place.folder)
        #expect(
            key.status == 65
                && key.progress.contains("tensor_parallel_size is 1, and cut.json says tp 2 of actor_train"),
            "\(key.progress)")
    }
}
