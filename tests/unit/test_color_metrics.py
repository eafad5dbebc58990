"""CIEDE2000, PSNR, SSIM and compare() against published values and scikit-image."""

import math

import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from vera_mobile.color.metrics import ciede2000, compare, psnr, ssim
from vera_mobile.errors import InvalidArgument

# Table 1 of Sharma, Wu and Dalal (2005): L1 a1 b1 L2 a2 b2 difference.
PUBLISHED = np.array(
    [
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425],
        [50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615],
        [50.0, 2.8361, -74.02, 50.0, 0.0, -82.7485, 3.4412],
        [50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0],
        [50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669],
        [50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0009, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.001, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0012, 7.2195],
        [50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.001, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.0011, -2.49, 4.7461],
        [50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065],
        [50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492],
        [50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977],
        [50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.903],
        [50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535],
        [50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0],
        [50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2592, 0.335, 1.0],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.263],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.248, -4.962, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.694, 23.0331, 14.973, -42.5619, 2.0373],
        [36.4612, 47.858, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.441, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.135, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def test_all_34_published_pairs():
    got = ciede2000(PUBLISHED[:, :3], PUBLISHED[:, 3:6])
    # The table has 4 decimals, so half a unit of the last is 5e-5; measured 4.95e-5.
    assert len(got) == 34
    np.testing.assert_allclose(got, PUBLISHED[:, 6], rtol=0, atol=1e-4)


def test_difference_is_symmetric_and_zero_for_equal_colours():
    rng = np.random.default_rng(0)
    lab1, lab2 = (rng.uniform([0, -90, -90], [100, 90, 90], (70_001, 3)) for _ in range(2))
    # The formula's terms commute up to rounding; measured 0.
    np.testing.assert_allclose(ciede2000(lab1, lab2), ciede2000(lab2, lab1), atol=1e-12)
    assert ciede2000(lab1, lab1).max() == 0.0


def test_blocks_do_not_change_results_and_shapes_broadcast():
    rng = np.random.default_rng(1)
    lab = rng.uniform([0, -90, -90], [100, 90, 90], (2, 40_000, 3))
    whole = ciede2000(lab, np.array([50.0, 1.0, 2.0]))
    assert whole.shape == (2, 40_000)
    np.testing.assert_array_equal(
        whole[1, 30_000:], ciede2000(lab[1, 30_000:], np.array([[50.0, 1.0, 2.0]]))
    )
    assert ciede2000(np.zeros(3), np.zeros(3)).shape == ()
    with pytest.raises(InvalidArgument, match="do not fit"):
        ciede2000(np.zeros((2, 3)), np.zeros((5, 3)))
    with pytest.raises(InvalidArgument, match=r"\(\.\.\., 3\)"):
        ciede2000(np.zeros((2, 4)), np.zeros((2, 4)))


def test_psnr():
    a = np.full((300, 300, 3), 100, np.uint8)
    assert psnr(a, a + 1, 255) == pytest.approx(20 * math.log10(255), abs=1e-12)
    assert psnr(a, a, 255) == math.inf
    b = a.copy()
    b[0, 0, 0] = 0
    assert psnr(a, b, 255) == psnr(b, a, 255) > 60
    with pytest.raises(InvalidArgument, match="shapes"):
        psnr(a, a[1:], 255)


def test_ssim_agrees_with_scikit_image():
    photo = data.coffee()[:120, :150] / 255.0
    noisy = np.clip(photo + np.random.default_rng(2).normal(0, 0.05, photo.shape), 0, 1)
    theirs = structural_similarity(
        photo, noisy, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=1.0, channel_axis=2,
    )  # fmt: skip
    # Same formula, another order of sums; measured 1e-16.
    assert ssim(photo, noisy) == pytest.approx(theirs, abs=1e-12)
    assert ssim(photo[..., 0], photo[..., 0]) == pytest.approx(1.0, abs=1e-12)
    scaled = ssim(photo * 255, noisy * 255, peak=255)
    assert scaled == pytest.approx(theirs, abs=1e-12)
    with pytest.raises(InvalidArgument, match="11 x 11"):
        ssim(photo[:10], photo[:10])


def test_compare_finds_the_worst_pixel():
    photo = data.coffee()
    other = photo.copy()
    other[17, 123, 1] ^= 0x80
    result = compare(photo, other)
    assert result["max_code_difference"] == 128
    assert result["max_code_at"] == (123, 17)
    assert result["ciede2000_max"] > 10
    assert result["ciede2000_p99"] == 0.0
    count = photo.shape[0] * photo.shape[1]
    assert result["ciede2000_mean"] == pytest.approx(result["ciede2000_max"] / count, rel=1e-6)
    assert result["psnr_db"] == psnr(photo, other, 255)


def test_compare_means_the_same_for_every_depth():
    rng = np.random.default_rng(3)
    eight = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    results = [
        compare(eight, eight + np.uint8(1)),
        compare(eight.astype(np.uint16) * 257, (eight.astype(np.uint16) + 1) * 257),
        compare(eight / 255.0, (eight + 1.0) / 255.0),
    ]
    assert [r["max_code_difference"] for r in results] == pytest.approx([1, 257, 1], abs=1e-9)
    for key in ("psnr_db", "ciede2000_mean", "ciede2000_p99", "ciede2000_max"):
        # Differences are kept as float32, 6e-8 relative; measured 0.
        assert results[1][key] == pytest.approx(results[0][key], rel=1e-6)
        assert results[2][key] == pytest.approx(results[0][key], rel=1e-6)
    same = compare(eight, eight)
    assert same["psnr_db"] == math.inf
    assert same["ciede2000_max"] == same["max_code_difference"] == 0


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint16), "of one dtype"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.int64), np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), np.nan), np.zeros((4, 4, 3)), "NaN"),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8), "empty"),
    ],
)
def test_compare_refuses(a, b, text):
    with pytest.raises(InvalidArgument, match=text):
        compare(a, b)
