// How the next token of an answer is chosen; one rule for all languages.
#ifndef VERA_SDK_SAMPLING_H_
#define VERA_SDK_SAMPLING_H_

#include <cstddef>
#include <cstdint>

namespace vera {

// The next number of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014); a state of any value is a seed.
uint64_t NextRandom(uint64_t* state);

// Temperature 0: the first of the largest logits. Else one draw:
// 1. weight = floor(2^40 e^((logit - largest) / temperature) + 0.5), in double, e^x of exact_math.h;
// 2. tokens by falling logit, equal ones by their id; the shortest beginning whose weights add up to
//    at least top_p times the weight of all (in double) is kept;
// 3. place = the upper 64 bits of random * kept weight; the token is the first one whose weight,
//    with those before it, exceeds the place.
// Weights are whole numbers, so no sum depends on its order. logits: not NaN, at least one finite
// or all -infinity (then 0). temperature 0..2, top_p above 0 up to 1.
int32_t ChooseToken(const float* logits, size_t count, float temperature, float top_p,
                    uint64_t* state);

}  // namespace vera

#endif  // VERA_SDK_SAMPLING_H_
