import Tensors
import TestSupport

/// Numbers for tests: uniform in −1 ..< 1, from the library's own addressed generator.
struct RandomValues {
    let seed: UInt64
    private var tensors = 0

    init(seed: UInt64) { self.seed = seed }

    mutating func doubles(_ count: Int) -> [Double] {
        tensors += 1
        return (0..<count).map {
            RandomAddress(row: tensors, token: $0 >> 12, slot: $0 & 4095).uniform(seed: seed, stream: .initialization)
                * 2
                - 1
        }
    }

    mutating func tensor(_ shape: [Int], _ type: ElementType = .float64) throws -> Tensor {
        try Tensor(doubles(shape.reduce(1, *)), shape: shape).to(type)
    }

    mutating func integer(_ range: Range<Int>) -> Int {
        range.lowerBound + Int((doubles(1)[0] + 1) / 2 * Double(range.count))
    }
}

/// The relative distance of all elements; where only zeros are expected, the largest one found.
func relativeDistance(_ a: Tensor, _ b: Tensor) throws -> Double {
    let (found, expected) = (try a.doubles(), try b.doubles())
    guard expected.contains(where: { $0 != 0 }) else { return largestDifference(found, expected) }
    return TestSupport.relativeDistance(found, expected)
}
