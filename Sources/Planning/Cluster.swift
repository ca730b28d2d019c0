/// The devices a plan is for: equal nodes of equal devices.
package struct Cluster: Sendable, Hashable {
    package var nodes: Int
    /// A power of two.
    package var devicesPerNode: Int
    /// Memory of one device.
    package var memoryBytes: Int
    /// Bandwidth between two devices of a node, 10⁹ bytes a second.
    package var intraGBps: Double
    /// Bandwidth between two nodes.
    package var interGBps: Double
    /// Bandwidth between a device and its memory.
    package var hbmGBps: Double
    /// Bandwidth between a device and its host's memory, for what is offloaded.
    package var hostGBps: Double
    /// Matrix products of one device, 10¹² operations a second.
    package var peakTFLOPs: Double

    package init(
        nodes: Int, devicesPerNode: Int, memoryBytes: Int, intraGBps: Double, interGBps: Double, hbmGBps: Double,
        hostGBps: Double = 16, peakTFLOPs: Double
    ) {
        self.nodes = nodes
        self.devicesPerNode = devicesPerNode
        self.memoryBytes = memoryBytes
        self.intraGBps = intraGBps
        self.interGBps = interGBps
        self.hbmGBps = hbmGBps
        self.hostGBps = hostGBps
        self.peakTFLOPs = peakTFLOPs
    }

    package var devices: Int { nodes * devicesPerNode }
}

/// The devices of one call: some slots of one node, or whole nodes.
package struct Mesh: Sendable, Hashable, CustomStringConvertible {
    package var nodes: Range<Int>
    package var slots: Range<Int>

    package init(nodes: Range<Int>, slots: Range<Int>) {
        self.nodes = nodes
        self.slots = slots
    }

    /// Every device.
    package init(all cluster: Cluster) {
        self.init(nodes: 0..<cluster.nodes, slots: 0..<cluster.devicesPerNode)
    }

    package var size: Int { nodes.count * slots.count }

    /// The devices' numbers, counted through the nodes.
    package func ranks(in cluster: Cluster) -> [Int] {
        nodes.flatMap { node in slots.map { node * cluster.devicesPerNode + $0 } }
    }

    package var description: String {
        nodes.count == 1
            ? "node \(nodes.lowerBound) slots \(slots.lowerBound)..<\(slots.upperBound)"
            : "nodes \(nodes.lowerBound)..<\(nodes.upperBound)"
    }

    /// Why a cluster has no such mesh (rule V1); `nil` when it has.
    package func problem(in cluster: Cluster) -> String? {
        let slotsOfNode = cluster.devicesPerNode
        guard nodes.lowerBound >= 0, !nodes.isEmpty, nodes.upperBound <= cluster.nodes, slots.lowerBound >= 0,
            !slots.isEmpty, slots.upperBound <= slotsOfNode
        else { return "lies outside the \(cluster.nodes) nodes of \(slotsOfNode) devices, or is empty" }
        guard slots.count < slotsOfNode else { return nil }
        if nodes.count > 1 { return "takes a part of several nodes; beyond one node a mesh has whole nodes" }
        guard slots.count.nonzeroBitCount == 1, slots.lowerBound.isMultiple(of: slots.count) else {
            return "has slots \(slots.lowerBound)..<\(slots.upperBound) of a node; a mesh inside a node has 1, 2, 4, … "
                + "slots, from a multiple of as many on"
        }
        return nil
    }

    /// Every mesh of a cluster, the small ones first.
    ///
    /// - Parameter least: Devices that it has at least.
    package static func all(in cluster: Cluster, least: Int = 1) -> [Mesh] {
        var meshes: [Mesh] = []
        var size = 1
        while size < cluster.devicesPerNode {
            for node in 0..<cluster.nodes {
                for start in stride(from: 0, to: cluster.devicesPerNode, by: size) {
                    meshes.append(Mesh(nodes: node..<node + 1, slots: start..<start + size))
                }
            }
            size *= 2
        }
        for count in 1...cluster.nodes {
            for first in 0...cluster.nodes - count {
                meshes.append(Mesh(nodes: first..<first + count, slots: 0..<cluster.devicesPerNode))
            }
        }
        return meshes.filter { $0.size >= least }
    }
}
