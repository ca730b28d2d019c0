internal import Foundation
internal import Runs

/// The files that a command writes, looked at before its work begins.
package enum CommandOutputs {
    /// Refuses a file that the command reads, that two options name, or that could not be written.
    ///
    /// - Parameters:
    ///   - outputs: The options that name a file to write; `nil` for one that is not given.
    ///   - inputs: What the command reads, whatever it is; `nil` for what is not given.
    /// - Throws: ``JobError`` naming the option, `RunError` naming the folder that cannot be written to.
    package static func check(_ outputs: [(option: String, path: String?)], reading inputs: [String?]) throws {
        let read = Set(inputs.compactMap(\.self).map { URL(filePath: $0).resolvedPath })
        var writers: [String: String] = [:]
        for (option, path) in outputs {
            guard let path else { continue }
            let url = URL(filePath: path)
            guard try FileOperations.system.requireWritable(url) else { continue }
            guard !read.contains(url.resolvedPath) else {
                throw JobError(place: option, message: "\(path) is the file that is read; name another")
            }
            if let other = writers.updateValue(option, forKey: url.resolvedPath) {
                throw JobError(place: option, message: "\(path) is the file of \(other), too; name another")
            }
        }
    }
}
