/* vera.h from plain C11: the header compiles, the library links, one pixel is rendered. */
#include "vera/vera.h"

#include <stdio.h>
#include <string.h>

int main(void) {
  const float curves[6] = {0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 1.0f};
  float lut[24]; /* the negative: node (r, g, b) holds (1 - r, 1 - g, 1 - b) */
  for (int i = 0; i < 8; ++i) {
    lut[3 * i] = (i & 1) ? 0.0f : 1.0f;
    lut[3 * i + 1] = (i & 2) ? 0.0f : 1.0f;
    lut[3 * i + 2] = (i & 4) ? 0.0f : 1.0f;
  }
  unsigned char pixel[3] = {0, 100, 255};
  const unsigned char expected[3] = {255, 155, 0};
  const vera_baked_look look = {curves, 2, lut, 2};
  vera_image image = {pixel, 1, 1, 3, VERA_PIXEL_FORMAT_RGB8};
  vera_render_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.strength = 1.0f;
  const vera_status status = vera_render(&look, &image, &image, &options);
  if (status != VERA_STATUS_OK || memcmp(pixel, expected, sizeof pixel) != 0) {
    fprintf(stderr, "libvera %s: %s, pixel %d %d %d\n", vera_version(), vera_status_text(status),
            pixel[0], pixel[1], pixel[2]);
    return 1;
  }
  return 0;
}
