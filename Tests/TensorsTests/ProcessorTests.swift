#if canImport(Glibc) && arch(x86_64)
import Glibc
import Tensors
import Testing

@Suite("The matrix kernels go by the instructions of the processor")
struct ProcessorTests {
    /// A program that did not export its answer would leave libtorch's own in place, and nobody would see it but by the
    /// time that a product takes.
    @Test(arguments: ["mkl_serv_intel_cpu", "mkl_serv_intel_cpu_true"])
    func theProgramAnswersWhatMKLAsks(_ name: String) throws {
        let library = try #require(dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD))
        guard let libtorchs = dlsym(library, name) else { return }  // built without MKL
        let answering = try #require(dlsym(nil, name))
        #expect(answering != libtorchs)
        typealias Question = @convention(c) () -> CInt
        #expect(unsafeBitCast(answering, to: Question.self)() == 1)
    }
}
#endif
