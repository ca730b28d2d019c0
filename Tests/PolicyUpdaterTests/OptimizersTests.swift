import Algorithms
import Foundation
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

/// Every rule once, with a new subspace in the middle of a few steps.
private let rules: [OptimizerRule] =
    [.adamW, .adamW8bit, .lion]
    + OptimizersReference.lowRank.map { .lowRank($0.settings) }

@TensorActor @Suite("Optimizers beside AdamW against their papers and packages")
struct OptimizersTests {
    private func settings(
        _ rule: OptimizerRule, stabilization: StableSPAM? = nil, learningRate: Double = 0.01, weightDecay: Double = 0.1
    ) -> OptimizerSettings {
        OptimizerSettings(
            rule: rule, learningRate: learningRate, beta1: 0.9, beta2: 0.99, weightDecay: weightDecay,
            maxGradientNorm: nil, stabilization: stabilization, schedule: LearningRateSchedule(.constant, totalSteps: 8)
        )
    }

    private func tensors(_ values: [String: [Double]], _ type: ElementType = .float64) throws -> [String: Tensor] {
        var tensors: [String: Tensor] = [:]
        for (name, shape) in OptimizersReference.shapes {
            tensors[name] = try Tensor(values[name]!, shape: shape).to(type)
        }
        return tensors
    }

    /// The largest difference to the reference's steps, after each of them.
    private func errors(
        _ settings: OptimizerSettings, _ expected: [OptimizersReference.Step], hasSpike: Bool = false
    ) throws -> [Double] {
        let parameters = try tensors(OptimizersReference.start).mapValues { try $0.requiringGradient() }
        let optimizer = try Optimizer(of: parameters, settings: settings)
        var errors: [Double] = []
        for step in 0..<8 {
            try optimizer.step(
                parameters: parameters, gradients: tensors(OptimizersReference.gradients(step, hasSpike: hasSpike)),
                learningRate: settings.learningRate)
            guard let here = expected.first(where: { $0.step == step }) else { continue }
            let found = try parameters.doubles()
            errors.append(
                here.parameters.map { name, values in zip(values, found[name]!).map { abs($0 - $1) }.max()! }.max()!)
        }
        return errors
    }

    /// The reference is kept to twelve decimals.
    private func isRounding(_ errors: [Double]) -> Bool { errors.count == 2 && errors.allSatisfy { $0 < 1e-11 } }

    @Test func lionIsLionPytorchs() throws {
        #expect(isRounding(try errors(settings(.lion), OptimizersReference.lion)))
        #expect(try errors(settings(.adamW), OptimizersReference.lion).allSatisfy { $0 > 1e-3 })
    }

    /// GaLore, FRUGAL and Fira, each with singular vectors and with cosines; after the second choice of a subspace and
    /// after the third.
    @Test(arguments: OptimizersReference.lowRank)
    func lowRankIsThePapers(_ reference: OptimizersReference.LowRank) throws {
        let found = try errors(settings(.lowRank(reference.settings)), reference.steps)
        #expect(isRounding(found), "\(found)")
        for other in OptimizersReference.lowRank where other.testDescription != reference.testDescription {
            #expect(try errors(settings(.lowRank(other.settings)), reference.steps).allSatisfy { $0 > 1e-5 })
        }
    }

    /// After the first reset the published code divides the means of all steps by what two steps would have left.
    @Test(arguments: OptimizersReference.stableSPAM.map(\.resets))
    func stableSPAMCountsStepsAndMomentsApart(_ resets: Int) throws {
        let reference = try #require(OptimizersReference.stableSPAM.first { $0.resets == resets })
        let own = StableSPAM(resetSteps: resets > 0 ? resets : nil)
        let found = try errors(settings(.adamW, stabilization: own), reference.steps, hasSpike: true)
        #expect(isRounding(found), "\(found)")
        #expect(try errors(settings(.adamW), reference.steps, hasSpike: true).allSatisfy { $0 > 1e-3 })
        let other = StableSPAM(resetSteps: resets > 0 ? nil : 3)
        #expect(try errors(settings(.adamW, stabilization: other), reference.steps, hasSpike: true)[1] > 1e-3)
    }

    /// Of several parameters none may fail when others are written: a step in memory of its own asks for none. Nor does
    /// looking whether what was written is finite.
    @Test(arguments: [.adamW, .adamW8bit, .lion] as [OptimizerRule])
    func aStepAsksForNoMemory(_ rule: OptimizerRule) async throws {
        let (parameters, gradients) = (try parameters(), try gradients(0))
        let (optimizer, weights) = (try Optimizer(of: parameters, settings: settings(rule)), try parameters.bits())
        let call = await watchingAllocations {
            try optimizer.step(parameters: parameters, gradients: gradients, learningRate: 0.01)
            for parameter in parameters.values { #expect(try parameter.allFinite()) }
        }
        #expect(call.error == nil && call.allocations.count == 0)
        #expect(try parameters.bits().allSatisfy { $1 != weights[$0] })
    }

    // MARK: Bytes

    private let wide = "model.layers.0.mlp.up_proj.weight"

    /// The weights after eight steps on the reference's matrix, those that it kept.
    private func steppedBytes(_ rule: OptimizerRule, _ type: ElementType) throws -> (
        kept: [[Double]], optimizer: Optimizer
    ) {
        let reference = OptimizersReference.bytes
        let count = reference.shape.reduce(1, *)
        let parameter = try Tensor(OptimizersReference.numbers(count, seed: 0), shape: reference.shape).to(type)
        let optimizer = try Optimizer(of: [wide: parameter], settings: settings(rule))
        var kept: [[Double]] = []
        for step in 0..<8 {
            let gradient = OptimizersReference.numbers(count, seed: 100 * (step + 1)).enumerated().map {
                $1 * pow(0.1, Double($0 % 3))
            }
            try optimizer.step(
                parameters: [wide: parameter],
                gradients: [wide: Tensor(gradient, shape: reference.shape).to(type)], learningRate: 0.01)
            if step == 3 || step == 7 {
                kept.append(
                    try parameter.to(.float64).doubles().enumerated().filter { $0.offset % reference.every == 0 }.map(
                        \.element))
            }
        }
        return (kept, optimizer)
    }

    /// Every 23rd number of a matrix whose last block is not whole. A moment that lies between two bytes may be rounded
    /// otherwise by another machine, and its weight differ a little.
    @Test(arguments: [ElementType.float32, .float64])
    func eightBitMomentsAreBitsandbytes(_ type: ElementType) throws {
        let reference = OptimizersReference.bytes
        let found = try steppedBytes(.adamW8bit, type)
        for (own, expected) in zip(found.kept, reference.steps) {
            let errors = zip(own, expected).map { abs($0 - $1) }
            #expect(errors.count == 195 && errors.count { $0 > 1e-6 } <= 2 && errors.max()! < 1e-3)
        }
        let state = found.optimizer.tensors
        func kept(_ slot: String) throws -> [Int] {
            try state["\(slot).\(wide)"]!.integers().enumerated().filter { $0.offset % reference.every == 0 }.map(
                \.element)
        }
        #expect(zip(try kept("first_moment"), reference.first_bytes).count { $0 != $1 } <= 2)
        #expect(zip(try kept("second_moment"), reference.second_bytes).count { $0 != $1 } <= 2)
        for (slot, scales) in [("first_moment", reference.first_scales), ("second_moment", reference.second_scales)] {
            let own = try state["\(slot)_scales.\(wide)"]!.to(.float64).doubles()
            #expect(own.count == 18 && zip(own, scales).allSatisfy { relativeError($0, $1) < 1e-5 })
        }
        // With whole moments it is another run.
        let whole = try steppedBytes(.adamW, type).kept[1]
        #expect(zip(whole, reference.steps[1]).count { abs($0 - $1) > 1e-5 } > 100)
    }

    @Test(arguments: [true, false])
    func aByteStandsForBitsandbytesNumber(_ isSigned: Bool) throws {
        let bytes = try Tensor((0..<256).map { UInt8($0) })
        let found = try CodedTensor(bytes: bytes, scales: Tensor([Float(1)])).decoded(isSigned: isSigned).floats()
        let expected = isSigned ? OptimizersReference.bytes.signed_map : OptimizersReference.bytes.unsigned_map
        #expect(zip(found, expected).allSatisfy { relativeError(Double($0), $1) < 2e-7 })  // a unit in the last place
    }

    // MARK: What is kept

    /// The bytes of one parameter, worked by hand.
    @Test func stateIsAsLargeAsItsRuleSays() throws {
        func bytes(_ rule: OptimizerRule, _ name: String, _ shape: [Int], spam: StableSPAM? = nil) throws -> Int {
            let settings = settings(rule, stabilization: spam)
            let optimizer = try Optimizer(of: [name: Tensor.zeros(shape)], settings: settings)
            #expect(optimizer.stateBytes == settings.stateBytes(of: name, shape: shape, .float32))
            #expect(
                try optimizer.tensors.values.reduce(0) { try $0 + $1.contiguous().withBytes(\.count) }
                    == optimizer.stateBytes)
            return optimizer.stateBytes
        }
        #expect(try bytes(.adamW, wide, [64, 70]) == 8 * 4480)
        #expect(try bytes(.lion, wide, [64, 70]) == 4 * 4480)
        #expect(try bytes(.adamW8bit, wide, [64, 70]) == 2 * (4480 + 4 * 18))
        #expect(try bytes(.adamW8bit, wide, [64, 64]) == 2 * (4096 + 4 * 16))
        #expect(try bytes(.adamW8bit, wide, [4095]) == 8 * 4095)
        #expect(try bytes(.adamW8bit, "model.embed_tokens.weight", [64, 70]) == 8 * 4480)
        #expect(try bytes(.adamW8bit, "lm_head.weight", [64, 70]) == 2 * (4480 + 4 * 18))
        let svd = OptimizerRule.lowRank(LowRankSettings(rank: 8))
        // Moments of the longer side, the basis of the shorter.
        #expect(try bytes(svd, wide, [64, 70]) == 2 * 4 * 70 * 8 + 4 * 8 * 64)
        #expect(try bytes(svd, wide, [70, 64]) == 2 * 4 * 70 * 8 + 4 * 8 * 64)
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            #expect(try bytes(svd, name, [64, 70]) == 8 * 4480)
        }
        #expect(try bytes(svd, wide, [8, 70]) == 8 * 560)
        #expect(try bytes(svd, "model.norm.weight", [70]) == 8 * 70)
        let fira = OptimizerRule.lowRank(LowRankSettings(rank: 8, projector: .dct, remainder: .fira))
        #expect(try bytes(fira, wide, [64, 70]) == 2 * 4 * 70 * 8 + 8 * 8 + 8)
        #expect(try bytes(.adamW, wide, [64, 70], spam: StableSPAM()) == 8 * 4480 + 3 * 8)
    }

    /// A subspace is of no use where no matrix is larger.
    @Test func aRankThatNothingCanBeProjectedToIsAProblem() {
        let shapes = OptimizersReference.shapes  // the largest matrix beside the embedding has sides of 5
        func problem(_ rank: Int, _ shapes: [String: [Int]]) -> String? {
            OptimizerRule.lowRank(LowRankSettings(rank: rank)).problem(training: shapes)
        }
        #expect(problem(4, shapes) == nil)
        #expect(problem(5, shapes)?.hasSuffix("embedding and head aside; expected at most 4") == true)
        #expect(problem(1, ["model.norm.weight": [4]])?.hasSuffix("expected another optim") == true)
        #expect(OptimizerRule.lion.problem(training: ["model.norm.weight": [4]]) == nil)
    }

    /// A matrix for bytes beside the reference's, in float32.
    private func parameters() throws -> [String: Tensor] {
        var parameters = try tensors(OptimizersReference.start, .float32)
        parameters["model.layers.1.mlp.up_proj.weight"] = try Tensor(
            OptimizersReference.numbers(4480, seed: 9), shape: [64, 70]
        ).to(.float32)
        return parameters
    }

    private func gradients(_ step: Int) throws -> [String: Tensor] {
        var gradients = try tensors(OptimizersReference.gradients(step), .float32)
        gradients["model.layers.1.mlp.up_proj.weight"] = try Tensor(
            OptimizersReference.numbers(4480, seed: 77 * step + 5), shape: [64, 70]
        ).to(.float32)
        return gradients
    }

    /// Also where the next step chooses a subspace, or lets moments begin anew.
    @Test(arguments: rules, [nil, StableSPAM(resetSteps: 2)])
    func aLookAheadIsWhatAStepWritesAndWritesNothing(_ rule: OptimizerRule, _ spam: StableSPAM?) throws {
        let parameters = try parameters()
        let optimizer = try Optimizer(of: parameters, settings: settings(rule, stabilization: spam))
        for step in 0..<6 {
            let (weights, state) = (try parameters.bits(), try optimizer.state())
            let ahead = try optimizer.ahead(parameters: parameters, gradients: gradients(step), learningRate: 0.01)
            #expect(try parameters.bits() == weights)
            #expect(try optimizer.state() == state)
            try optimizer.step(parameters: parameters, gradients: gradients(step), learningRate: 0.01)
            #expect(try parameters.bits() == ahead.bits())
            #expect(try parameters.bits().allSatisfy { $1 != weights[$0] })
        }
    }

    /// Five steps, a checkpoint and four more, in which subspaces are chosen and moments begin anew, to the bit.
    @Test(arguments: rules, [nil, StableSPAM(resetSteps: 4)])
    func aSavedStateGoesOnToTheBit(_ rule: OptimizerRule, _ spam: StableSPAM?) async throws {
        let folder = try TemporaryFolder()
        let settings = settings(rule, stabilization: spam)
        let straight = try parameters()
        let first = try Optimizer(of: straight, settings: settings)
        for step in 0..<5 {
            try first.step(parameters: straight, gradients: gradients(step), learningRate: 0.01)
        }
        try await first.save(at: PolicyVersion(5), to: folder.url)
        #expect(try folder.names() == ["counters.json", "moments.safetensors"])
        let (resumed, forgetful) = (
            try straight.mapValues { try $0.clone() }, try straight.mapValues { try $0.clone() }
        )
        let second = try Optimizer(of: resumed, settings: settings)
        try second.resume(second.saved(in: folder.url))
        #expect(try second.state() == first.state())
        let third = try Optimizer(of: forgetful, settings: settings)
        for step in 5..<9 {
            for (optimizer, weights) in [(first, straight), (second, resumed), (third, forgetful)] {
                try optimizer.step(parameters: weights, gradients: gradients(step), learningRate: 0.01)
            }
        }
        #expect(try resumed.bits() == straight.bits())
        #expect(try second.state() == first.state())
        #expect(try forgetful.bits() != straight.bits())  // the check can fail
        #expect(first.counters.optimizerSteps == 9)
        #expect(first.counters.momentSteps == (spam == nil ? 9 : 2))  // the eighth step was their first
    }

    /// Moments in a file have the bits that they have in memory, and a checkpoint goes on in either.
    @Test(arguments: rules, [nil, StableSPAM(resetSteps: 4)])
    func stateInAFileChangesNothing(_ rule: OptimizerRule, _ spam: StableSPAM?) async throws {
        let (disk, checkpoint) = (try TemporaryFolder(), try TemporaryFolder())
        let settings = settings(rule, stabilization: spam)
        let (inMemory, inFile) = (try parameters(), try parameters())
        let first = try Optimizer(of: inMemory, settings: settings)
        let second = try Optimizer(of: inFile, settings: settings, spillingTo: disk.url)
        #expect(try disk.names() == [])
        #expect(first.footprint.bytes(.optimizer) == first.stateBytes)
        #expect(second.footprint.bytes(.optimizer) == 0)
        #expect(second.stateBytes == first.stateBytes)
        func take(_ steps: Range<Int>, _ all: [(Optimizer, [String: Tensor])]) throws {
            for step in steps {
                for (optimizer, weights) in all {
                    let ahead = try optimizer.ahead(
                        parameters: weights, gradients: gradients(step), learningRate: 0.01)
                    try optimizer.step(parameters: weights, gradients: gradients(step), learningRate: 0.01)
                    #expect(try weights.bits() == ahead.bits())
                }
            }
        }
        try take(0..<5, [(first, inMemory), (second, inFile)])
        #expect(try inFile.bits() == inMemory.bits())
        #expect(try second.state() == first.state())
        try await second.save(at: PolicyVersion(5), to: checkpoint.url)
        // The one in memory takes over what the one in a file has left, and the other way round.
        let (later, latest) = (try inFile.mapValues { try $0.clone() }, try inFile.mapValues { try $0.clone() })
        let third = try Optimizer(of: later, settings: settings)
        try third.resume(third.saved(in: checkpoint.url))
        let fourth = try Optimizer(of: latest, settings: settings, spillingTo: disk.url)
        try fourth.resume(fourth.saved(in: checkpoint.url))
        try take(5..<9, [(first, inMemory), (third, later), (fourth, latest)])
        #expect(try later.bits() == inMemory.bits())
        #expect(try latest.bits() == inMemory.bits())
        #expect(try fourth.state() == first.state())
    }

    /// Two moments of two matrices of 1 MB each: 4 MB, of which nothing is in memory between steps. Counted are the
    /// file's own pages, so that other tests do not disturb.
    @Test func betweenStepsNothingOfTheFileIsInMemory() async throws {
        let disk = try TemporaryFolder()
        let file = disk.url.appending(path: ".spill-")
        func matrices(_ value: Double) throws -> [String: Tensor] {
            ["a": try Tensor.full([256, 1024], value), "b": try Tensor.full([256, 1024], value)]
        }
        let parameters = try matrices(1)
        let optimizer = try Optimizer(of: parameters, settings: settings(.adamW), spillingTo: disk.url)
        #expect(try residentBytes(ofMapping: file) == 0)
        for _ in 0..<2 {
            try optimizer.step(parameters: parameters, gradients: matrices(0.5), learningRate: 0.01)
            #expect(try residentBytes(ofMapping: file) == 0)
            // The check can fail: who reads a moment has it in memory.
            #expect(try optimizer.firstMoments["a"]!.floats().allSatisfy { $0 > 0 })
            #expect(try residentBytes(ofMapping: file) >= 1 << 20)
        }
        let checkpoint = try TemporaryFolder()
        try await optimizer.save(at: PolicyVersion(2), to: checkpoint.url)
        #expect(try residentBytes(ofMapping: file) == 0)
        try optimizer.resume(optimizer.saved(in: checkpoint.url))
        #expect(try residentBytes(ofMapping: file) == 0)
    }

    /// Two moments of each of three matrices of 256 · 1024 numbers, 1 MiB a moment: of the six one is there beside where it
    /// goes, and none before it is asked for.
    @Test func aSavedStateIsReadOneTensorAfterTheOther() async throws {
        let checkpoint = try TemporaryFolder()
        func matrices(_ value: Double) throws -> [String: Tensor] {
            var matrices: [String: Tensor] = [:]
            for name in ["a", "b", "c"] { matrices[name] = try Tensor.full([256, 1024], value) }
            return matrices
        }
        let parameters = try matrices(1)
        let first = try Optimizer(of: parameters, settings: settings(.adamW))
        try first.step(parameters: parameters, gradients: matrices(0.5), learningRate: 0.01)
        try await first.save(at: PolicyVersion(1), to: checkpoint.url)
        let second = try Optimizer(of: parameters, settings: settings(.adamW))
        let opening = await watchingAllocations { _ = try second.saved(in: checkpoint.url) }
        #expect(opening.error == nil && opening.allocations.mostBytes < 1024)
        let reading = await watchingAllocations { try second.resume(second.saved(in: checkpoint.url)) }
        try #require(reading.isAlone && reading.error == nil)
        #expect(reading.allocations.mostBytes >= 1 << 20 && reading.allocations.mostBytes < 2 << 20)
        #expect(try reading.allocations.heldBytes == 0 && second.state() == first.state())

        // One byte less than the file says it has.
        let file = checkpoint.url.appending(path: "moments.safetensors")
        try Data(contentsOf: file).dropLast().write(to: file)
        let third = try Optimizer(of: parameters, settings: settings(.adamW))
        let empty = try third.state()
        #expect(throws: TensorError.self) { try third.resume(third.saved(in: checkpoint.url)) }
        #expect(try third.state() == empty && third.counters.optimizerSteps == 0)
    }

    /// A folder that is none, and one without the room, are said before there is an optimizer.
    @Test func aFolderThatCannotHoldTheStateIsSaid() throws {
        let disk = try TemporaryFolder()
        let error = #expect(throws: TensorError.self) {
            _ = try Optimizer(
                of: ["a": Tensor.zeros([4])], settings: settings(.adamW), spillingTo: disk.url.appending(path: "none"))
        }
        #expect("\(error!)".contains("none") && "\(error!)".contains("No such file or directory"), "\(error!)")
        // 2⁵⁶ numbers of one element.
        let wide = try Tensor.zeros([1]).expanded([1 << 28, 1 << 28])
        let full = #expect(throws: TensorError.self) {
            _ = try Optimizer(of: ["a": wide], settings: settings(.adamW), spillingTo: disk.url)
        }
        #expect("\(full!)".contains("bytes do not fit") && "\(full!)".contains("are free"), "\(full!)")
        #expect(try disk.names() == [])
    }

    @Test func theStateOfAnotherOptimizerIsRefused() async throws {
        let folder = try TemporaryFolder()
        let parameters = try parameters()
        try await Optimizer(of: parameters, settings: settings(.lion)).save(at: PolicyVersion(0), to: folder.url)
        func message(_ rule: OptimizerRule, spam: StableSPAM? = nil) throws -> String {
            let optimizer = try Optimizer(of: parameters, settings: settings(rule, stabilization: spam))
            return "\(try #require(throws: UpdateError.self) { try optimizer.saved(in: folder.url) })"
        }
        #expect(try message(.adamW).contains("it is that of optim: lion, and the job has optim: adamw_torch"))
        #expect(try message(.lion, spam: StableSPAM()).contains("lacks gradient_means."))
        let lowRank = OptimizerRule.lowRank(LowRankSettings(rank: 2))
        try await Optimizer(of: parameters, settings: settings(lowRank)).save(at: PolicyVersion(0), to: folder.url)
        #expect(try message(.lowRank(LowRankSettings(rank: 3))).contains("this model has"))
        #expect(try message(.lowRank(LowRankSettings(rank: 2, projector: .dct))).contains("has basis."))
    }

    // MARK: In a step of the policy

    /// A batch of demonstrations moves a policy by every rule, and its loss falls.
    @Test(arguments: rules) func theyLearn(_ rule: OptimizerRule) async throws {
        let policy = try TinyPolicy(
            SupervisedFineTuning(), .plain(rule: rule, learningRate: 0.01, maxGradientNorm: 1), type: .float32)
        let batch = UpdateBatch(groups: [ExampleBatch.group([1, 2], [[3, 4]]), ExampleBatch.group([5], [[6, 0, 2]])])
        var losses: [Double] = []
        for _ in 0..<40 { losses.append(try #require(try await policy.updater.train(batch)["loss"])) }
        #expect(losses.last! < 0.7 * losses[0], "\(losses)")
    }

    /// The derivative of AdamW's step with byte moments is that of the moments that the bytes stand for.
    @Test func theStepOfByteMomentsHasADerivative() throws {
        let found = try steppedBytes(.adamW8bit, .float64).optimizer
        let count = OptimizersReference.bytes.shape.reduce(1, *)
        let gradient = OptimizersReference.numbers(count, seed: 3)
        let direction = OptimizersReference.numbers(count, seed: 4)
        func tensor(_ values: [Double]) throws -> [String: Tensor] {
            [wide: try Tensor(values, shape: OptimizersReference.bytes.shape)]
        }
        func moved(_ h: Double) throws -> [Double] {
            let zeros = try tensor([Double](repeating: 0, count: count))
            return try found.ahead(
                parameters: zeros, gradients: tensor(zip(gradient, direction).map { $0 + h * $1 }), learningRate: 1
            )[wide]!.doubles()
        }
        let h = 1e-6
        let expected = zip(try moved(h), try moved(-h)).map { -($0 - $1) / (2 * h) }
        let answer = try found.derivative(gradients: tensor(gradient), along: tensor(direction))[wide]!.doubles()
        // Where a second moment is nearly 0 the step bends within h.
        #expect(zip(answer, expected).count { relativeError($0, $1, floor: 1) > 1e-5 } < count / 100)
        #expect(expected.contains { abs($0) > 0.1 })
    }
}

@Suite("Warm-up, stable, decay, continued from the decayed checkpoint")
struct ContinuedScheduleTests {
    private func schedule(_ steps: Int, decay: Int? = nil) -> LearningRateSchedule {
        LearningRateSchedule(.warmupStableDecay(decaySteps: decay), warmup: .ratio(0.1), totalSteps: steps)
    }

    /// A run of 20 steps has 2 of warm-up and 2 of decay; continued to 60 it goes on at the full rate until step 54.
    @Test func itGoesOnAtTheFullRateAndDecaysAtItsNewEnd() {
        let (short, long) = (schedule(20), schedule(60))
        #expect((0..<20).map { short.factor(step: $0) }.prefix(3) == [0, 0.5, 1])
        #expect(short.factor(step: 18) == 1 && abs(short.factor(step: 19) - 0.5) < 1e-15)
        #expect((20..<54).allSatisfy { long.factor(step: $0, isWarm: true) == 1 })
        #expect(long.factor(step: 54, isWarm: true) == 1 && long.factor(step: 55, isWarm: true) < 1)
        #expect(abs(long.factor(step: 57, isWarm: true) - 0.5) < 1e-15)
        // A tenth of 60 would warm up until step 6; a run that is warm does not.
        #expect(long.factor(step: 3) == 0.5 && long.factor(step: 3, isWarm: true) == 1)
        // The other shapes are those of the Hugging Face trainer, which makes the warm-up of the new length.
        let linear = LearningRateSchedule(.linear, warmup: .ratio(0.1), totalSteps: 60)
        #expect(linear.factor(step: 3, isWarm: true) == 0.5)
    }

    /// Through the updater and its checkpoint, with learning rates as they are reported.
    @Test @TensorActor func theUpdaterContinuesIt() async throws {
        let folder = try TemporaryFolder()
        func policy(_ steps: Int, weights: [String: [Double]]? = nil) throws -> TinyPolicy {
            try TinyPolicy(
                SupervisedFineTuning(), .plain(learningRate: 0.01, schedule: schedule(steps)), weights: weights,
                type: .float32)
        }
        func rates(_ policy: TinyPolicy, _ steps: Int) async throws -> [Double] {
            var rates: [Double] = []
            let batch = UpdateBatch(groups: [ExampleBatch.group([1, 2], [[3, 4]])])
            for _ in 0..<steps { rates.append(try #require(try await policy.updater.train(batch)["learning_rate"])) }
            return rates
        }
        let first = try policy(20)
        #expect(try await rates(first, 20) == [0, 0.005] + [Double](repeating: 0.01, count: 17) + [0.005])
        try await first.updater.save(to: folder.url)
        let weights = try first.parameters.mapValues { try $0.to(.float64).doubles() }
        let second = try policy(400, weights: weights)  // a tenth of 400 would still be warming up
        try await second.updater.restore(from: folder.url)
        #expect(try await rates(second, 4) == [Double](repeating: 0.01, count: 4))
        #expect(second.updater.optimizer.counters.isWarm)
        try await policy(22, weights: weights).updater.restore(from: folder.url)  // which decays at once
        let cramped = try TinyPolicy(
            SupervisedFineTuning(),
            .plain(
                learningRate: 0.01,
                schedule: LearningRateSchedule(.warmupStableDecay(decaySteps: 4), totalSteps: 22)), weights: weights,
            type: .float32)
        let error = await #expect(throws: UpdateError.self) { try await cramped.updater.restore(from: folder.url) }
        #expect(
            error.map { "\($0)" }?.contains(
                "20 steps were taken of 20, and the last 4 of 22 are a decay that would begin before; expected "
                    + "max_steps of at least 24"
            ) == true)
        #expect(cramped.updater.optimizer.counters == OptimizerCounters())
    }
}
