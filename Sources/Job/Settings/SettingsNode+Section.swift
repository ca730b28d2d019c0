internal import Records

/// Members of a section inside a list, as `datasets` and `eval_guard` have them.
extension SettingsNode {
    /// The value of a member.
    ///
    /// - Throws: a problem that says what was found and what would be right.
    func value<Value: SettingsValue>(
        _ key: String, of section: String, _ expectation: String, _ holds: (Value) -> Bool
    ) throws(SettingsProblem) -> Value {
        guard let value = try Value.read(self), holds(value) else {
            throw problem("\(section): \(key) is \(found); expected \(expectation)")
        }
        return value
    }

    /// The problem of a member that the section does not have.
    func unknownKey(_ key: String, of section: String, among keys: [String]) -> SettingsProblem {
        let near = nearestNames(to: key, among: keys)
        return problem(
            "\(section): unknown key '\(key)'; "
                + (near.isEmpty
                    ? "expected \(keys.joined(separator: ", "))" : "did you mean \(near.joined(separator: ", "))?"))
    }
}
