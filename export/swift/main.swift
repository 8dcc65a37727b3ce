// Draws a .fvc stream with the exported Core ML models: frames as PNG files.
//
//     swift run fvcplay MODELS priors.bin talk.fvc talk.fvs SOURCE_PNG... OUT
//
// MODELS is what `fvc export coreml` wrote; shape.bin lies beside priors.bin; the PNGs are the pictures of the .fvs, in
// its order (README.md says how to get them). Only embed and draw are needed: a receiver. Written against the
// documentation of Core ML; not compiled and not run by its authors, who have no Mac.
import CFvc
import CoreGraphics
import CoreImage
import CoreML
import Foundation

struct Failure: Error, CustomStringConvertible {
    let description: String
}

func check(_ rule: Int32, _ what: String) throws {
    if rule != 0 { throw Failure(description: "\(what): rule E\(rule) of bitstream_spec.md") }
}

// MARK: - Integers to values (5.1, 7.1) and to what the networks take (8.2)

struct Quantizer {
    let bits: Int
    let low: Float
    let high: Float

    func value(_ q: UInt16) -> Float { low + Float(q) * (high - low) / Float((1 << bits) - 1) }
}

let sup = 0, unsup = 1, jac = 2, expr = 3, shape = 4  // FVC_SUP ...
let componentCount = [66, 20, 40, 16, 66]
let points = 43, supPoints = 33

typealias Parts = [Int: [Float]]

/// shape.bin (A.3): what makes landmarks of coefficients (8.2).
struct Basis {
    private let numbers: [Float]  // mean, then the rows of basis

    init(_ file: URL) throws {
        let bytes = [UInt8](try Data(contentsOf: file)), n = componentCount[shape]
        guard bytes.count == 2 * (n + n * n) else { throw Failure(description: "\(file.path): not shape.bin") }
        numbers = (0..<(n + n * n)).map { at in
            let bits = UInt16(bytes[2 * at]) << 8 | UInt16(bytes[2 * at + 1])
            return Float(Int16(bitPattern: bits)) / 16384
        }
    }

    func landmarks(_ coefficients: [Float]) -> [Float] {
        let n = componentCount[shape]
        var sums = Array(numbers[0..<n])
        for k in 0..<n {
            for j in 0..<n { sums[j] += coefficients[k] * numbers[n + k * n + j] }
        }
        return sums
    }
}

func array(_ shape: [Int], _ fill: (Int) -> Float) throws -> MLMultiArray {
    let made = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
    let floats = made.dataPointer.bindMemory(to: Float.self, capacity: made.count)
    for n in 0..<made.count { floats[n] = fill(n) }
    return made
}

/// position, jacobian, presence and expression for one sample, or for several sources in a row.
func inputs(_ samples: [Parts]) throws -> [String: MLMultiArray] {
    let count = samples.count
    let position = try array([count, points, 2]) { n in
        let sample = samples[n / (2 * points)], at = n % (2 * points)
        if at < 2 * supPoints { return sample[sup]?[at] ?? 0 }
        return sample[unsup]?[at - 2 * supPoints] ?? 0
    }
    let jacobian = try array([count, points, 2, 2]) { n in
        let sample = samples[n / (4 * points)], at = n % (4 * points)
        let identity: Float = at % 4 == 0 || at % 4 == 3 ? 1 : 0
        return at < 4 * supPoints ? identity : sample[jac]?[at - 4 * supPoints] ?? identity
    }
    let presence = try array([count, points]) { n in
        samples[n / points][n % points < supPoints ? sup : unsup] == nil ? 0 : 1
    }
    let expression = try array([1, 16]) { n in samples[0][expr]?[n] ?? 0.5 }
    return ["position": position, "jacobian": jacobian, "presence": presence, "expression": expression]
}

/// What draw takes of the frames before: positions 1 to 4 fifteenths of a second ago (bitstream_spec.md, section 8.2).
final class Recent {
    static let moments = 4
    private let back: [Int64]
    private var shown: [(number: Int64, position: MLMultiArray)] = []

    init(fps: (Int64, Int64)) {
        back = (1...Int64(Recent.moments)).map { (2 * $0 * fps.0 + 15 * fps.1) / (30 * fps.1) }  // rounded, in frames
    }

    /// The array for draw, once `position` is drawn as frame `number`.
    func add(_ number: UInt64, _ position: MLMultiArray) throws -> MLMultiArray {
        let now = Int64(number)
        shown.append((now, position))
        while shown.count > 1 && shown[1].number <= now - back.last! { shown.removeFirst() }
        let at = back.map { frames in shown.last(where: { $0.number <= now - frames }) ?? shown[0] }
        return try array([Recent.moments, points, 2]) { n in at[n / (2 * points)].position[n % (2 * points)].floatValue }
    }
}

/// Which sources a frame is drawn from: the nearest four (bitstream_spec.md, section 8.2).
struct Nearest {
    static let most = 4
    static let confidence = (tensor: 3, channel: 2)  // of the embedding

    /// Numbers of the sources, ascending, and what is added to their confidences.
    static func choose(_ sources: MLMultiArray, _ now: [String: MLMultiArray]) -> (numbers: [Int], logShares: [Float]) {
        let count = sources.shape[0].intValue
        if count <= most { return (Array(0..<count), Array(repeating: 0, count: count)) }
        let presence = (0..<points).map { now["presence"]![$0].floatValue }
        let recent = now["recent"]!
        let poses = [centred(now["position"]!, 0, presence)] + (0..<Recent.moments).map { centred(recent, $0, presence) }
        let apart = (0..<count).map { n -> Float in
            let source = centred(sources, n, presence)
            return poses.reduce(0) { sum, pose in sum + zip(pose, source).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
        }
        let order = (0..<count).sorted { (apart[$0], $0) < (apart[$1], $1) }
        let numbers = order[..<most].sorted(), limit = apart[order[most]]
        return (numbers, numbers.map { limit > 0 ? log(min(max((1 - apart[$0] / limit) / 0.3, 1e-4), 1)) : 0 })
    }

    /// The keypoints of one row about their mean; those that are absent: 0.
    private static func centred(_ rows: MLMultiArray, _ row: Int, _ presence: [Float]) -> [Float] {
        let values = (0..<2 * points).map { rows[2 * points * row + $0].floatValue }
        let count = presence.reduce(0, +)
        let mean = (0..<2).map { axis in (0..<points).reduce(Float(0)) { $0 + values[2 * $1 + axis] * presence[$1] } / count }
        return values.indices.map { (values[$0] - mean[$0 % 2]) * presence[$0 / 2] }
    }

    /// The rows of these sources in a tensor [N, ...].
    static func rows(_ tensor: MLMultiArray, _ numbers: [Int]) throws -> MLMultiArray {
        let shape = tensor.shape.map { $0.intValue }, size = shape.dropFirst().reduce(1, *)
        return try array([numbers.count] + shape.dropFirst()) { n in tensor[numbers[n / size] * size + n % size].floatValue }
    }

    /// Confidences with the logarithms of the shares added to them.
    static func raised(_ tensor: MLMultiArray, _ logShares: [Float]) throws -> MLMultiArray {
        let shape = tensor.shape.map { $0.intValue }, pixels = shape[2] * shape[3]
        return try array(shape) { n in
            let isConfidence = (n / pixels) % shape[1] == confidence.channel
            return tensor[n].floatValue + (isConfidence ? logShares[n / (pixels * shape[1])] : 0)
        }
    }
}

// MARK: - The stream

final class Stream {
    private let bytes: [UInt8]
    private var at = 0
    private let priors = UnsafeMutablePointer<fvc_priors>.allocate(capacity: 1)
    private let decoder = UnsafeMutablePointer<fvc_decoder>.allocate(capacity: 1)
    private let basis: Basis
    private var quantizers: [Int: Quantizer] = [:]
    private var parts: [Int] = []
    private(set) var fps: (Int64, Int64) = (15, 1)  // frames in so many seconds

    /// The parts that are drawn from: sup where the stream has shape.
    var drawn: [Int] { parts.map { $0 == shape ? sup : $0 } }

    init(_ stream: URL, priors priorsFile: URL) throws {
        bytes = [UInt8](try Data(contentsOf: stream))
        let table = [UInt8](try Data(contentsOf: priorsFile))
        basis = try Basis(priorsFile.deletingLastPathComponent().appendingPathComponent("shape.bin"))
        try check(fvc_read_priors(priors, table, table.count), "priors.bin")
        var header = fvc_header()
        try check(fvc_read_header(&header, bytes, bytes.count, &at), "header")
        fvc_start(decoder, priors, &header)
        fps = (Int64(header.fps_numerator), Int64(header.fps_denominator))
        let (bits, low, high) = (list(header.bits), list(header.low), list(header.high))
        parts = list(header.part).prefix(Int(header.parts)).map { Int($0) }
        for part in parts {
            quantizers[part] = Quantizer(bits: Int(bits[part]), low: Float(low[part]) / 256, high: Float(high[part]) / 256)
        }
    }

    deinit {
        priors.deallocate()
        decoder.deallocate()
    }

    /// The next frame's number and parts (nil: hold the last picture), or nil at the end. Sound is passed over.
    func next() throws -> (number: UInt64, parts: Parts?)? {
        while at < bytes.count {
            var packet = fvc_packet()
            var held: Int32 = 0
            // payloads point into `bytes`, so they are used before the closure ends
            let rules: (read: Int32, take: Int32) = bytes.withUnsafeBufferPointer { buffer in
                var rule = fvc_read_packet(&packet, buffer.baseAddress, buffer.count, &at)
                if rule == 0 { rule = fvc_number(decoder, &packet) }
                let isFrame = ![FVC_AUDIO, FVC_END, FVC_LAYER].contains { packet.kind == Int32($0) }
                return (rule, rule == 0 && isFrame ? fvc_take(decoder, &packet, &held) : 0)
            }
            try check(rules.read, "packet")
            if packet.kind == Int32(FVC_END) { return nil }
            if packet.kind == Int32(FVC_AUDIO) || packet.kind == Int32(FVC_LAYER) { continue }
            if rules.take != 0 || held != 0 { return (packet.number, nil) }  // a damaged frame is held as well
            var found: Parts = [:]
            for part in parts {
                let integers = UnsafeBufferPointer(start: fvc_integers(decoder, Int32(part)), count: componentCount[part])
                found[part] = integers.map { quantizers[part]!.value($0) }
            }
            if let coefficients = found.removeValue(forKey: shape) { found[sup] = basis.landmarks(coefficients) }
            return (packet.number, found)
        }
        return nil
    }
}

/// A C array, which Swift sees as a tuple.
func list<T>(_ tuple: T) -> [Int32] {
    withUnsafeBytes(of: tuple) { [Int32]($0.bindMemory(to: Int32.self)) }
}

/// The parts of all sources of a .fvs, of those that the stream has.
func sourceSamples(_ file: URL, parts: [Int]) throws -> [Parts] {
    let ranges: [Int: Quantizer] = [
        sup: Quantizer(bits: 16, low: -2, high: 2), unsup: Quantizer(bits: 16, low: -2, high: 2),
        jac: Quantizer(bits: 16, low: -15, high: 15), expr: Quantizer(bits: 16, low: 0, high: 1),
    ]
    let bytes = [UInt8](try Data(contentsOf: file))
    let sources = UnsafeMutablePointer<fvc_sources>.allocate(capacity: 1)
    defer { sources.deallocate() }
    try check(fvc_read_sources(sources, bytes, bytes.count), "source set")
    return (0..<Int(sources.pointee.count)).map { n in
        var sample: Parts = [:]
        for part in parts {
            let integers = UnsafeBufferPointer(
                start: fvc_source_integers(sources, Int32(n), Int32(part)), count: componentCount[part])
            sample[part] = integers.map { ranges[part]!.value($0) }
        }
        return sample
    }
}

// MARK: - Models and pictures

func load(_ name: String, from folder: URL) throws -> MLModel {
    let compiled = try MLModel.compileModel(at: folder.appendingPathComponent("\(name).mlpackage"))
    return try MLModel(contentsOf: compiled)
}

func pixelBuffer(_ file: URL, _ context: CIContext) throws -> CVPixelBuffer {
    guard let image = CIImage(contentsOf: file) else { throw Failure(description: "\(file.path): no picture") }
    var made: CVPixelBuffer?
    CVPixelBufferCreate(nil, 256, 256, kCVPixelFormatType_32BGRA, nil, &made)
    guard let buffer = made else { throw Failure(description: "no memory") }
    context.render(image, to: buffer, bounds: CGRect(x: 0, y: 0, width: 256, height: 256), colorSpace: nil)
    return buffer
}

func run() throws {
    let arguments = CommandLine.arguments.dropFirst().map { URL(fileURLWithPath: $0) }
    guard arguments.count >= 6 else {
        throw Failure(description: "usage: fvcplay MODELS priors.bin IN.fvc IN.fvs SOURCE_PNG... OUT")
    }
    let (models, out, pictures) = (arguments[0], arguments.last!, Array(arguments[4..<(arguments.count - 1)]))
    let stream = try Stream(arguments[2], priors: arguments[1])
    let samples = try sourceSamples(arguments[3], parts: stream.drawn)
    guard samples.count == pictures.count else { throw Failure(description: "\(samples.count) pictures are needed") }
    try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)

    // Once: the source pictures and their samples.
    let context = CIContext(options: [.workingColorSpace: NSNull()])  // pixels as they are
    let source = try inputs(samples)
    var given: [String: Any] = ["position": source["position"]!, "jacobian": source["jacobian"]!]
    given["presence"] = source["presence"]!
    for (n, picture) in pictures.enumerated() { given["source\(n)"] = try pixelBuffer(picture, context) }
    let embed = try load("embed", from: models), draw = try load("draw", from: models)
    let embedding = try embed.prediction(from: MLDictionaryFeatureProvider(dictionary: given))

    // What draw takes: all that embed gave, and, last of the embedding, the sources' own position and jacobian.
    var state: [String: MLMultiArray] = [:]
    let names = draw.modelDescription.inputDescriptionsByName.keys.filter { $0.hasPrefix("embedding") }.sorted()
    for name in names { state[name] = embedding.featureValue(for: name)?.multiArrayValue }
    for (name, port) in zip(names.filter { state[$0] == nil }, ["position", "jacobian"]) { state[name] = source[port]! }
    var chosen: [Int] = []
    var rows: [String: MLMultiArray] = [:]

    // Every frame.
    let recent = Recent(fps: stream.fps)
    var last: CVPixelBuffer?
    var drawn = 0, seconds = 0.0
    while let frame = try stream.next() {
        if let parts = frame.parts ?? (last == nil ? samples[0] : nil) {
            let start = Date()
            var now = try inputs([parts])
            now["recent"] = try recent.add(frame.number, now["position"]!)
            let (numbers, logShares) = Nearest.choose(source["position"]!, now)
            if numbers != chosen { (chosen, rows) = (numbers, try state.mapValues { try Nearest.rows($0, numbers) }) }
            var all: [String: Any] = rows.merging(now) { _, new in new }
            let confidences = names[Nearest.confidence.tensor]
            all[confidences] = try Nearest.raised(rows[confidences]!, logShares)
            let result = try draw.prediction(from: MLDictionaryFeatureProvider(dictionary: all))
            last = result.featureValue(for: "picture")?.imageBufferValue
            drawn += 1
            seconds += Date().timeIntervalSince(start)
        }
        guard let picture = last else { continue }
        let file = out.appendingPathComponent(String(format: "%05d.png", frame.number))
        try context.writePNGRepresentation(
            of: CIImage(cvPixelBuffer: picture), to: file, format: .RGBA8, colorSpace: CGColorSpace(name: CGColorSpace.sRGB)!)
    }
    print("\(drawn) frames drawn, \(String(format: "%.2f", 1000 * seconds / Double(max(drawn, 1)))) ms each")
}

do {
    try run()
} catch {
    FileHandle.standardError.write("fvcplay: \(error)\n".data(using: .utf8)!)
    exit(1)
}
