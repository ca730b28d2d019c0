/// What can be wrong with a prompt set. The description names file, line and column, what was found, and what would be
/// right.
package enum PromptSetError: Error, Equatable, CustomStringConvertible {
    /// The file or folder as a whole.
    case file(path: String, message: String)
    /// One row. `column` is the name of the column at fault, when there is one.
    case row(path: String, line: Int, column: String?, message: String)
    /// One row of a file that has no lines; `number` counts rows from 1.
    case record(path: String, number: Int, column: String?, message: String)
    /// What is asked of the set does not fit it.
    case use(set: String, message: String)

    package var description: String {
        switch self {
        case .file(let path, let message): "\(path): \(message)"
        case .row(let path, let line, let column?, let message): "\(path), line \(line), column \(column): \(message)"
        case .row(let path, let line, nil, let message): "\(path), line \(line): \(message)"
        case .record(let path, let number, let column?, let message):
            "\(path), row \(number), column \(column): \(message)"
        case .record(let path, let number, nil, let message): "\(path), row \(number): \(message)"
        case .use(let set, let message): "prompt set \(set): \(message)"
        }
    }
}

extension PromptSetError {
    /// The same error in a file without lines, where the line given is the row's number.
    var countingRows: PromptSetError {
        guard case .row(let path, let line, let column, let message) = self else { return self }
        return .record(path: path, number: line, column: column, message: message)
    }
}
