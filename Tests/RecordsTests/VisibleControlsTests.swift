import Records
import Testing

@Suite("Control characters of foreign texts show")
struct VisibleControlsTests {
    @Test(arguments: [
        ("\u{1B}[31mred\u{7}", "\\u{1B}[31mred\\u{7}"), ("a\r\nb", "a\\u{D}\nb"),
        ("\u{9B}2J\u{7F}", "\\u{9B}2J\\u{7F}"),
        ("\u{202E}gnp.exe", "\\u{202E}gnp.exe"), ("\0", "\\u{0}"),
    ]) func theyStandAsTheirNumbers(_ text: String, _ shown: String) {
        #expect(text.withVisibleControls == shown)
    }

    @Test(arguments: ["", "plain\n\ttext", "Ünï 日本語 🙂", "👨‍👩‍👧 עברית العربية"]) func everythingElseStays(_ text: String) {
        #expect(text.withVisibleControls == text)
    }
}
