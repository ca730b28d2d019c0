import Foundation

// What users get wrong, by where it is.

extension BadInput {
    static let jobs = [
        BadInput(
            what: "malformed YAML", lines: "stop_strings: [a, b",
            says: ["job.yaml line 12", "this is no YAML", "flow sequence that begins in line 11"]),
        BadInput(
            what: "an unknown key", lines: "learning_rat: 1e-6",
            says: ["job.yaml line 11: unknown key 'learning_rat'; did you mean learning_rate?"]),
        BadInput(
            what: "a key twice", lines: "seed: 1\nbeta: 0\nseed: 2",
            says: ["job.yaml line 13: the key 'seed' stands twice, first in line 11"]),
        BadInput(
            what: "a subspace larger than every matrix", lines: "optim: low_rank",
            says: ["low_rank.rank: is 128, and no matrix that is trained has both sides longer", "expected at most 31"]),
        BadInput(
            what: "an optimizer that is not built", lines: "optim: adafactor",
            says: ["job.yaml line 11: optim: 'adafactor' is not supported: Adafactor is not built; adamw_8bit, lion"]),
        BadInput(
            what: "values that contradict each other", lines: "num_iterations: 2", overrides: ["algorithm=remax"],
            says: ["job.yaml line 11: remax takes one optimizer step per rollout", "found 2"]),
        BadInput(
            what: "a staleness of two steps", lines: "max_staleness: 2",
            says: ["job.yaml line 11: max_staleness is '2'; expected a whole number from 0 to 1"]),
        BadInput(
            what: "stale rollouts without a correction", lines: "importance_sampling_correction: none",
            overrides: ["max_staleness=1"],
            says: ["job.yaml line 11: importance_sampling_correction is none with max_staleness 1"]),
        BadInput(
            what: "ranks that would take turns", lines: "generation_ranks: 1",
            says: ["job.yaml line 11: generation_ranks is 1; expected 0 with max_staleness 0"]),
        BadInput(
            what: "sampling ranks and one process", lines: "max_staleness: 1\ngeneration_ranks: 1",
            says: ["generation_ranks: is 1, and the run is one process; start it with plumbline launch -n 2 train"]),
        BadInput(
            what: "a batch that cannot be shared out", overrides: ["num_generations=6"],
            says: ["job.yaml line 6", "16 completions", "num_generations = 6", "12 or 18 would do"]),
        BadInput(
            what: "a negative number of threads", overrides: ["threads=-3"],
            says: ["the override 'threads=-3'", "expected a whole number from 1 to 1024, or nothing"]),
        BadInput(
            what: "no number", lines: "learning_rate: fast",
            says: ["job.yaml line 11: learning_rate is 'fast'; expected a finite number from 0 to 1000000"]),
        BadInput(
            what: "bytes that are no text", says: ["job.yaml: cannot be read as UTF-8 text; a job is a YAML file"],
            prepare: { try $0.write("job.yaml", Data([0x61, 0x3a, 0xff, 0xfe, 0x00])) }),
        BadInput(
            what: "a folder for a job", command: ["train", "model"], says: ["model: is a folder; a job is a YAML file"]),
        BadInput(what: "no job", command: ["train", "jib.yaml"], says: ["jib.yaml: there is no such file"]),
        BadInput(
            what: "a constraint on no reward",
            lines: "constraints: [{reward: exact_numbr, limit: 1, kind: at_least}]",
            says: [
                "job.yaml line 11: constraints: no reward is named 'exact_numbr'; did you mean exact_number?"
            ]),
        BadInput(
            what: "a limit that no score can reach",
            lines: "constraints: [{reward: exact_number, limit: 2, kind: at_least}]",
            says: ["exact_number can never be at least 2; its scores lie from 0 to 1"]),
        BadInput(
            what: "a constraint and a sum that is normalized",
            lines:
                "constraints: [{reward: exact_number, limit: 1, kind: at_least}]\nmulti_objective_aggregation: normalize_then_sum",
            says: [
                "job.yaml line 12: multi_objective_aggregation is normalize_then_sum", "expected sum_then_normalize",
            ]
        ),
        BadInput(
            what: "a constraint for a method without advantages",
            lines: "constraints: [{reward: exact_number, limit: 1, kind: at_least}]",
            overrides: ["algorithm=best_of_k"],
            says: ["job.yaml line 11: constraints need a method with advantages", "best_of_k has none"]),
        BadInput(
            what: "a best metric without evaluation", lines: "metric_for_best_model: eval_reward",
            says: ["job.yaml line 11: metric_for_best_model is eval_reward", "set eval_steps"]),
        BadInput(
            what: "a best metric that no evaluation has", lines: "eval_steps: 1\nmetric_for_best_model: eval_loss",
            says: [
                "metric_for_best_model: no metric 'eval_loss' in the evaluations; there are eval_reward, "
                    + "eval_rewards/exact_number/mean"
            ]),
        BadInput(
            what: "an evaluation without reward", lines: "eval_steps: 2",
            overrides: ["algorithm=sft", "num_generations="],
            says: ["job.yaml line 11: eval_steps is set; sft has no reward"]),
        BadInput(
            what: "a guard of a file that is not there", lines: "eval_guard: [{texts: nothing.jsonl}]",
            says: ["nothing.jsonl: no such prompt file or folder"]),
        BadInput(
            what: "a guard of an empty file", lines: "eval_guard: [empty.jsonl]",
            says: ["empty.jsonl: the file has no rows"], prepare: { try $0.write("empty.jsonl", "") }),
        BadInput(
            what: "a guarded text without one", lines: "eval_guard: [{texts: bare.jsonl}]",
            says: ["bare.jsonl, line 1: no column `completion`; the row has `prompt`"],
            prepare: { try $0.write("bare.jsonl", #"{"prompt": "1+1="}"#) }),
        BadInput(
            what: "a guarded prompt that no reward can score", lines: "eval_guard: [bare.jsonl]",
            says: ["bare.jsonl, line 1: no column 'answer'"],
            prepare: { try $0.write("bare.jsonl", #"{"prompt": "1+1="}"#) }),
        BadInput(
            what: "a guard's own reward that nobody knows",
            lines: "eval_guard: [{prompts: held.jsonl, reward_funcs: [exact_numbr]}]",
            says: ["no reward is named 'exact_numbr'"]),
        BadInput(
            what: "a tolerance below nothing", lines: "eval_guard: [{texts: held.jsonl, tolerance: -1}]",
            says: ["job.yaml line 11: eval_guard: tolerance is '-1'; expected a number of at least 0"]),
        BadInput(
            what: "guarded prompts without reward", lines: "eval_guard: [{prompts: held.jsonl}]",
            overrides: ["algorithm=sft", "num_generations="],
            says: ["job.yaml line 11: eval_guard samples answers to 'held', and sft samples none"]),
        BadInput(
            what: "a checkpoint that is none", overrides: ["resume_from_checkpoint=model"],
            says: ["'model' is no checkpoint folder; expected …/checkpoint-<step> or true"]),
        BadInput(
            what: "a file for an output folder", overrides: ["output_dir=prompts.jsonl"],
            says: ["cannot make the folder", "prompts.jsonl: Not a directory"]),
        BadInput(
            what: "a run folder that is the model", overrides: ["output_dir=model/"],
            says: ["output_dir: model/ is the model that model_name_or_path reads; name another folder"]),
        BadInput(
            what: "a run folder that leads to a reward model",
            overrides: ["output_dir=link", "reward_funcs=[{model: judge}]", "--dry-run"],
            says: ["output_dir: link is the model that reward_funcs reads; name another folder"],
            prepare: {
                try $0.copy("model", to: "judge")
                try FileManager.default.createSymbolicLink(
                    at: $0.folder.appending(path: "link"), withDestinationURL: $0.folder.appending(path: "judge"))
            }),
        BadInput(what: "a subcommand nobody knows", command: ["trian", "job.yaml"], says: ["'trian'"], status: 64),
    ]

    /// Numbers of eight bytes, as GGUF files have them.
    private static func gguf(_ numbers: [UInt64]) -> Data {
        Data(numbers.flatMap { number in withUnsafeBytes(of: number.littleEndian, Array.init) })
    }

    /// The job with another model folder, `broken`: a copy of the model in which something is changed.
    private static func model(
        _ what: String, says: [String], change: @escaping @Sendable (Workplace) throws -> Void
    ) -> BadInput {
        BadInput(
            what: what, overrides: ["model_name_or_path=broken"], says: says,
            prepare: {
                try $0.copy("model", to: "broken")
                try change($0)
            })
    }

    static let models = [
        BadInput(
            what: "no such model", overrides: ["model_name_or_path=org/nothing"],
            says: ["org/nothing: no such model folder", "hf download org/nothing"]),
        BadInput(
            what: "no such folder", overrides: ["model_name_or_path=./nothing"],
            says: ["./nothing: no such folder; expected one with config.json and safetensors files"]),
        BadInput(
            what: "a file for a model", overrides: ["model_name_or_path=prompts.jsonl"],
            says: ["prompts.jsonl: is a file; expected a folder with config.json"]),
        BadInput(
            what: "a GGUF file that is none", overrides: ["model_name_or_path=model.gguf"],
            says: ["model.gguf: does not begin with GGUF; expected a GGUF file"],
            prepare: { try $0.write("model.gguf", "GGML and more that is no model") }),
        BadInput(
            what: "a GGUF file that ends early", overrides: ["model_name_or_path=model.gguf"],
            says: ["model.gguf: the key of metadata entry 0 claims 28 bytes, the file ends 19 bytes later"],
            prepare: {
                try $0.write(
                    "model.gguf", Data("GGUF\u{3}\0\0\0".utf8 + gguf([1, 1, 28]) + "general.architectur".utf8))
            }),
        BadInput(
            what: "a GGUF file of a family that is not built", overrides: ["model_name_or_path=model.gguf"],
            says: ["model.gguf: general.architecture is \"phi3\"; expected one of llama, qwen2, qwen3"],
            prepare: {
                let key = gguf([20]) + "general.architecture".utf8 + Data([8, 0, 0, 0])
                try $0.write(
                    "model.gguf", Data("GGUF\u{3}\0\0\0".utf8 + gguf([0, 1]) + key + gguf([4]) + "phi3".utf8))
            }),
        BadInput(
            what: "a GGUF file with a type that is not read", overrides: ["model_name_or_path=model.gguf"],
            says: ["tensor t has the type IQ2_XXS, which is not read; expected one of F32"],
            prepare: {
                let tensor = gguf([1]) + "t".utf8 + Data([1, 0, 0, 0]) + gguf([256]) + Data([16, 0, 0, 0]) + gguf([0])
                try $0.write("model.gguf", Data("GGUF\u{3}\0\0\0".utf8 + gguf([1, 0]) + tensor))
            }),
        model("no config.json", says: ["broken/config.json: no such file", "model.safetensors", "tokenizer.json"]) {
            try $0.remove("broken/config.json")
        },
        model("no tokenizer", says: ["broken/tokenizer.json: found no such file", "plumbline tokenizer train"]) {
            try $0.remove("broken/tokenizer.json")
        },
        model("an older tokenizer", says: ["tokenizer.json: found no such file", "tokenizer.model is not read"]) {
            try $0.remove("broken/tokenizer.json")
            try $0.write("broken/tokenizer.model", "x")
        },
        model("no weights", says: ["broken", "no weights", "hf download", "plumbline init-model"]) {
            try $0.remove("broken/model.safetensors")
        },
        model("pickled weights", says: ["pytorch_model.bin is a pickle, which is never read"]) {
            try $0.remove("broken/model.safetensors")
            try $0.write("broken/pytorch_model.bin", "x")
        },
        model("a folder for weights", says: ["broken/model.safetensors: not a regular file"]) {
            try $0.remove("broken/model.safetensors")
            try $0.copy("model", to: "broken/model.safetensors")
        },
        model("weights that are cut off", says: ["broken/model.safetensors", "bytes of elements, the file holds"]) {
            try $0.write("broken/model.safetensors", try $0.bytes("model/model.safetensors").dropLast(1000))
        },
        model("a header that lies", says: ["model.norm.weight of F32 [64] needs 256 bytes, its offsets hold 128"]) {
            try Safetensors($0).changing { $0["model.norm.weight"]?["shape"] = [64] }.write("broken", $0)
        },
        model("a header without end", says: ["claim a header of 1152921504606846976 bytes"]) {
            try $0.write("broken/model.safetensors", Data([0, 0, 0, 0, 0, 0, 0, 16, 0x7b, 0x7d]))
        },
        model("weights of integers", says: ["model.norm.weight holds I32; expected F32, BF16", "quantised"]) {
            try Safetensors($0).changing { $0["model.norm.weight"]?["dtype"] = "I32" }.write("broken", $0)
        },
        model("weights of eight bits", says: ["holds F8_E4M3; expected F32, BF16", "take the unquantised one"]) {
            try Safetensors($0).inEightBits().write("broken", $0)
        },
        model("NaN in the weights", says: ["broken", "model.norm.weight holds NaN or infinity"]) {
            try Safetensors($0).withNaN(in: "model.norm.weight").write("broken", $0)
        },
        model("a tokenizer without merges", says: ["broken/tokenizer.json: model.merges: found nothing", "byte-pair"]) {
            let text = String(decoding: try $0.bytes("model/tokenizer.json"), as: UTF8.self)
            try $0.write("broken/tokenizer.json", text.replacing(#/,\s*"merges":\s*\[\s*\]/#, with: ""))
        },
        model("a model nobody built", says: ["broken/config.json: model_type is \"gpt2\"; expected one of llama"]) {
            try $0.write("broken/config.json", #"{"model_type": "gpt2"}"#)
        },
        model("a configuration that is no JSON", says: ["broken/config.json: no valid JSON: line 1, column 16"]) {
            try $0.write("broken/config.json", #"{"model_type": gpt2}"#)
        },
    ]

    /// The job with another prompt file.
    private static func rows(
        _ what: String, _ text: String, says: [String], method: [String] = []
    ) -> BadInput {
        BadInput(
            what: what, overrides: ["dataset_name=rows.jsonl"] + method, says: says,
            prepare: { try $0.write("rows.jsonl", text) })
    }

    static let prompts = [
        rows(
            "rows without prompt", "{\"promt\": \"a\", \"answer\": 1}\n",
            says: [
                "rows.jsonl, line 1: no column `prompt`; the row has `promt`, `answer`", "column_map: {prompt: NAME}",
            ]),
        rows(
            "one row without prompt", "{\"prompt\": \"a\"}\n\n{\"question\": \"b\"}\n",
            says: ["rows.jsonl, line 3: no column `prompt`; the row has `question`"]),
        rows(
            "a prompt of another type", "{\"prompt\": \"a\"}\n{\"prompt\": 7}\n",
            says: ["rows.jsonl, line 2, column prompt: a number; a text or a list of messages is expected"]),
        rows(
            "a prompt beyond the context",
            "{\"prompt\": \"a\"}\n{\"prompt\": \"\(String(repeating: "x", count: 99))\"}\n",
            says: ["rows.jsonl, line 2: the prompt has 99 tokens, the limit is 60", "overlong_prompts: drop"]),
        rows("an empty file", "", says: ["rows.jsonl: the file has no rows"]),
        rows(
            "an empty prompt", "{\"prompt\": \"a\"}\n{\"prompt\": \" \"}\n",
            says: ["rows.jsonl, line 2, column prompt: the text is empty"]),
        rows(
            "too few rows", "{\"prompt\": \"a\", \"answer\": 1}\n",
            says: ["prompt set rows: a step takes 4 prompts and the set has 1"]),
        rows(
            "an empty completion",
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"\"}\n",
            says: ["rows.jsonl, line 2, column completion: the text is empty"],
            method: ["algorithm=sft", "num_generations="]),
        rows(
            "no completion", "{\"prompt\": \"a\", \"complation\": \"b\"}\n",
            says: ["rows.jsonl, line 1: no column `completion`", "did you mean `complation`?"],
            method: ["algorithm=sft", "num_generations="]),
        rows("rows that are no objects", "[1, 2]\n", says: ["line 1: the row is a number; an object such as"]),
        rows("half a row", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\n", says: ["rows.jsonl: line 2, column"]),
        BadInput(
            what: "bytes that are no JSON Lines", overrides: ["dataset_name=rows.jsonl"],
            says: ["rows.jsonl: line 1, column 1: found"],
            prepare: { try $0.write("rows.jsonl", Data((0..<512).map { UInt8(truncatingIfNeeded: $0 &* 37) })) }),
        BadInput(
            what: "no such prompt file", overrides: ["dataset_name=prompt.jsonl"],
            says: ["prompt.jsonl: no such prompt file or folder; did you mean prompts.jsonl?"]),
        BadInput(
            what: "a folder without prompts", overrides: ["dataset_name=model"],
            says: ["model: no file of the split \"train\" (train.jsonl)"]),
        BadInput(
            what: "no file of the test split",
            overrides: ["eval_steps=1", "dataset_name=set", "dataset_test_split=held"],
            says: ["set: no file of the split \"held\"", "the folder holds train.jsonl"],
            prepare: { try $0.write("set/train.jsonl", try $0.bytes("prompts.jsonl")) }),
    ]

    /// The job with a prompt file whose fifth row is another one.
    private static func fifthRow(_ what: String, _ row: String, reward: String, says: [String]) -> BadInput {
        BadInput(
            what: what, overrides: ["dataset_name=rows.jsonl", "reward_funcs=\(reward)"], says: says,
            prepare: { place in
                var rows = String(decoding: try place.bytes("prompts.jsonl"), as: UTF8.self).split(separator: "\n")
                rows[4] = Substring(row)
                try place.write("rows.jsonl", rows.joined(separator: "\n"))
                try place.write(
                    "r.py", "def needs(completions, answer, **kwargs):\n    return [1.0] * len(completions)\n")
            })
    }

    private static func reward(_ what: String, _ entry: String, says: [String], begins: Bool = false) -> BadInput {
        BadInput(
            what: what, overrides: ["reward_funcs=\(entry)"], says: says, begins: begins,
            prepare: { try $0.write("r.py", "def score(completions, **kwargs):\n    raise ValueError('boom')\n") })
    }

    static let rewards = [
        fifthRow(
            "a column that is missing in one row", #"{"prompt": "1=", "anser": "1"}"#, reward: "exact_number",
            says: ["rows.jsonl, line 5: no column 'answer'; it has 'anser'; did you mean 'anser'?"]),
        fifthRow(
            "a column of another type in one row", #"{"prompt": "1=", "answer": "one"}"#, reward: "exact_number",
            says: ["rows.jsonl, line 5: column 'answer' is the text \"one\", expected a number"]),
        fifthRow(
            "a column that a Python reward lacks", #"{"prompt": "1="}"#, reward: "r.py:needs",
            says: ["rows.jsonl, line 5: no column 'answer'; it has no columns besides the prompt"]),
        reward(
            "a reward that does not exist", "acuracy_reward",
            says: ["no reward is named 'acuracy_reward'; known are", "did you mean 'accuracy_reward'?"]),
        reward(
            "a required setting that is misspelt", "[{name: regular_expression, patern: a}]",
            says: ["reward regular_expression: no setting 'patern'", "did you mean 'pattern'?"]),
        reward(
            "a required setting that is missing", "regular_expression",
            says: ["reward regular_expression: pattern is missing; the setting is required"]),
        reward(
            "a setting that is misspelt", "[{name: exact_number, colum: a}]",
            says: ["reward exact_number: no setting 'colum'", "did you mean 'column'?"]),
        reward("no such function", "r.py:scre", says: ["r.py has no function 'scre'; did you mean score?"]),
        reward("no such Python file", "s.py:score", says: ["reward s.py:score: there is no file", "s.py"]),
        BadInput(
            what: "no such Python file, found by the plan", overrides: ["reward_funcs=s.py:score", "--dry-run"],
            says: ["reward s.py:score: there is no file", "s.py"]),
        reward(
            "a reward model among the names", "org/judge-0.5B",
            says: ["no reward is named 'org/judge-0.5B'; known are", "; a reward model is {model: org/judge-0.5B}"]),
        reward(
            "a reward that throws", "r.py:score", says: ["reward score: ", "ValueError: boom", "prompts.jsonl, line"],
            begins: true),
        reward(
            "a program that is not there", "[{command: ./nothing}]", says: ["reward nothing: ", "not found"],
            begins: true),
    ]

    /// An evaluation that never begins.
    private static func evaluation(
        _ what: String, _ options: [String], says: [String],
        prepare: @escaping @Sendable (Workplace) throws -> Void = { _ in }
    ) -> BadInput {
        BadInput(
            what: what,
            command: ["eval", "--model", "model", "--prompts", "held.jsonl", "--rewards", "exact_number"] + options,
            says: says, prepare: prepare)
    }

    static let outputs = [
        evaluation(
            "a result in the place of the prompts", ["--output", "./held.jsonl"],
            says: ["--output: ./held.jsonl is the file that is read; name another"]),
        evaluation(
            "completions behind a link to the prompts", ["--completions", "link"],
            says: ["--completions: link is the file that is read; name another"],
            prepare: {
                try FileManager.default.createSymbolicLink(
                    at: $0.folder.appending(path: "link"), withDestinationURL: $0.folder.appending(path: "held.jsonl"))
            }),
        evaluation(
            "a result over the one it is compared with", ["--output", "e.json", "--compare", "e.json"],
            says: ["--output: e.json is the file that is read; name another"],
            prepare: { try $0.write("e.json", "{}") }),
        evaluation(
            "two results in one file", ["--output", "e.json", "--html", "e.json"],
            says: ["--html: e.json is the file of --output, too; name another"]),
        evaluation(
            "a result in a folder that is not there", ["--markdown", "nothing/e.md"],
            says: ["cannot write into", "nothing: No such file or directory"]),
        BadInput(
            what: "a profile in a folder that is not there",
            command: ["profile", "--model", "model", "-o", "nothing/p.json"],
            says: ["cannot write into", "nothing: No such file or directory"]),
        BadInput(
            what: "a plan over its job", command: ["plan", "--job", "job.yaml", "-o", "job.yaml"],
            says: ["--output: job.yaml is the file that is read; name another"]),
        BadInput(
            what: "a timeline over its plan", command: ["simulate", "plan.json", "--timeline", "plan.json"],
            says: ["--timeline: plan.json is the file that is read; name another"],
            prepare: { try $0.write("plan.json", "{}") }),
        BadInput(
            what: "a page over the run's metrics", command: ["report", "run", "--html", "run/metrics.jsonl"],
            says: ["--html: run/metrics.jsonl is the file that is read; name another"],
            prepare: { try $0.write("run/metrics.jsonl", "") }),
        BadInput(
            what: "a job file that the run would replace", command: ["train", "run/config.yaml"],
            overrides: ["output_dir=run"],
            says: ["output_dir: its config.yaml is this job file, which the run would replace"],
            prepare: { try $0.write("run/config.yaml", BadInput.job) }),
    ]

    static let commands = [
        BadInput(
            what: "an option that neither the command nor the job has", overrides: ["--learning_rat", "1e-5"],
            says: ["unknown key 'learning_rat'; did you mean learning_rate?"]),
        BadInput(
            what: "an option without the value it needs", overrides: ["--learning_rate", "--dry-run"],
            says: ["learning_rate is ", "true", "expected a finite number"]),
        BadInput(
            what: "overrides of no job", command: ["train", "--seed=3"], says: ["Missing expected argument '<job>"],
            status: 64),
        BadInput(
            what: "a method for a subcommand, as TRL has it", command: ["grpo", "--config", "job.yaml"],
            says: ["'grpo' is a method, not a subcommand", "plumbline train --algorithm=grpo --config job.yaml"],
            status: 64),
        BadInput(
            what: "a dry run names a reward nobody has", command: ["train", "job.yaml", "--dry-run"],
            overrides: ["reward_funcs=acuracy_reward"], says: ["did you mean 'accuracy_reward'?"]),
        BadInput(
            what: "a token the model lacks", command: ["logprobs", "--model", "model", "--input", "ids.jsonl"],
            says: ["ids.jsonl line 1: token id 999 is outside the vocabulary of 257"],
            prepare: { try $0.write("ids.jsonl", #"{"token_ids": [1, 999]}"#) }),
        BadInput(
            what: "a line without text",
            command: ["tokenizer", "encode", "--tokenizer", "model", "--input", "t.jsonl"],
            says: ["t.jsonl line 1: no 'text'; it has txt"], prepare: { try $0.write("t.jsonl", #"{"txt": "a"}"#) }),
        BadInput(
            what: "bytes that are no text for a tokenizer",
            command: ["tokenizer", "train", "--input", "t.txt", "--output", "trained"],
            says: ["t.txt line 2: is not UTF-8; expected text, or rows in a file whose name ends in .jsonl"],
            prepare: { try $0.write("t.txt", Data([0x61, 0x0a, 0x1f, 0x8b, 0x0a])) }),
        BadInput(
            what: "a missing column in an evaluation",
            command: [
                "eval", "--model", "model", "--prompts", "e.jsonl", "--rewards", "exact_number",
                "--max-completion-length", "4",
            ],
            says: ["e.jsonl, line 1: no column 'answer'"], prepare: { try $0.write("e.jsonl", #"{"prompt": "a"}"#) }),
        BadInput(
            what: "a file for the folder of pairs",
            command: [
                "pairs", "make", "--model", "model", "--prompts", "prompts.jsonl", "--rewards", "exact_number",
                "--output", "prompts.jsonl/pairs.jsonl",
            ],
            says: ["cannot make the folder", "prompts.jsonl: Not a directory"]),
        BadInput(
            what: "a file for the folder of a model",
            command: ["init-model", "--tokenizer", "model", "--output", "prompts.jsonl/model"],
            says: ["cannot make the folder", "prompts.jsonl/model: Not a directory"]),
        BadInput(
            what: "a file for the folder of a tokenizer",
            command: ["tokenizer", "train", "--input", "held.jsonl", "--output", "prompts.jsonl"],
            says: ["cannot make the folder", "prompts.jsonl: Not a directory"]),
        BadInput(
            what: "a file for the folder of a cache",
            command: [
                "eval", "--model", "model", "--prompts", "prompts.jsonl", "--rewards",
                "{name: exact_number, cache_file: prompts.jsonl/kept/scores.jsonl}", "--max-completion-length", "4",
            ],
            says: ["cannot make the folder", "prompts.jsonl/kept: Not a directory"]),
        BadInput(
            what: "too many completions", command: ["generate", "--model", "model", "--prompt", "a", "--samples", "0"],
            says: ["--samples 0: between 1 and 4096"], status: 64),
    ]
}

/// A safetensors file taken apart: its header and its elements.
struct Safetensors {
    var header: [String: [String: any Sendable]]
    var elements: Data

    struct Unreadable: Error {}

    /// The model's weights.
    init(_ place: Workplace) throws {
        let bytes = try place.bytes("model/model.safetensors")
        let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard
            let header = try JSONSerialization.jsonObject(with: bytes.dropFirst(8).prefix(length))
                as? [String: [String: any Sendable]]
        else { throw Unreadable() }
        self.header = header
        elements = Data(bytes.dropFirst(8 + length))
    }

    func changing(_ change: (inout [String: [String: any Sendable]]) -> Void) -> Safetensors {
        var copy = self
        change(&copy.header)
        return copy
    }

    /// A quarter of the bytes, each tensor announced as eight-bit floating point.
    func inEightBits() -> Safetensors {
        var copy = self
        copy.elements = elements.prefix(elements.count / 4)
        for (name, entry) in header {
            guard let offsets = entry["data_offsets"] as? [Int] else { continue }
            copy.header[name]?["data_offsets"] = offsets.map { $0 / 4 }
            copy.header[name]?["dtype"] = "F8_E4M3"
        }
        return copy
    }

    func withNaN(in name: String) throws -> Safetensors {
        guard let start = (header[name]?["data_offsets"] as? [Int])?.first else { throw Unreadable() }
        var copy = self
        copy.elements.replaceSubrange(start..<start + 4, with: [0, 0, 0xc0, 0x7f])  // float32's quiet NaN
        return copy
    }

    func write(_ folder: String, _ place: Workplace) throws {
        let text = try JSONSerialization.data(withJSONObject: header, options: .sortedKeys)
        let length = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Data($0) }
        try place.write("\(folder)/model.safetensors", length + text + elements)
    }
}
