import SwiftUI
import VeraMobile

/// The photo, and over it the result up to a line that the finger moves.
struct BeforeAfter: View {
  let before: Photo
  let after: Photo?
  @State private var share = 0.5

  var body: some View {
    GeometryReader { place in
      ZStack(alignment: .leading) {
        picture(before)
        if let after {
          picture(after)
            .mask(alignment: .leading) {
              Rectangle().frame(width: place.size.width * share)
            }
          Rectangle().frame(width: 2).offset(x: place.size.width * share)
        }
      }
      .gesture(
        DragGesture(minimumDistance: 0).onChanged { drag in
          share = min(1, max(0, drag.location.x / max(place.size.width, 1)))
        })
    }
    .aspectRatio(CGFloat(before.width) / CGFloat(before.height), contentMode: .fit)
    .accessibilityLabel("Before and after")
  }

  @ViewBuilder private func picture(_ photo: Photo) -> some View {
    switch Result(catching: { try photo.cgImage() }) {
    case .success(let image):
      Image(decorative: image, scale: 1).resizable().scaledToFit()
    case .failure(let error):
      Text(error.localizedDescription)
    }
  }
}
