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
            "Keeps the optimizer state (8 bytes per trained number for adamw_torch) in a file instead of memory: a step reads, changes and writes it parameter by parameter, so only the largest parameter's is ever in memory. A step takes longer by the disk's time to read and write it; no number of a run depends on it, and checkpoints are the same. Disk space is reserved before training starts, and freed however the run ends."
        )
        let path: String? = job.read(
            "offload_optimizer_path", optional: nil,
            "The folder whose disk holds that file; output_dir unless set. Best a local disk, not one in memory such as /dev/shm. Relative to the working directory."
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
