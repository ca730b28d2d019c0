import JSON
import Testing

@Suite("References that are answers with a number at their end")
struct ReferenceTests {
    /// Answers as the column `answer` of MATH holds them, and the number that each ends with or mentions.
    static let references: [(reference: String, number: String)] = [
        (#"x \leq 5"#, "5"),
        (#"x < -1"#, "-1"),
        (#"x \ge 3"#, "3"),
        (#"-2 < x < 3"#, "3"),
        (#"1 \le x \le 7"#, "7"),
        (#"\frac{1}{2} < x < 3"#, "3"),
        (#"x \neq 2"#, "2"),
        (#"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"#, "2"),
        (#"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}"#, "-1"),
        (#"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}"#, "-18/5"),
        (#"(-\infty, 2) \cup (3, \infty)"#, "3"),
        (#"[ -2, 5 ) \cup (7, \infty)"#, "7"),
        (#"x \in (-\infty,2) \cup (3,\infty)"#, "3"),
        (#"x \in (-\infty, -1] \cup [2, \infty)"#, "2"),
        (#"3 \pm 2\sqrt{2}"#, "2"),
        (#"x = 1 \pm \sqrt{19}"#, "19"),
        (#"x = \pm 3"#, "3"),
        (#"\frac{3 \pm \sqrt{5}}{2}"#, "2"),
        (#"2\alpha + \beta"#, "2"),
        (#"\alpha + 2\beta"#, "2"),
        (#"\theta = 2\alpha + 3"#, "3"),
        (#"3 : 4 : 5"#, "5"),
        (#"6 : 5"#, "5"),
        (#"2 hours 30 minutes"#, "30"),
        (#"March 5, 2021"#, "2021"),
        (#"5:30 p.m."#, "30"),
        (#"7 remainder 2"#, "2"),
        (#"3 \text{ R } 2"#, "2"),
        (#"5 \pmod{9}"#, "9"),
        (#"n \equiv 3 \pmod{5}"#, "5"),
        (#"11 \sqrt{3} \pmod{7}"#, "7"),
        (#"2 \cos 40^\circ"#, "40"),
        (#"\tan 15^\circ + 1"#, "1"),
        (#"2 \sin x"#, "2"),
        (#"\sqrt{2} \sin x"#, "2"),
        (#"\log_2 3 + 1"#, "1"),
        (#"\ln 2 + 3"#, "3"),
        (#"2 \arctan 3"#, "3"),
        (#"\arcsin \frac{1}{3}"#, "1/3"),
        (#"\{ x : x > 3 \}"#, "3"),
        (#"| x - 1 |"#, "1"),
        (#"\lfloor x \rfloor + 1"#, "1"),
        (#"F_{n+1} - 1"#, "1"),
        (#"p \mid 12"#, "12"),
        (#"k \in \{ 1, 2 \}"#, "2"),
        (#"x^2 + y^2 = 25"#, "25"),
        (#"2x - y + 3z + 8 = 0"#, "0"),
        (#"x^2 + 2x + 1"#, "1"),
        (#"y = 2x + 3"#, "3"),
        (#"2 H_2 O"#, "2"),
        (#"Team 3 wins"#, "3"),
        (#"Room 101 B"#, "101"),
        (#"about 5 miles north of Paris"#, "5"),
        (#"all real numbers except 3"#, "3"),
        (#"\text{all real numbers } x \text{ such that } x > 3"#, "3"),
        (#"all real numbers x such that x > 3"#, "3"),
        (#"all integers between 1 and 3"#, "3"),
        (#"all values of $x$ with $x > 3$"#, "3"),
        (#"the ratio of boys to girls is 3 : 4"#, "4"),
        (#"\text{Version 2 of it}"#, "2"),
        (#"S_4 acts on 5 points"#, "5"),
        (#"2^{n} - 1"#, "1"),
        (#"1 + 2 + \cdots + n"#, "2"),
        (#"A \cap B = \{ 1, 2 \}"#, "2"),
        (#"\left( 3, \frac{\pi}{2} \right)"#, "3"),
    ]

    @Test func theReferenceItselfIsRightAndItsNumberAloneIsNot() throws {
        for (reference, number) in Self.references {
            let spellings = reference.contains("$") ? [reference] : [reference, "$\(reference)$"]
            for spelling in spellings {
                let columns: [String: JSONValue] = ["answer": .string(spelling)]
                #expect(try score("accuracy_reward", "\\boxed{\(reference)}", columns).score == 1, "\(spelling)")
                #expect(try score("accuracy_reward", "\\boxed{\(number)}", columns).score == 0, "\(spelling)")
            }
        }
    }

    @Test func aFormulaAtTheEndIsAnAnswerToo() throws {
        for (reference, _) in Self.references where !reference.contains("$") {
            let columns: [String: JSONValue] = ["answer": .string(reference)]
            #expect(try score("accuracy_reward", "So we have $\(reference)$.", columns).score == 1, "\(reference)")
        }
    }
}
