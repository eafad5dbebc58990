/// Which unit runs which program of a Core ML bundle, by its recipe.
///
/// What the exporter says of the recipes: `ios-int4` and `ios-int8` have the decoder's cache as a state,
/// which the Neural Engine refuses on some systems, so it runs on the GPU; `ios-ane` has fixed shapes
/// for the Neural Engine alone.
struct CoreMLUnits: Sendable, Equatable {
  let vision: ComputeUnit
  let decoder: ComputeUnit
  let head: ComputeUnit
  let bake: ComputeUnit
  let reference: ComputeUnit
  /// A look-up of rows: moving it to another unit costs more than it does.
  let embed = ComputeUnit.cpu

  /// - Parameter unit: nil: what the recipe is made for; else all programs run there, for
  ///   comparisons.
  /// - Throws: `unsupportedFormat` for the Neural Engine and a recipe whose decoder it refuses.
  init(recipe: String, unit: ComputeUnit? = nil) throws {
    let neural = recipe == "ios-ane"
    guard neural || unit != .npu else {
      throw VeraError(
        .unsupportedFormat,
        "Recipe \(recipe) has a decoder that the Neural Engine refuses: use the GPU, or ios-ane.")
    }
    let rest = unit ?? (neural ? .npu : .gpu)
    vision = unit ?? .npu
    reference = unit ?? .npu
    decoder = rest
    head = rest
    bake = rest
  }

  subscript(program: String) -> ComputeUnit {
    switch program {
    case "vision": vision
    case "decoder": decoder
    case "head": head
    case "bake": bake
    case "reference": reference
    default: embed
    }
  }
}
