// Parts of the SDK's core that need no planner.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "sdk/cube.h"
#include "sdk/exact_math.h"
#include "sdk/failure.h"
#include "sdk/fake_bundle.h"
#include "sdk/json.h"
#include "sdk/look.h"
#include "sdk/prompt.h"
#include "sdk/sampling.h"
#include "sdk/sha256.h"
#include "sdk/tokenizer.h"
#include "sdk/unicode.h"

namespace vera {
namespace {

std::string HashOf(const std::string& text) {
  Sha256 hash;
  hash.Update(text.data(), text.size());
  return hash.HexDigest();
}

// FIPS 180-4, and NIST's "SHA-256 example values".
TEST(Sha256, FipsVectors) {
  EXPECT_EQ(HashOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HashOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HashOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(HashOf(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PortionsMatchWhole) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
  for (const size_t portion : {1u, 3u, 63u, 64u, 65u, 200u}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += portion) {
      const std::string part = text.substr(at, portion);
      hash.Update(part.data(), part.size());
    }
    EXPECT_EQ(hash.HexDigest(), HashOf(text)) << portion;
  }
}

TEST(Sha256, InstructionsMatchPlainCode) {
  std::mt19937 random(1);
  std::vector<uint8_t> data(64 * 9);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  uint32_t a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = b[i] = static_cast<uint32_t>(random());
  MixBlocksPlain(a, data.data(), 9);
  MixBlocks(b, data.data(), 9);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(a[i], b[i]);
}

TEST(Json, RefusesWhatIsNoJson) {
  Json value;
  for (const char* text : {"", "{", "[1,]", "{\"a\":NaN}", "{\"a\":1e999}", "nul", "\"\xff\"",
                           "{\"a\":1}x", "'a'", "{\"a\":\"\\ud800\"}"}) {
    EXPECT_FALSE(ParseJson(text, &value)) << text;
  }
  EXPECT_FALSE(ParseJson(std::string(70, '[') + std::string(70, ']'), &value));
  EXPECT_FALSE(ParseJson(std::string(5000000, '['), &value));
  EXPECT_TRUE(ParseJson("{\"a\":\"[[\\\"[[\",\"b\":[1,2]}", &value));
}

TEST(Json, TextsAreAsPythonWritesThem) {
  EXPECT_EQ(JsonString("a\"b\\c\n\t\x01\x7f/\u00e9\U0001F600"),
            "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f/\\u00e9\\ud83d\\ude00\"");
  EXPECT_EQ(FloatText(1.0f), "1.0");
  EXPECT_EQ(FloatText(0.0f), "0.0");
  EXPECT_EQ(FloatText(0.8f), "0.8");
  EXPECT_EQ(FloatText(1.5f), "1.5");
  EXPECT_EQ(FloatText(0.1f), "0.1");
  EXPECT_EQ(FloatText(1e-5f), "1e-05");
  EXPECT_EQ(FloatText(0.0001f), "0.0001");
  EXPECT_EQ(FloatText(1.0f / 3), "0.33333334");
  EXPECT_EQ(FloatText(1.25e-7f), "1.25e-07");
}

TEST(Json, EveryFloatReadsBack) {
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) {
    const float value = static_cast<float>(random() % 1500001) / 1e6f;
    EXPECT_EQ(std::strtof(FloatText(value).c_str(), nullptr), value);
  }
}

TEST(Unicode, WhatIsNoUtf8BecomesReplacements) {
  EXPECT_EQ(LossyUtf8("a\xE4\xB8z"), "a\uFFFDz");
  EXPECT_EQ(LossyUtf8("\xC0\xAF"), "\uFFFD\uFFFD");
  EXPECT_EQ(LossyUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(LossyUtf8("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(LossyUtf8("\xF0\x9F\x98\x80"), "\U0001F600");
  std::u32string out;
  EXPECT_FALSE(DecodeUtf8("\xF5\x80\x80\x80", &out));
}

TEST(Unicode, FormsAndCases) {
  EXPECT_EQ(Nfc(U"e\u0301"), U"\u00e9");
  EXPECT_EQ(Nfc(U"\u1e9b\u0323"), U"\u1e9b\u0323");
  EXPECT_EQ(Nfc(U"q\u0307\u0323"), U"q\u0323\u0307");
  EXPECT_EQ(Nfc(U"\u1112\u1161\u11ab"), U"\ud55c");
  EXPECT_EQ(Nfc(U"\u0958"), U"\u0915\u093c");  // is never put together again
  EXPECT_EQ(Lower(U"\u039f\u03a3 \u03a3\u0391"), U"\u03bf\u03c2 \u03c3\u03b1");
  EXPECT_EQ(Lower(U"\u0130"), U"i\u0307");
  EXPECT_EQ(Strip(" \u3000a b\x1c\n"), "a b");
}

TEST(ExactMath, MatchesTheSystem) {
  for (int i = -3000; i <= 3000; ++i) {
    const double x = i / 100.0;
    EXPECT_NEAR(ExactExp(x) / std::exp(x), 1.0, 1e-15) << x;  // measured 4e-16
    if (x > 0) {
      EXPECT_NEAR(ExactLog(x), std::log(x), 1e-15) << x;
    }
    const double sinc = x == 0 ? 1 : std::sin(x * 3.14159265358979323846) / (x * 3.14159265358979323846);
    // the system's sine is given a rounded multiple of pi
    EXPECT_NEAR(ExactSinc(x), sinc, 2e-15) << x;
  }
}

// Published first outputs of SplitMix64 for the seed 1234567.
TEST(Sampling, RandomNumbersAreThePublishedOnes) {
  uint64_t state = 1234567;
  EXPECT_EQ(NextRandom(&state), 6457827717110365317u);
  EXPECT_EQ(NextRandom(&state), 3203168211198807973u);
  EXPECT_EQ(NextRandom(&state), 9817491932198370423u);
}

TEST(Sampling, GreedyTakesTheFirstOfTheBest) {
  const float logits[] = {1, 3, 2, 3};
  uint64_t state = 5;
  EXPECT_EQ(ChooseToken(logits, 4, 0.0f, 0.8f, &state), 1);
  EXPECT_EQ(state, 5u);
}

TEST(Sampling, SharesAreThoseOfTheSoftmax) {
  const float logits[] = {0, std::log(2.0f), std::log(5.0f), -INFINITY};
  uint64_t state = 9;
  int counts[4] = {};
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) ++counts[ChooseToken(logits, 4, 1.0f, 1.0f, &state)];
  const double shares[] = {1 / 8.0, 2 / 8.0, 5 / 8.0, 0};
  for (int i = 0; i < 4; ++i) {
    // five standard deviations of a count
    const double spread = std::sqrt(shares[i] * (1 - shares[i]) / kDraws);
    EXPECT_NEAR(counts[i] / static_cast<double>(kDraws), shares[i], 5 * spread);
  }
}

TEST(Sampling, NucleusKeepsTheFewest) {
  const float logits[] = {0, std::log(2.0f), std::log(5.0f), -3};
  uint64_t state = 1;
  for (int i = 0; i < 2000; ++i) {
    EXPECT_EQ(ChooseToken(logits, 4, 1.0f, 0.5f, &state), 2);
    EXPECT_NE(ChooseToken(logits, 4, 1.0f, 0.8f, &state), 0);
  }
}

TEST(Tokenizer, MergesByRank) {
  const Tokenizer tokenizer = Tokenizer::Parse(FakeTokenizer().dump());
  const auto id = [&](const char* token) { return tokenizer.IdOf(token); };
  EXPECT_EQ(tokenizer.Encode("abc"), std::vector<int32_t>{id("abc")});
  EXPECT_EQ(tokenizer.Encode("xbc"), (std::vector<int32_t>{id("x"), id("bc")}));
  EXPECT_EQ(tokenizer.Encode("oooo o"), (std::vector<int32_t>{id("oooo"), id("\u0120"), id("o")}));
  EXPECT_EQ(tokenizer.Encode("<auto>a"), (std::vector<int32_t>{1, id("a")}));
  EXPECT_EQ(tokenizer.Decode(tokenizer.Encode("h\u00e9llo 12\n")), "h\u00e9llo 12\n");
  EXPECT_EQ(tokenizer.Decode({-1, 100000, 1}), "");
  EXPECT_THROW(tokenizer.Encode("\xff"), Failure);
}

TEST(Tokenizer, LongWordsAreFast) {
  const Tokenizer tokenizer = Tokenizer::Parse(FakeTokenizer().dump());
  EXPECT_EQ(tokenizer.Encode(std::string(200000, 'o')).size(), 50000u);
}

TEST(Tokenizer, RefusesOtherKinds) {
  const auto refused = [](const std::function<void(Json*)>& change) {
    Json file = FakeTokenizer();
    change(&file);
    try {
      Tokenizer::Parse(file.dump());
    } catch (const Failure& failure) {
      return failure.status == VERA_STATUS_BUNDLE_ERROR;
    }
    return false;
  };
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["type"] = "Unigram"; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["merges"].push_back({"a", "zz"}); }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["merges"].push_back("abc"); }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["vocab"]["q"] = -1; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["vocab"]["q"] = 1; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["model"]["unk_token"] = "<unk>"; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["normalizer"] = {{"type", "NFKC"}}; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["truncation"] = {{"max_length", 3}}; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["pre_tokenizer"]["pretokenizers"][0]["type"] = "Split"; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["added_tokens"][0]["lstrip"] = true; }));
  EXPECT_TRUE(refused([](Json* f) { (*f)["added_tokens"][0]["id"] = 9; }));
  EXPECT_TRUE(refused([](Json* f) { f->erase("decoder"); }));
  EXPECT_FALSE(refused([](Json*) {}));
}

TEST(Look, JsonReadsBack) {
  vera_plan_result look;
  look.latent_size = 2;
  look.latents = {1.5f, -2.25f, 0.0f, 1e-30f, 3.0f, -0.0f};
  look.text = "warm \"light\"\n\u00e9";
  const float strengths[] = {1.0f, 0.5f, 0.8f};
  float back[3];
  const std::string json = LookToJson(look, strengths);
  const vera_plan_result read = LookFromJson(json, back);
  EXPECT_EQ(read.latents, look.latents);
  EXPECT_EQ(read.text, look.text);
  EXPECT_TRUE(std::equal(back, back + 3, strengths));
  EXPECT_EQ(LookToJson(read, back), json);
}

TEST(Look, JsonOfAnotherKindIsRefused) {
  vera_plan_result look;
  look.latent_size = 1;
  look.latents = {1, 2, 3};
  const float strengths[] = {1, 1, 1};
  const Json good = Json::parse(LookToJson(look, strengths));
  const auto refused = [&](const char* key, const Json& value) {
    Json changed = good;
    changed[key] = value;
    try {
      LookFromJson(changed.dump(), nullptr);
    } catch (const Failure& failure) {
      return failure.status == VERA_STATUS_FILE_ERROR;
    }
    return false;
  };
  EXPECT_TRUE(refused("format", "vera"));
  EXPECT_TRUE(refused("version", 2));
  EXPECT_TRUE(refused("lighting", 1.6));
  EXPECT_TRUE(refused("lighting", "1"));
  EXPECT_TRUE(refused("latent_size", 2));
  EXPECT_TRUE(refused("latent_size", -1));
  EXPECT_TRUE(refused("latents", "AAAA"));
  EXPECT_TRUE(refused("latents", "AACAPwAAAEAAAEB="));
  EXPECT_TRUE(refused("latents", "AADAfwAAAEAAAEBA"));  // NaN
  EXPECT_TRUE(refused("text", nullptr));
  EXPECT_FALSE(refused("text", "other"));
  EXPECT_THROW(LookFromJson("[]", nullptr), Failure);
}

TEST(Look, CurvesRiseFromZeroToOne) {
  const std::vector<float> points = CurvePoints();
  std::vector<float> colours = points;
  for (float& value : colours) value = value * value * value;
  float curves[3 * VERA_CURVE_KNOTS];
  FitCurves(colours.data(), curves);
  for (int c = 0; c < 3; ++c) {
    const float* curve = curves + c * VERA_CURVE_KNOTS;
    EXPECT_EQ(curve[0], 0.0f);
    EXPECT_EQ(curve[VERA_CURVE_KNOTS - 1], 1.0f);
    for (int k = 1; k < VERA_CURVE_KNOTS; ++k) EXPECT_GT(curve[k], curve[k - 1]);
  }
  const std::vector<float> axes = LatticeAxes(curves, 33);
  EXPECT_EQ(axes[0], 0.0f);
  EXPECT_EQ(axes[32], 1.0f);
  FitCurves(points.data(), curves);  // the identity: even
  for (int k = 0; k < VERA_CURVE_KNOTS; ++k) EXPECT_NEAR(curves[k], k / 64.0, 1e-6);
}

TEST(Cube, DecimalsAreThoseOfPrintf) {
  std::mt19937 random(3);
  std::vector<float> values = {0.0f, 1.0f, 0.5f, 1e-12f, 5e-10f, 0.1f, 1.0f / 3, 0.999999999f};
  for (int i = 0; i < 50000; ++i) values.push_back(static_cast<float>(random()) / 4294967296.0f);
  for (int i = 0; i < 2000; ++i) values.push_back(std::ldexp(1.0f + i, -11 - i % 60));
  for (const float value : values) {
    if (value > 1.0f) continue;
    std::string ours;
    AppendNineDecimals(value, &ours);
    char theirs[32];
    std::snprintf(theirs, sizeof(theirs), "%.9f", static_cast<double>(value));
    EXPECT_EQ(ours, theirs);
  }
}

TEST(Cube, AFileThatCannotBeWrittenLeavesNothing) {
  const FakeBundle folder;
  EXPECT_THROW(WriteFile((folder.root() / "none" / "a.cube").string(), "x"), Failure);
  EXPECT_THROW(WriteFile(folder.root().string(), "x"), Failure);
  WriteFile((folder.root() / "a.cube").string(), "one");
  WriteFile((folder.root() / "a.cube").string(), "two");
  std::string content;
  std::ifstream(folder.root() / "a.cube") >> content;
  EXPECT_EQ(content, "two");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.root())) {
    files += entry.path().string().find(".part") != std::string::npos;
  }
  EXPECT_EQ(files, 0);
}

TEST(Report, LongMessagesEndAfterAWholeCharacter) {
  vera_error error;
  std::string message(VERA_MESSAGE_BYTES - 2, 'a');
  Report(&error, VERA_STATUS_FILE_ERROR, message + "\u00e9");
  EXPECT_EQ(std::string(error.message), message);
  EXPECT_EQ(error.status, VERA_STATUS_FILE_ERROR);
}

}  // namespace
}  // namespace vera
