import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Checkpointing")
struct CheckpointTests {
    /// Two blocks of tanh(x·W + b), with leaves captured; the gradients of x, W and b and the value.
    private func gradients(checkpointed: Bool, backwards: Int = 1) throws -> [[Double]] {
        var numbers = TestRandom(seed: 3)
        let x = try Tensor(numbers.doubles(6), shape: [2, 3]).requiringGradient()
        let weight = try Tensor(numbers.doubles(9), shape: [3, 3]).requiringGradient()
        let bias = try Tensor(numbers.doubles(3)).requiringGradient()
        func block(_ inputs: [Tensor]) throws -> Tensor { try inputs[0].linear(weight: weight, bias: bias).tanh() }
        var value = 0.0
        for _ in 0..<backwards {
            var hidden = x
            for _ in 0..<2 { hidden = try checkpointed ? Tensor.checkpoint(inputs: [hidden], block) : block([hidden]) }
            let loss = try hidden.square().sum()
            value = try loss.item()
            try loss.backward()
        }
        return try [x, weight, bias].map { try #require(try $0.gradient?.doubles()) } + [[value]]
    }

    @Test("value and gradients equal the unchecked computation to the bit, captured leaves included")
    func equal() throws {
        let plain = try gradients(checkpointed: false)
        #expect(try gradients(checkpointed: true) == plain)
        #expect(plain[1].contains { $0 != 0 })
    }

    @Test("captured leaves collect once for each backward")
    func accumulation() throws {
        let once = try gradients(checkpointed: true)[1]
        let twice = try gradients(checkpointed: true, backwards: 2)[1]
        #expect(relativeError(twice, once.map { 2 * $0 }) < 1e-12)
    }

    @Test("the body runs once forward and once more in backward")
    func runs() throws {
        var recordings: [Bool] = []
        let x = try Tensor([2.0]).requiringGradient()
        let y = try Tensor.checkpoint(inputs: [x]) { inputs in
            recordings.append(Tensor.recordsGradients)
            return try inputs[0] * inputs[0]
        }
        #expect(recordings == [false])
        try y.sum().backward()
        #expect(recordings == [false, true])
        #expect(try x.gradient?.item() == 4)
    }

    @Test("a leaf that is captured only still collects its gradient")
    func capturedOnly() throws {
        let constant = try Tensor([3.0])
        let weight = try Tensor([2.0]).requiringGradient()
        try Tensor.checkpoint(inputs: [constant]) { try $0[0] * weight }.sum().backward()
        #expect(try weight.gradient?.item() == 3)
    }

    @Test("without gradients the body runs plainly")
    func unrecorded() throws {
        let x = try Tensor([2.0]).requiringGradient()
        let y = try Tensor.withoutGradients { try Tensor.checkpoint(inputs: [x]) { try $0[0] * 3 } }
        #expect(!y.requiresGradient)
        #expect(try y.item() == 6)
    }

    private struct Refusal: Error, Equatable, CustomStringConvertible {
        let description = "the segment refused"
    }

    @Test("an error of the first run is thrown as it is; one of the second run comes out of backward")
    func errors() throws {
        let x = try Tensor([2.0]).requiringGradient()
        #expect(throws: Refusal()) { try Tensor.checkpoint(inputs: [x]) { _ in throw Refusal() } }
        var calls = 0
        let y = try Tensor.checkpoint(inputs: [x]) { inputs in
            calls += 1
            if calls == 2 { throw Refusal() }
            return try inputs[0] * 2
        }
        let error = try #require(throws: TensorError.self) { try y.sum().backward() }
        #expect(error.description.contains("the segment refused"))
        #expect(Tensor.recordsGradients)
    }

    @Test("chosen gradients through a checkpoint are refused: captured leaves would be missed")
    func chosenGradients() throws {
        let x = try Tensor([2.0]).requiringGradient()
        let y = try Tensor.checkpoint(inputs: [x]) { try $0[0] * 2 }.sum()
        let error = try #require(throws: TensorError.self) { try Tensor.gradients(of: y, withRespectTo: [x]) }
        #expect(error.description.contains("backward() only"))
    }

    private final class Witness {}

    @Test("what the body captured is released with the graph, and after an error at once")
    func released() throws {
        weak var witness: Witness?
        do {
            let held = Witness()
            witness = held
            let x = try Tensor([2.0]).requiringGradient()
            let y = try Tensor.checkpoint(inputs: [x]) { inputs in
                withExtendedLifetime(held) {}
                return try inputs[0] * 2
            }
            try y.sum().backward()
        }
        #expect(witness == nil)
        do {
            let held = Witness()
            witness = held
            let x = try Tensor([2.0]).requiringGradient()
            #expect(throws: Refusal.self) {
                try Tensor.checkpoint(inputs: [x]) { _ in
                    try withExtendedLifetime(held) { throw Refusal() }
                }
            }
        }
        #expect(witness == nil)
    }
}
