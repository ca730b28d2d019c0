import Tensors
import Testing

@TensorActor @Suite("Fused block operations against composed ones")
struct BlockOperationTests {
    /// The result and the gradients of Σ weight·result.
    private func run(_ inputs: [Tensor], _ body: ([Tensor]) throws -> Tensor) throws -> [Tensor] {
        let leaves = try inputs.map { try $0.requiringGradient() }
        let out = try body(leaves)
        var random = RandomValues(seed: 21)
        try (out * random.tensor(out.shape, out.elementType)).sum().backward()
        return try [out.detached()] + leaves.map { try #require($0.gradient) }
    }

    private func compare(_ found: [Tensor], _ expected: [Tensor], _ tolerance: Double) throws {
        for (found, expected) in zip(found, expected) { #expect(try relativeDistance(found, expected) < tolerance) }
    }

    @Test(arguments: [(ElementType.float64, 1e-12), (.float32, 2e-6)])
    func rmsNorm(_ type: ElementType, _ tolerance: Double) throws {
        for (rows, size) in [(1, 5), (70, 33), (130, 64)] {
            var random = RandomValues(seed: 1)
            let inputs = try [random.tensor([rows, size], type), random.tensor([size], type)]
            try compare(
                run(inputs) { try $0[0].rmsNorm(weight: $0[1], epsilon: 1e-3) },
                run(inputs) { inputs in
                    let scale = try (inputs[0].square().mean(axis: 1, keepsAxis: true) + 1e-3).rsqrt()
                    return try inputs[0] * scale * inputs[1].unsqueezed(0)
                }, tolerance)
        }
    }

    /// A stream beside its norm, with what joins it or without: values and gradients are those of single operations, also
    /// where only one of the two is read.
    @Test(arguments: [(ElementType.float64, 1e-12), (.float32, 2e-6)])
    func normedStream(_ type: ElementType, _ tolerance: Double) throws {
        var random = RandomValues(seed: 7)
        let all = try [[9], [70, 9], [70, 9]].map { try random.tensor($0, type) }
        for (count, readsStream) in [(1, true), (2, true), (2, false)] {
            let inputs = Array(all.prefix(1 + count))
            func joined(_ norm: Tensor, _ stream: Tensor) throws -> Tensor { try readsStream ? norm * stream : norm }
            try compare(
                run(inputs) { inputs in
                    let part = count == 2 ? inputs[2] : nil
                    let (norm, stream) = try inputs[1].normed(adding: part, weight: inputs[0], epsilon: 1e-3)
                    return try joined(norm, stream)
                },
                run(inputs) { inputs in
                    let sum = try count == 2 ? inputs[1] + inputs[2] : inputs[1]
                    return try joined(sum.rmsNorm(weight: inputs[0], epsilon: 1e-3), sum)
                }, tolerance)
        }
        // Under a frozen weight; and the stream alone.
        try compare(
            run([all[1], all[2]]) {
                let (norm, stream) = try $0[0].normed(adding: $0[1], weight: all[0], epsilon: 1e-3)
                return try norm * stream
            },
            run([all[1], all[2]]) {
                let sum = try $0[0] + $0[1]
                return try sum.rmsNorm(weight: all[0], epsilon: 1e-3) * sum
            }, tolerance)
        try compare(
            run([all[1], all[2]]) { try $0[0].normed(adding: $0[1], weight: all[0], epsilon: 1e-3).stream },
            run([all[1], all[2]]) { try $0[0] + $0[1] }, tolerance)
        #expect(throws: TensorError.self) {
            try Tensor.ones([2, 3]).normed(adding: Tensor.ones([3, 3]), weight: Tensor.ones([3]), epsilon: 0)
        }
    }

    @Test(arguments: [(ElementType.float64, 1e-12), (.float32, 2e-6)])
    func rotary(_ type: ElementType, _ tolerance: Double) throws {
        var random = RandomValues(seed: 2)
        let x = try random.tensor([13, 3, 10], type)
        let angles = try random.tensor([13, 5], type)
        let (cosines, sines) = (try angles.cos(), try angles.sin())
        try compare(
            run([x]) { try $0[0].rotated(cosines: cosines, sines: sines) },
            run([x]) { inputs in
                let halves = try inputs[0].split([5, 5], axis: 2)
                let (c, s) = (try cosines.unsqueezed(1), try sines.unsqueezed(1))
                return try Tensor.concatenated(
                    [halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s], axis: 2)
            }, tolerance)
        // A view whose rows stand apart in memory, as a fused projection gives.
        let wide = try random.tensor([13, 5, 10], type)
        let part = try wide.narrow(axis: 1, start: 1, count: 3)
        let turned = try part.rotated(cosines: cosines, sines: sines)
        #expect(try relativeDistance(turned, part.contiguous().rotated(cosines: cosines, sines: sines)) == 0)
    }

    @Test(arguments: [(ElementType.float64, 1e-12), (.float32, 2e-6)])
    func swiGLU(_ type: ElementType, _ tolerance: Double) throws {
        for count in [3, 16, 20_011] {
            var random = RandomValues(seed: 4)
            let inputs = try [random.tensor([count], type) * 20, random.tensor([count], type)]
            try compare(
                run(inputs) { try $0[0].swiGLU($0[1]) }, run(inputs) { try $0[0] * $0[0].sigmoid() * $0[1] }, tolerance)
        }
    }

    @Test func narrowTypesTakeTheComposedWay() throws {
        var random = RandomValues(seed: 6)
        let x = try random.tensor([4, 2, 8], .float32)
        let weight = try random.tensor([8], .float32)
        let narrow = try x.to(.bfloat16).rmsNorm(weight: weight.to(.bfloat16), epsilon: 1e-6)
        #expect(narrow.elementType == .bfloat16)
        #expect(try relativeDistance(narrow, x.rmsNorm(weight: weight, epsilon: 1e-6)) < 0.01)
        let angles = try random.tensor([4, 4], .float32)
        let turned = try x.to(.bfloat16).rotated(cosines: angles.cos(), sines: angles.sin())
        #expect(try relativeDistance(turned, x.rotated(cosines: angles.cos(), sines: angles.sin())) < 0.01)
        #expect(try relativeDistance(x.to(.bfloat16).swiGLU(x.to(.bfloat16)), x.swiGLU(x)) < 0.02)
    }
}
