/// What calls take, on a cluster it knows.
package protocol CostModel: Sendable {
    /// Nanoseconds of one call, from the moment its devices are free.
    func nanoseconds(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) throws(PlanError) -> Int
    /// Whether it can say what such an assignment takes; a search leaves others out.
    func knows(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Bool
    /// Nanoseconds of making a layout of weights that lie on the device in another one.
    ///
    /// - Parameter weightBytes: Of what is made.
    func conversionNanoseconds(
        to layout: WeightLayout, weightBytes: Int, _ shape: ModelShape, _ cluster: Cluster
    ) -> Int
    /// Whether the plan's calls are those of a run of this build. What it trains in shards it brings to other shards, or
    /// together once, as float32, and makes every other layout of that; of what it trains whole it reads shards where
    /// they lie. Moments that are offloaded never come back as a whole: their step has them parameter by parameter, and
    /// ``nanoseconds(_:_:_:)`` of the call says what that takes.
    var isOfThisBuild: Bool { get }
}

extension CostModel {
    package var isOfThisBuild: Bool { false }

    package func knows(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Bool { true }

    package func conversionNanoseconds(
        to layout: WeightLayout, weightBytes: Int, _ shape: ModelShape, _ cluster: Cluster
    ) -> Int { Self.copying(weightBytes, cluster) }

    /// Reading one layout and writing the other at the rate of the device's memory.
    static func copying(_ weightBytes: Int, _ cluster: Cluster) -> Int {
        Nanoseconds.rounded(Double(2 * weightBytes) / (cluster.hbmGBps * 1e9) * 1e9)
    }
}
