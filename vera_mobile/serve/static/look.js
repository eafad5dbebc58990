// A baked look on a photo by WebGL2: input curves, tetrahedral LUT, mix, rounding, as the C++ kernel
// does it. The texture unit's own filter is not used: it has 8 bits of fraction.

const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(corner * 4.0 - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler3D;
uniform sampler2D photo;
uniform sampler2D curves;  // K x 3, one row per channel
uniform sampler3D lut;     // N x N x N, x is red
uniform float strength;    // 0: the photo as it is
uniform float wipe;        // columns left of it show the photo as it is
out vec4 colour;

float curved(float x, int channel) {
  int knots = textureSize(curves, 0).x;
  float t = x * float(knots - 1);
  int i = min(int(t), knots - 2);
  float low = texelFetch(curves, ivec2(i, channel), 0).r;
  float high = texelFetch(curves, ivec2(i + 1, channel), 0).r;
  return low + (t - float(i)) * (high - low);
}

vec3 looked(vec3 rgb) {
  int last = textureSize(lut, 0).x - 1;
  vec3 position = clamp(rgb, 0.0, 1.0) * float(last);
  ivec3 node = min(ivec3(position), last - 1);
  vec3 f = position - vec3(node);
  // the corners that a walk along the largest fraction first meets
  ivec3 first, second;
  if (f.r >= f.g) {
    first = f.r >= f.b ? ivec3(1, 0, 0) : ivec3(0, 0, 1);
    second = f.g >= f.b ? ivec3(1, 1, 0) : ivec3(1, 0, 1);
  } else {
    first = f.g >= f.b ? ivec3(0, 1, 0) : ivec3(0, 0, 1);
    second = f.r >= f.b ? ivec3(1, 1, 0) : ivec3(0, 1, 1);
  }
  float high = max(f.r, max(f.g, f.b));
  float low = min(f.r, min(f.g, f.b));
  float middle = max(min(f.r, f.g), min(max(f.r, f.g), f.b));
  return (1.0 - high) * texelFetch(lut, node, 0).rgb
       + (high - middle) * texelFetch(lut, node + first, 0).rgb
       + (middle - low) * texelFetch(lut, node + second, 0).rgb
       + low * texelFetch(lut, node + 1, 0).rgb;
}

void main() {
  ivec2 size = textureSize(photo, 0);
  ivec2 at = ivec2(gl_FragCoord.x, float(size.y) - gl_FragCoord.y);
  vec4 source = texelFetch(photo, at, 0);
  vec3 rgb = source.rgb;
  if (strength > 0.0 && gl_FragCoord.x >= wipe * float(size.x)) {
    vec3 edited = looked(vec3(curved(rgb.r, 0), curved(rgb.g, 1), curved(rgb.b, 2)));
    rgb = clamp(rgb + strength * (edited - rgb), 0.0, 1.0);
  }
  colour = vec4(floor(rgb * 255.0 + 0.5) / 255.0, source.a);
}`;

/** Draws a photo with a look on a canvas. Throws where the browser has no WebGL2. */
export class LookCanvas {
  constructor(canvas) {
    this.canvas = canvas;
    const options = { alpha: true, premultipliedAlpha: false, preserveDrawingBuffer: true };
    const gl = canvas.getContext("webgl2", options);
    if (!gl) throw new Error("This browser has no WebGL2, which draws the photo: use another one.");
    this.gl = gl;
    this.strength = 1;
    this.wipe = 0.5;
    this.ready = false;
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.build();
      if (this.photo) this.setPhoto(...this.photo);
      if (this.look) this.setLook(...this.look);
    });
  }

  build() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.places = {};
    for (const name of ["photo", "curves", "lut", "strength", "wipe"]) {
      this.places[name] = gl.getUniformLocation(program, name);
    }
    this.textures = ["photo", "curves", "lut"].map((name, unit) => {
      const kind = name === "lut" ? gl.TEXTURE_3D : gl.TEXTURE_2D;
      const texture = gl.createTexture();
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(kind, texture);
      gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      gl.uniform1i(this.places[name], unit);
      return texture;
    });
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  }

  /** rgba: Uint8Array of width x height pixels, straight alpha, encoded in `space`. No look yet. */
  setPhoto(rgba, width, height, space) {
    const gl = this.gl;
    this.photo = [rgba, width, height, space];
    this.ready = false;
    this.canvas.width = width;
    this.canvas.height = height;
    if ("drawingBufferColorSpace" in gl) gl.drawingBufferColorSpace = space;
    gl.viewport(0, 0, width, height);
    gl.activeTexture(gl.TEXTURE0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    this.setLook(new Float32Array([0, 1, 0, 1, 0, 1]), 2, new Float32Array(24), 2, false);
  }

  /** curves: 3 x knots values; lut: size^3 x 3 values, red fastest. */
  setLook(curves, knots, lut, size, ready = true) {
    const gl = this.gl;
    this.look = [curves, knots, lut, size, ready];
    this.ready = ready;
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, knots, 3, 0, gl.RED, gl.FLOAT, curves);
    const nodes = new Float32Array(size ** 3 * 4);
    for (let i = 0; i < size ** 3; i += 1) nodes.set(lut.subarray(3 * i, 3 * i + 3), 4 * i);
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.RGBA32F, size, size, size, 0, gl.RGBA, gl.FLOAT, nodes);
    this.draw();
  }

  draw() {
    const gl = this.gl;
    if (!this.photo || gl.isContextLost()) return;
    gl.uniform1f(this.places.strength, this.ready ? this.strength : 0);
    gl.uniform1f(this.places.wipe, this.wipe);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 3);
  }
}
