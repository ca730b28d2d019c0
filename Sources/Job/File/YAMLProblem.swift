internal import Records
internal import Yams

extension SettingsProblem {
    /// What the YAML parser refused, with the line it stands in.
    ///
    /// - Parameters:
    ///   - text: What was parsed.
    ///   - name: What messages call it, usually the file's name.
    init(yaml error: any Error, in text: String, name: String) {
        switch error as? YamlError {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let context = context.map { "\($0.text) that begins in line \($0.mark.line): " } ?? ""
            self.init(place: "\(name) line \(mark.line)", message: "this is no YAML: \(context)\(problem)")
        case .duplicatedKeysInMapping(let keys, _):
            let key = keys.first ?? ""
            let lines = Self.lines(of: key, in: text)
            self.init(
                place: lines.last.map { "\(name) line \($0)" } ?? name,
                message: "the key '\(key)' stands twice"
                    + (lines.count > 1 ? ", first in line \(lines[0])" : "") + "; keep one")
        case .reader(let problem, _, _, _):
            self.init(place: name, message: "this is no YAML text: \(problem)")
        default:
            self.init(place: name, message: "this is no YAML: \(error)")
        }
    }

    /// The lines, from 1, that begin with `key:`.
    private static func lines(of key: String, in text: String) -> [Int] {
        text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated().filter { _, line in
            let parts = line.drop(while: \.isWhitespace).split(separator: ":", maxSplits: 1)
            return parts.first.map { $0.trimmingSuffix(while: \.isWhitespace) == key } ?? false
        }.map { $0.offset + 1 }
    }
}

extension Substring {
    fileprivate func trimmingSuffix(while isTrimmed: (Character) -> Bool) -> Substring {
        var rest = self
        while let last = rest.last, isTrimmed(last) { rest.removeLast() }
        return rest
    }
}
