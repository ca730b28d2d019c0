internal import PromptSets

extension ColumnMap {
    /// A map as the command line gives it: `name=column` each, as in `column_map`.
    ///
    /// - Throws: ``JobError`` for an entry without a name or an equals sign.
    init(arguments: [String]) throws(JobError) {
        var map: [String: String] = [:]
        for entry in arguments {
            guard let sign = entry.firstIndex(of: "="), sign != entry.startIndex else {
                throw JobError(
                    place: "--column-map '\(entry)'", message: "expected name=column, such as prompt=question")
            }
            map[String(entry[..<sign])] = String(entry[entry.index(after: sign)...])
        }
        self.init(map)
    }
}
