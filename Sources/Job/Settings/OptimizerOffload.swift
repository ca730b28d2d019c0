package import Foundation
internal import Records
internal import Tensors

/// `offload_optimizer:`, whether what the optimizer keeps of the weights waits in a file while no step is taken.
package struct OptimizerOffload: Sendable {
    /// Where the file is made, without a name; `nil` keeps moments in memory.
    package let folder: URL?

    /// - Parameter outputDirectory: The run's folder.
    init(reading job: inout SettingsReader, outputDirectory: String, device: Device) {
        let isWanted = job.read(
            "offload_optimizer", default: false,
            "Keeps what the optimizer keeps of each trained number (8 bytes of adamw_torch) in a file and not in memory: a step reads, changes and writes it parameter by parameter, so that the largest parameter's is all that is ever in memory. A step takes as much longer as the disk needs to read and to write it; no number of a run depends on it, and checkpoints are the same. Its room is taken before training starts, and given back when the run ends, however it ends."
        )
        let path: String? = job.read(
            "offload_optimizer_path", optional: nil,
            "The folder whose disk that file is on; output_dir unless set. It is best a local disk, and none that is in memory itself, as /dev/shm is. Relative to the working directory."
        )
        if !isWanted { job.ignore("offload_optimizer_path") }
        if isWanted, device != .cpu {
            job.refuse(
                "offload_optimizer",
                "offload_optimizer is true with device \(device.yaml), where the step is computed; expected false, or device: cpu"
            )
        }
        folder = isWanted ? URL(filePath: path ?? outputDirectory) : nil
    }
}
