import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Gradients")
struct AutogradTests {
    @Test("backward adds up: two backwards give twice the gradient, and zeroGradient forgets it")
    func accumulation() throws {
        let x = try Tensor([1.0, 2, 3]).requiringGradient()
        #expect(x.gradient == nil)
        // d(x·x)/dx = 2x
        try (x * x).sum().backward()
        #expect(try x.gradient?.doubles() == [2, 4, 6])
        try (x * x).sum().backward()
        #expect(try x.gradient?.doubles() == [4, 8, 12])
        try x.zeroGradient()
        #expect(x.gradient == nil)
    }

    @Test("a seed weights the elements of a tensor that is no single number")
    func seed() throws {
        let x = try Tensor([1.0, 2, 3]).requiringGradient()
        try (x * x).backward(seed: Tensor([1.0, 10, 100]))
        #expect(try x.gradient?.doubles() == [2, 40, 600])
    }

    @Test("without a seed, backward of several elements is an error in the engine's words")
    func seedMissing() throws {
        let x = try Tensor([1.0, 2]).requiringGradient()
        let error = try #require(throws: TensorError.self) { try (x * x).backward() }
        #expect(error.description.contains("grad can be implicitly created only for scalar outputs"))
    }

    @Test("a graph serves one backward unless it is kept")
    func keptGraph() throws {
        let x = try Tensor([3.0]).requiringGradient()
        let y = try (x * x).sum()
        try y.backward(keepsGraph: true)
        try y.backward()
        #expect(try x.gradient?.doubles() == [12])
        #expect(throws: TensorError.self) { try y.backward() }
    }

    @Test("chosen gradients are returned and collected nowhere")
    func chosenGradients() throws {
        let x = try Tensor([2.0]).requiringGradient()
        let y = try Tensor([5.0]).requiringGradient()
        let gradients = try Tensor.gradients(of: (x * x * y).sum(), withRespectTo: [x, y])
        #expect(try gradients.map { try $0.item() } == [20, 4])  // 2xy, x²
        #expect(x.gradient == nil && y.gradient == nil)
    }

    @Test("an output that does not depend on an input is refused")
    func unrelated() throws {
        let x = try Tensor([2.0]).requiringGradient()
        let y = try Tensor([5.0]).requiringGradient()
        #expect(throws: TensorError.self) { try Tensor.gradients(of: (x * x).sum(), withRespectTo: [y]) }
    }

    @Test("nothing is recorded without gradients, and the mode comes back, also after an error")
    func withoutGradients() throws {
        let x = try Tensor([2.0]).requiringGradient()
        #expect(try Tensor.withoutGradients { try (x * 2).requiresGradient } == false)
        #expect(try (x * 2).requiresGradient)
        #expect(throws: TensorError.self) {
            try Tensor.withoutGradients { try x.matmul(x.reshaped([1, 1])).squeezed(5) }
        }
        #expect(Tensor.recordsGradients)
        Tensor.withoutGradients {
            Tensor.withoutGradients {}
            #expect(!Tensor.recordsGradients)
        }
        #expect(Tensor.recordsGradients)
    }

    @Test("no gradient flows through a detached tensor, whose elements are shared")
    func detached() throws {
        let x = try Tensor([3.0]).requiringGradient()
        try (x * x.detached()).sum().backward()
        #expect(try x.gradient?.doubles() == [3])
        try x.detached().fillInPlace(7)
        #expect(try x.item() == 7)
    }

    @Test("a gradient of another shape or type cannot be set")
    func setGradient() throws {
        let x = try Tensor([1.0, 2]).requiringGradient()
        try x.setGradient(Tensor([5.0, 6]))
        #expect(try x.gradient?.doubles() == [5, 6])
        #expect(throws: TensorError.self) { try x.setGradient(Tensor([5.0])) }
        #expect(throws: TensorError.self) { try x.setGradient(Tensor([Float(5), 6])) }
    }
}
