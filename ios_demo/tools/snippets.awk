# Each ```swift block of a Markdown file as a function, in a context where its names mean something.
BEGIN {
  print "import Foundation\nimport VeraMobile\n"
  print "func show(_ values: Any...) {}\n"
}
/^ *```swift$/ {
  inside = 1
  count++
  print "func snippet" count "("
  print "  url: URL, vera: VeraRetoucher, photo: Photo, look: Look, file: Data, out: URL, cube: URL"
  print ") async throws {"
  next
}
/^ *```$/ {
  if (inside) print "}\n"
  inside = 0
}
inside { print "  " $0 }
END { if (count == 0) print "#error(\"no snippet\")" }
