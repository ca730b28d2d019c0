import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Products of matrices against plain loops")
struct LinearAlgebraTests {
    /// `[n, k] · [k, m]`
    private func product(_ a: [Double], _ b: [Double], n: Int, k: Int, m: Int) -> [Double] {
        (0..<n).flatMap { i in
            (0..<m).map { j in (0..<k).map { a[i * k + $0] * b[$0 * m + j] }.reduce(0, +) }
        }
    }

    @Test("two matrices", arguments: [(3, 4, 5), (1, 7, 1), (33, 65, 17), (2, 0, 3), (0, 2, 3)])
    func matmul(_ n: Int, _ k: Int, _ m: Int) throws {
        var numbers = TestRandom(seed: 2)
        let (a, b) = (numbers.doubles(n * k), numbers.doubles(k * m))
        let expected = product(a, b, n: n, k: k, m: m)
        let (left, right) = (try Tensor(a, shape: [n, k]), try Tensor(b, shape: [k, m]))
        #expect(relativeError(try left.matmul(right).doubles(), expected) < 1e-13)
        let single = try left.to(.float32).matmul(right.to(.float32))
        #expect(single.shape == [n, m])
        #expect(relativeError(try single.doubles(), expected) < 1e-5)
    }

    @Test("batches of matrices, one shared by all")
    func batches() throws {
        var numbers = TestRandom(seed: 6)
        let (a, b) = (numbers.doubles(2 * 3 * 4), numbers.doubles(4 * 5))
        let expected = product(a, b, n: 6, k: 4, m: 5)
        let found = try Tensor(a, shape: [2, 3, 4]).matmul(Tensor(b, shape: [1, 4, 5]))
        #expect(found.shape == [2, 3, 5])
        #expect(relativeError(try found.doubles(), expected) < 1e-14)
    }

    @Test("linear multiplies by the transposed weight and adds the bias")
    func linear() throws {
        // [1, 2] · [[3, 4], [5, 6], [7, 8]]ᵀ + [100, 200, 300] = [3 + 8, 5 + 12, 7 + 16] + bias
        let weight = try Tensor([3.0, 4, 5, 6, 7, 8], shape: [3, 2])
        let input = try Tensor([1.0, 2], shape: [1, 2])
        #expect(try input.linear(weight: weight).doubles() == [11, 17, 23])
        #expect(try input.linear(weight: weight, bias: Tensor([100.0, 200, 300])).doubles() == [111, 217, 323])
    }

    /// Of L = Σ c·y with y given: dW = cᵀ·x, dx = c·W and db = Σ c, whatever y is.
    @Test("linear whose result is given has it, and the product's gradients")
    func givenLinear() throws {
        let weight = try Tensor([3.0, 4, 5, 6, 7, 8], shape: [3, 2]).requiringGradient()
        let bias = try Tensor([100.0, 200, 300]).requiringGradient()
        let input = try Tensor([1.0, 2, -1, 0.5], shape: [2, 2]).requiringGradient()
        let given = try Tensor([9.0, 8, 7, 6, 5, 4], shape: [2, 3])
        let factors = try Tensor([1.0, 0, 2, -1, 3, 0], shape: [2, 3])
        let found = try input.linear(weight: weight, bias: bias, given: given)
        #expect(try found.doubles() == [9, 8, 7, 6, 5, 4])
        try (found * factors).sum().backward()
        #expect(try weight.gradient?.doubles() == [2, 1.5, -3, 1.5, 2, 4])
        #expect(try input.gradient?.doubles() == [17, 20, 12, 14])
        #expect(try bias.gradient?.doubles() == [0, 3, 2])
        let unbiased = try input.linear(weight: weight, given: given)
        try (unbiased * factors).sum().backward()
        #expect(try input.gradient?.doubles() == [34, 40, 24, 28] && bias.gradient?.doubles() == [0, 3, 2])
        let frozen = try weight.detached()
        #expect(try Tensor.withoutGradients { try input.linear(weight: frozen, given: given).doubles() }[0] == 9)
        #expect(throws: TensorError.self) { try input.linear(weight: weight, given: given.transposed(0, 1)) }
        #expect(throws: TensorError.self) { try input.linear(weight: weight, given: given.to(.float32)) }
    }

    /// What is given in place of the sum with a low-rank update: all gradients are those of the operation that works it out.
    @Test("linear with a low-rank update whose result is given")
    func givenAdaptedLinear() throws {
        var numbers = TestRandom(seed: 12)
        func leaf(_ shape: [Int]) throws -> Tensor {
            try Tensor(numbers.doubles(shape.reduce(1, *)), shape: shape).requiringGradient()
        }
        let (input, factors) = (try leaf([3, 4]), try leaf([3, 5]).detached())
        let leaves = [input, try leaf([5, 4]), try leaf([5]), try leaf([2, 4]), try leaf([5, 2])]
        func gradients(_ given: [Tensor]?) throws -> [[Double]] {
            let map = LinearMap(weight: leaves[1], bias: leaves[2], adapter: (leaves[3], leaves[4]))
            let found = try input.linear([map], scale: 0.7, given: given)[0]
            if let given { #expect(try found.doubles() == given[0].doubles()) }
            try (found * factors).sum().backward()
            return try leaves.map { leaf in
                defer { try? leaf.zeroGradient() }
                return try #require(leaf.gradient).doubles()
            }
        }
        let worked = try gradients(nil)
        #expect(try gradients([Tensor(numbers.doubles(15), shape: [3, 5])]) == worked)
    }

    /// Whatever of input, weights and biases is learned has the gradient that it has when all are, also where the results
    /// are given.
    @Test("linear of several matrices with frozen parts")
    func frozenLinears() throws {
        var numbers = TestRandom(seed: 13)
        let shapes = [[3, 4], [5, 4], [5], [2, 4], [2]]
        let values = shapes.map { numbers.doubles($0.reduce(1, *)) }
        let factors = try [5, 2].map { try Tensor(numbers.doubles(3 * $0), shape: [3, $0]) }
        func gradients(learned: Set<Int>, isGiven: Bool) throws -> [[Double]?] {
            let leaves = try zip(values, shapes).enumerated().map { index, leaf in
                let tensor = try Tensor(leaf.0, shape: leaf.1)
                return try learned.contains(index) ? tensor.requiringGradient() : tensor
            }
            let maps = [1, 3].map { LinearMap(weight: leaves[$0], bias: leaves[$0 + 1]) }
            let found = try leaves[0].linear(maps, given: isGiven ? factors : nil)
            try ((found[0] * factors[0]).sum() + (found[1] * factors[1]).sum()).backward()
            return try leaves.map { try $0.gradient?.doubles() }
        }
        let all = try gradients(learned: [0, 1, 2, 3, 4], isGiven: false)
        #expect(all.allSatisfy { $0?.contains { $0 != 0 } == true })
        for learned in [[0], [1], [2], [4], [0, 3], [1, 3], [2, 4], [0, 2], [0, 1, 2, 3, 4]] as [Set<Int>] {
            for isGiven in [false, true] {
                let some = try gradients(learned: learned, isGiven: isGiven)
                for index in shapes.indices {
                    #expect(some[index] == (learned.contains(index) ? all[index] : nil), "\(learned), \(index)")
                }
            }
        }
    }

    /// Matrices with biases and adapters that read silu(gate)·up, 5 numbers wide: values and gradients are those of single
    /// operations, whatever is learned, and also where the results are given.
    @Test("linear of a gated activation", arguments: [ElementType.float64, .float32], [false, true])
    func gatedLinears(_ type: ElementType, isAdapted: Bool) throws {
        var numbers = TestRandom(seed: 17)
        // Gate, up, then weight, bias, A and B of two matrices.
        let shapes = [[7, 5], [7, 5], [4, 5], [4], [2, 5], [4, 2], [3, 5], [3], [1, 5], [3, 1]]
        let values = shapes.map { numbers.doubles($0.reduce(1, *)) }
        let factors = try [4, 3].map { try Tensor(numbers.doubles(7 * $0), shape: [7, $0]).to(type) }
        let adapters: Set<Int> = [4, 5, 8, 9]

        func run(_ learned: Set<Int>, _ found: ([Tensor]) throws -> [Tensor]) throws -> ([[Double]], [[Double]?]) {
            let leaves = try zip(values, shapes).enumerated().map { index, leaf in
                let tensor = try Tensor(leaf.0, shape: leaf.1).to(type)
                return try learned.contains(index) ? tensor.requiringGradient() : tensor
            }
            let made = try found(leaves)
            try ((made[0] * factors[0]).sum() + (made[1] * factors[1]).sum()).backward()
            return (try made.map { try $0.doubles() }, try leaves.map { try $0.gradient?.doubles() })
        }
        let (expected, all) = try run(Set(shapes.indices)) { leaf in
            let x = try leaf[0] * leaf[0].sigmoid() * leaf[1]
            return try [2, 6].map { first in
                let plain = try x.linear(weight: leaf[first], bias: leaf[first + 1])
                guard isAdapted else { return plain }
                return try plain + x.linear(weight: leaf[first + 2]).linear(weight: leaf[first + 3]) * 0.5
            }
        }
        let tolerance = type == .float64 ? 1e-12 : 1e-5
        func isNear(_ some: [Double], _ other: [Double]) -> Bool {
            zip(some, other).allSatisfy { abs($0 - $1) <= tolerance * max(1, abs($1)) } && some.count == other.count
        }
        let subsets: [Set<Int>] = [
            Set(shapes.indices), [0], [1], [2], [3], [0, 1], [1, 6], [0, 7], [2, 3, 6, 7], [4], [5], [4, 5], [5, 8],
            [0, 5], [1, 4], [0, 1, 4, 5, 8, 9], [2, 9],
        ]
        for learned in subsets where isAdapted || !learned.isSubset(of: adapters) {
            for isGiven in [false, true] {
                let (made, gradients) = try run(learned) { leaf in
                    let maps = [2, 6].map { first in
                        LinearMap(
                            weight: leaf[first], bias: leaf[first + 1],
                            adapter: isAdapted ? (leaf[first + 2], leaf[first + 3]) : nil)
                    }
                    return try leaf[0].linear(gating: leaf[1], maps, scale: 0.5, given: isGiven ? factors : nil)
                }
                let results = isGiven ? try factors.map { try $0.doubles() } : expected
                #expect(zip(made, results).allSatisfy { isNear($0, $1) }, "\(learned), given \(isGiven)")
                for index in shapes.indices where isAdapted || !adapters.contains(index) {
                    guard learned.contains(index) else {
                        #expect(gradients[index] == nil, "\(learned), \(index)")
                        continue
                    }
                    let gradient = try #require(gradients[index], "\(learned), \(index)")
                    #expect(isNear(gradient, try #require(all[index])), "\(learned), \(index), given \(isGiven)")
                }
            }
        }
    }

    /// More tokens than a tile and a block of them have, more columns than a kernel takes, and ranks that fill no vector: in
    /// float32 the gradients are those that single products find in float64.
    @Test("gradients of low-rank updates of several tiles", arguments: [3, 70, 300], [false, true])
    func tiledAdapters(tokens: Int, isGated: Bool) throws {
        var numbers = TestRandom(seed: 19)
        // Gate and up, then weight, A and B of three matrices.
        var shapes = [[tokens, 40], [tokens, 40]]
        for (outputs, rank) in [(70, 5), (33, 16), (17, 37)] {
            shapes += [[outputs, 40], [rank, 40], [outputs, rank]]
        }
        let values = shapes.map { numbers.doubles($0.reduce(1, *)) }
        let factors = [70, 33, 17].map { numbers.doubles(tokens * $0) }
        func gradients(_ type: ElementType) throws -> [[Double]] {
            let leaves = try zip(values, shapes).map { try Tensor($0, shape: $1).to(type).requiringGradient() }
            let maps = [2, 5, 8].map { LinearMap(weight: leaves[$0], adapter: (leaves[$0 + 1], leaves[$0 + 2])) }
            let input = try isGated ? leaves[0] : leaves[0] * leaves[1]
            let made = try input.linear(gating: isGated ? leaves[1] : nil, maps, scale: 1.5)
            let sums = try zip(made, factors).map { try ($0 * Tensor($1, shape: $0.shape).to(type)).sum() }
            try (sums[0] + sums[1] + sums[2]).backward()
            return try leaves.map { try #require($0.gradient).doubles() }
        }
        for (found, expected) in try zip(gradients(.float32), gradients(.float64)) {
            #expect(relativeError(found, expected) < 5e-6)
        }
    }

    @Test("linear with a low-rank update of the weight")
    func adaptedLinear() throws {
        // x = [1, 2], A = [[1, 1]]: x·Aᵀ = 3; scale 10 and B = [[1], [0], [-2]] add [30, 0, -60] to [111, 217, 323].
        let weight = try Tensor([3.0, 4, 5, 6, 7, 8], shape: [3, 2])
        let (down, up) = (try Tensor([1.0, 1], shape: [1, 2]), try Tensor([1.0, 0, -2], shape: [3, 1]))
        let input = try Tensor([1.0, 2], shape: [1, 2])
        func found(_ bias: Tensor?) throws -> [Double] {
            try input.linear([LinearMap(weight: weight, bias: bias, adapter: (down, up))], scale: 10)[0].doubles()
        }
        #expect(try found(Tensor([100.0, 200, 300])) == [141, 217, 263])
        #expect(try found(nil) == [41, 17, -37])
        // Beside it W = [[1, -1]], A = [[0, 1], [2, 0]] and B = [[1, 1]]: -1 + 10·(2 + 2) = 39.
        let both = try input.linear(
            [
                LinearMap(weight: weight, adapter: (down, up)),
                LinearMap(
                    weight: Tensor([1.0, -1], shape: [1, 2]),
                    adapter: (Tensor([0.0, 1, 2, 0], shape: [2, 2]), Tensor([1.0, 1], shape: [1, 2]))),
            ], scale: 10)
        #expect(try both.map { try $0.doubles() } == [[41, 17, -37], [39]])
        #expect(throws: TensorError.self) {
            try input.linear([LinearMap(weight: weight, adapter: (up, down))], scale: 1)
        }
        #expect(throws: TensorError.self) {  // also where nothing is multiplied
            try input.linear([LinearMap(weight: weight, adapter: (up, down))], given: [Tensor.ones([1, 3])])
        }
        #expect(throws: TensorError.self) {  // one has a bias
            try input.linear(
                [Tensor([100.0, 200, 300]), nil].map {
                    LinearMap(weight: weight, bias: $0, adapter: (down, up))
                }, scale: 1)
        }
    }

    /// Rows of a Hadamard matrix over 2 are orthonormal: a matrix of nothing but multiples of them has them as its
    /// right singular vectors, with the factors as singular values.
    @Test("the principal directions of a matrix are its first right singular vectors")
    func principalDirections() throws {
        let rows = [[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]].map { $0.map { $0 / 2 } }
        let factors = [(0.0, 0), (2, 2), (-5, 0), (0, 1), (1, 3), (3, 1)]
        let matrix = factors.flatMap { factor, row in rows[row].map { $0 * factor } }
        let found = try Tensor(matrix, shape: [6, 4]).principalDirections(3)
        #expect(found.shape == [3, 4])
        for (index, row) in [0, 1, 2].enumerated() {
            let own = try found.selected(axis: 0, at: index).doubles()
            let sign = own[0] * rows[row][0] < 0 ? -1.0 : 1
            #expect(relativeError(own.map { sign * $0 }, rows[row]) < 1e-14)
        }
        // A matrix of more columns than rows: [0, 3, 4] alone is its own direction.
        let wide = try Tensor([Float(0), 3, 4], shape: [1, 3]).principalDirections(1).floats()
        #expect(relativeError(wide.map(abs), [0, 0.6, 0.8]) < 1e-6)
        #expect(throws: TensorError.self) { try Tensor.ones([2, 3]).principalDirections(3) }
        #expect(throws: TensorError.self) { try Tensor.ones([3, 3]).principalDirections(0) }
        #expect(throws: TensorError.self) { try Tensor.ones([3]).principalDirections(1) }
    }

    @Test("gradients")
    func gradients() throws {
        var numbers = TestRandom(seed: 7)
        let (x, weight, bias) = (numbers.doubles(6), numbers.doubles(12), numbers.doubles(4))
        #expect(
            try gradientError(at: [(x, [2, 3]), (weight, [4, 3]), (bias, [4])]) {
                try $0[0].linear(weight: $0[1], bias: $0[2]).tanh()
            } < 1e-7)
        // Two matrices on one input, with adapters of rank 2 and 1.
        var points: [(values: [Double], shape: [Int])] = [(x, [2, 3])]
        for shape in [[4, 3], [4], [2, 3], [4, 2], [5, 3], [5], [1, 3], [5, 1]] {
            points.append((numbers.doubles(shape.reduce(1, *)), shape))
        }
        #expect(
            try gradientError(at: points) { at in
                let made = try at[0].linear(
                    [1, 5].map { LinearMap(weight: at[$0], bias: at[$0 + 1], adapter: (at[$0 + 2], at[$0 + 3])) },
                    scale: 1.5)
                return try made[0].tanh().sum() + made[1].square().sum()
            } < 1e-7)
        // Three without adapters, without biases and with them.
        for isBiased in [false, true] {
            let shapes = [4, 5, 1].flatMap { isBiased ? [[$0, 3], [$0]] : [[$0, 3]] }
            let points = [(x, [2, 3])] + shapes.map { (numbers.doubles($0.reduce(1, *)), $0) }
            #expect(
                try gradientError(at: points) { at in
                    let maps = stride(from: 1, to: at.count, by: isBiased ? 2 : 1).map {
                        LinearMap(weight: at[$0], bias: isBiased ? at[$0 + 1] : nil)
                    }
                    let made = try at[0].linear(maps)
                    return try made[0].tanh().sum() + made[1].square().sum() + made[2].tanh().sum()
                } < 1e-7)
        }
        #expect(try gradientError(at: [(x, [2, 3]), (weight, [3, 4])]) { try $0[0].matmul($0[1]).square() } < 1e-7)
    }

    @Test("sizes that do not fit are an error in libtorch's words")
    func refused() throws {
        let error = try #require(throws: TensorError.self) { try Tensor.ones([2, 3]).matmul(Tensor.ones([2, 3])) }
        #expect(
            error
                == .engine(
                    operation: "matmul", message: "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"))
        #expect(throws: TensorError.self) { try Tensor.ones([2, 3]).linear(weight: Tensor.ones([3, 2])) }
        #expect(throws: TensorError.self) { try Tensor.ones([2, 3]).matmul(Tensor.ones([3, 2], .float64)) }
    }
}
