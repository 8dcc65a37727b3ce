// swift-tools-version:5.7
// The C decoder as a library and a small player: `swift run fvcplay`. See README.md; not compiled by its authors.
import PackageDescription

let package = Package(
    name: "fvc",
    platforms: [.macOS(.v12), .iOS(.v15)],
    products: [.library(name: "CFvc", targets: ["CFvc"])],
    targets: [
        .target(
            name: "CFvc", path: "c", sources: ["fvc_decode.c"], publicHeadersPath: ".",
            cSettings: [.define("FVC_LIBRARY")]),
        .executableTarget(name: "fvcplay", dependencies: ["CFvc"], path: "swift"),
    ]
)
