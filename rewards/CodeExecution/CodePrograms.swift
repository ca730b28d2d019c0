/// The Python programs that hold a completion's code against tests. The standard library is all they need.
///
/// The *judge* runs the tests, the *subject* the completion's code, and each is shut in on its own: the subject cannot
/// reach the judge's memory, its exit code, or what the tests expect. The judge ends with 0 when the tests came to
/// their end, with 10 when they did not, and with ``noPython`` when they are none; the reason is the last line of
/// stderr.
enum CodePrograms {
    static let noPython = 11

    static let judge = text(PackageResources.link_py) + text(PackageResources.judge_py)
    static let subject = text(PackageResources.link_py) + text(PackageResources.subject_py)

    /// A test that calls a function with arguments and compares the result; `JOB` stands for a text with `name`,
    /// `input`, `output` as JSON.
    static let call = text(PackageResources.call_py)

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) + "\n" }
}
