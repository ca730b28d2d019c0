import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Dropout whose mask follows from addresses")
struct DropoutTests {
    private static let rows = (0..<37).map {
        RandomAddress(step: 3 + $0 % 2, row: 1_000_000 + $0, sample: $0 % 5, token: 70_000 + $0)
    }

    /// keep of every element from Philox in Swift, whose words are held to published ones in `PhiloxTests`.
    private static func keeps(
        _ rows: [RandomAddress], width: Int, _ p: Double, seed: UInt64, module: Int
    ) -> [Bool] {
        let own = streamKey(seed: seed, stream: RandomStream.dropout.rawValue)
        let key = streamKey(seed: own, stream: UInt64(module))
        return rows.flatMap { row in
            (0..<width).map { element in
                let low = UInt64(element / 4) | UInt64(row.token) << 24 | UInt64(row.sample) << 48
                let words = Philox.words(
                    counter: SIMD4(
                        UInt32(truncatingIfNeeded: low), UInt32(truncatingIfNeeded: low >> 32), UInt32(row.row),
                        UInt32(row.step)),
                    key: SIMD2(UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32)))
                return Double(words[element % 4]) >= (p * 0x1p32).rounded()
            }
        }
    }

    /// Widths below, at and above what is drawn together.
    @Test(arguments: [1, 7, 64, 65, 130]) func dropsWhatTheWordsSay(_ width: Int) throws {
        let values = (0..<Self.rows.count * width).map { Float($0 % 11) - 5.5 }
        let keeps = Self.keeps(Self.rows, width: width, 0.3, seed: 11, module: 9)
        let x = try Tensor(values, shape: [Self.rows.count, width])
        let addresses = try DropoutAddresses(Self.rows)
        let found = try x.dropout(0.3, at: addresses, seed: 11, module: 9).floats()
        let scale = Float(1 / 0.7)
        #expect(found == zip(values, keeps).map { $1 ? $0 * scale : 0 })
        #expect(try x.dropout(0.3, at: addresses, seed: 11, module: 9).floats() == found)
        for (seed, module) in [(UInt64(11), 10), (12, 9)] {
            #expect(try x.dropout(0.3, at: addresses, seed: seed, module: module).floats() != found)
        }
        // A row alone is what it is among others.
        let one = try x.narrow(axis: 0, start: 20, count: 1)
        #expect(
            try one.dropout(0.3, at: DropoutAddresses([Self.rows[20]]), seed: 11, module: 9).floats()
                == Array(found[20 * width..<21 * width]))
    }

    /// Of n = 37 · 4000 elements the share that is dropped is p within four standard deviations √(p(1 − p)/n), and what
    /// is left of ones has their mean within as many of √(p/(1 − p)/n).
    @Test(arguments: [0.05, 0.5, 0.9]) func dropsTheShareAndKeepsTheMean(_ p: Double) throws {
        let count = Double(Self.rows.count * 4000)
        let found = try Tensor([Float](repeating: 1, count: Self.rows.count * 4000), shape: [Self.rows.count, 4000])
            .dropout(p, at: DropoutAddresses(Self.rows), seed: 5, module: 0).floats()
        let dropped = Double(found.count { $0 == 0 }) / count
        print("a share of \(p) to be dropped: \(dropped) was")
        #expect(abs(dropped - p) < 4 * (p * (1 - p) / count).squareRoot())
        let mean = found.reduce(0) { $0 + Double($1) } / count
        #expect(abs(mean - 1) < 4 * (p / (1 - p) / count).squareRoot())
    }

    @Test func aShareOfZeroChangesNothing() throws {
        let x = try Tensor([1, -2, 3, 4] as [Float], shape: [2, 2])
        let rows = [RandomAddress(), RandomAddress(token: 1)]
        #expect(try x.dropout(0, at: DropoutAddresses(rows), seed: 1, module: 1).floats() == [1, -2, 3, 4])
    }

    /// Columns of a whole row, wherever they begin within what is drawn together.
    @Test(arguments: [0..<65, 64..<130, 3..<70, 61..<62]) func aPartOfARowDropsWhatTheRowDoes(
        _ columns: Range<Int>
    ) throws {
        let width = 130
        let values = (0..<Self.rows.count * width).map { Float($0 % 11) - 5.5 }
        let keeps = Self.keeps(Self.rows, width: width, 0.3, seed: 11, module: 9)
        let part = try Tensor(values, shape: [Self.rows.count, width])
            .narrow(axis: 1, start: columns.lowerBound, count: columns.count)
        let found = try part.dropout(
            0.3, at: DropoutAddresses(Self.rows), seed: 11, module: 9, from: columns.lowerBound
        ).floats()
        let scale = Float(1 / 0.7)
        let expected: [Float] = Self.rows.indices.flatMap { row in
            columns.map { keeps[row * width + $0] ? values[row * width + $0] * scale : 0 }
        }
        #expect(found == expected)
    }

    @Test(arguments: [0, 5]) func itsGradientIsThatOfCentralDifferences(_ first: Int) throws {
        let addresses = try DropoutAddresses(Array(Self.rows.prefix(3)))
        let error = try gradientError(at: [((0..<30).map { Double($0) / 7 - 2 }, [3, 10])]) { leaves in
            try leaves[0].square().dropout(0.4, at: addresses, seed: 2, module: 4, from: first)
        }
        #expect(error < 1e-7)
    }

    @Test func whatItCannotDropIsRefused() throws {
        let addresses = try DropoutAddresses([RandomAddress(), RandomAddress(token: 1)])
        let x = try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])
        let (row, narrow) = (try x.narrow(axis: 0, start: 0, count: 1), try x.to(.bfloat16))
        for (x, p) in [(x, 1.0), (x, -0.1), (row, 0.5), (narrow, 0.5)] {
            #expect(throws: TensorError.self) { try x.dropout(p, at: addresses, seed: 1, module: 0) }
        }
    }
}
