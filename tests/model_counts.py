"""Exact counts of every network of the survey, by row of its table.

Derived from the papers and from the survey author's code, independently of the code
tested here. Multiply-adds that are known to four or five digits only stand in units of
0.1 M; they are compared within 0.1 %.
"""

from typing import Any

# Name, arguments, all parameters, weights of convolutions and linear layers alone,
# multiply-adds of one 32x32 image.
COUNTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    # Row 8.
    ("resnet110", {}, 1_727_962, 1_719_856, 252_900_000),
    ("resnet20", {}, 269_722, 268_336, 40_551_040),
    # row 1a; 1,418 biases
    ("nin", {}, 966_986, 965_568, 222_486_528),
    # row 1b; 9 BN, no biases
    ("nin_bn", {}, 968_404, 965_568, 222_486_528),
    # row 2; "7x7-fc kept, 2 pools", 1,084.1 M
    ("vgg_a", {}, 128_807_306, 128_796_352, 1_084_063_744),
    # row 2, "all five pools + 512-d input": weights and 172 M stated, all computed
    ("vgg_a", {"plan": "S32"}, 28_144_010, 28_133_056, 171_679_744),
    # row 3; S4 1,569.0 M, S8 487.6 M
    ("googlenet", {}, 5_983_802, 5_976_512, 1_569_007_616),
    ("googlenet", {"plan": "S8"}, 5_983_802, 5_976_512, 487_565_312),
    ("googlenet_bn", {}, 5_991_082, 5_976_512, 1_569_007_616),
    # row 4; S4 2,156.7 M, S8 634.5 M
    ("inception_v2", {}, 10_270_474, 10_250_432, 2_156_668_928),
    ("inception_v2", {"plan": "S8"}, 10_270_474, 10_250_432, 634_480_640),
    # row 5, library form: S8 1,152.2 M
    ("inception_v3", {}, 21_806_058, 21_771_616, 1_152_176_128),
    # row 5, the survey author's code: S8 1,013.6 M, S4 3,853.6 M
    (
        "inception_v3",
        {"variant": "survey"},
        21_584_074,
        21_549_920,
        1_013_633_024,
    ),
    (
        "inception_v3",
        {"variant": "survey", "plan": "S4"},
        21_584_074,
        21_549_920,
        3_853_635_584,
    ),
    # row 5, 1,000 classes: weights stated (22.49 x 2^20), all computed
    (
        "inception_v3",
        {"variant": "survey", "num_classes": 1000},
        23_612_584,
        23_577_440,
        1_015_660_544,
    ),
    # row 5, the paper's table 1: multiply-adds computed only
    (
        "inception_v3",
        {"variant": "table"},
        22_382_186,
        22_347_104,
        1_224_790_016,
    ),
    # row 9; S8 2,570.8 M, S4 9,446.7 M
    ("inception_v4", {}, 41_158_186, 41_095_008, 2_570_763_264),
    ("inception_v4", {"plan": "S4"}, 41_158_186, 41_095_008, 9_446_734_848),
    # row 9, "the usual library figure": all stated, the others computed
    ("inception_v4", {"num_classes": 1000}, 42_679_816, 42_615_648, 2_572_283_904),
    # row 20; S8 1,359.7 M, S4 4,960.7 M
    ("xception", {}, 20_827_442, 20_772_904, 1_359_655_936),
    ("xception", {"plan": "S4"}, 20_827_442, 20_772_904, 4_960_706_560),
    # row 20, 1,000 classes: all stated, the others computed
    ("xception", {"num_classes": 1000}, 22_855_952, 22_800_424, 1_361_683_456),
    # Row 6.
    ("prelu_net_a", {}, 43_952_618, 43_923_232, 1_562_200_000),
    # Row 7: the paper's form, then the survey author's.
    ("highway_fitnet19", {}, 2_274_186, 2_271_584, 351_900_000),
    ("highway_fitnet19", {"variant": "survey"}, 2_812_656, 2_795_360, 454_700_000),
    # Row 10: the paper's stem, then one of 3x3 pixels.
    ("squeezenet_bn", {}, 747_146, 737_568, 214_000_000),
    ("squeezenet_bn", {"stem_kernel": 3}, 735_626, 726_048, 202_200_000),
    # Row 11: 1x1 shortcuts, as the authors' code has them, then zero channels.
    ("preact_resnet164", {}, 1_703_258, 1_679_024, 244_500_000),
    ("preact_resnet164", {"variant": "survey"}, 1_661_274, 1_637_040, 239_300_000),
    # Row 8's sum of weights, 1,719,856, and 16 * 32 + 32 * 64 of the shortcuts.
    ("preact_resnet110", {}, 1_730_522, 1_722_416, 253_149_824),
    # Row 12. 1,276.9 M are of the first layer's stride with zero
    # channels; 1x1 shortcuts add 48 * 96 * 16^2 + 96 * 192 * 8^2 = 2.36 M to it.
    ("rir18_wide", {}, 9_492_980, 9_485_088, 1_279_279_104),
    ("rir18_wide", {"variant": "survey"}, 9_469_940, 9_462_048, 1_531_700_000),
    # Row 13; the multiply-adds are those of evaluation.
    ("stochastic_depth110", {}, 1_727_962, 1_719_856, 252_900_000),
    # Row 17; the 118-layer network is computed: 19 blocks where 1192 layers have 198.
    ("wresnet_d1192", {}, 19_227_436, 19_138_096, 2_800_900_000),
    ("wresnet_d118", {}, 1_825_235, 1_816_624, 267_043_456),
    # Row 18: 1x1 shortcuts, zero channels in the innermost level (no multiply-adds
    # printed: 5.2 M less), the survey author's form (computed).
    ("ror3_wrn58_4", {}, 13_645_530, 13_629_360, 1_983_600_000),
    (
        "ror3_wrn58_4",
        {"inner_shortcut": "zero_pad"},
        13_603_546,
        13_587_376,
        1_978_321_408,
    ),
    ("ror3_wrn58_4", {"variant": "survey"}, 13_689_936, 13_672_640, 2_016_086_528),
    # Row 14: the paper's basic blocks, then the survey author's bottlenecks.
    ("swapout_v2_32_w4", {}, 7_427_146, 7_418_048, 1_100_679_680),
    ("swapout_v2_32_w4", {"variant": "survey"}, 7_187_722, 7_147_200, 1_041_967_104),
    # Row 15: projections, then zero-padded shortcuts.
    ("wrn28_10", {}, 36_479_194, 36_461_232, 5_243_328_768),
    ("wrn28_10", {"variant": "survey"}, 36_220_634, 36_202_672, 5_214_492_928),
    # Family members outside the survey's table, computed here.
    ("wrn16_4", {}, 2_748_890, 2_745_264, 392_612_352),
    ("wrn16_8", {}, 10_961_370, 10_954_160, 1_548_145_664),
    ("wrn22_8", {}, 17_158_106, 17_147_312, 2_454_115_328),
    ("wrn40_1", {}, 563_930, 561_200, 83_280_512),
    ("wrn40_2", {}, 2_243_546, 2_238_128, 327_599_360),
    ("wrn40_4", {}, 8_949_210, 8_938_416, 1_298_582_016),
    # Row 16.
    ("fractalnet20", {}, 33_724_618, 33_704_000, 845_222_912),
    # Row 19; of L = 40, k = 12 it has the weights and 0.265 G multiply-adds.
    ("densenet100_k24", {}, 27_249_082, 27_017_808, 6_889_347_744),
    ("densenet40_k12", {}, 1_019_722, 1_001_616, 264_812_928),
    # Computed here.
    ("densenet_bc100_k12", {}, 769_162, 745_164, 287_929_692),
    # Row 21; alpha = 84 computed here.
    ("pyramidnet110_a270", {}, 28_485_477, 28_435_669, 4_717_983_724),
    ("pyramidnet110_a84", {}, 3_855_054, 3_836_080, 757_846_504),
    # Row 22b: convolutions that keep the image size, then without padding.
    ("nas_appendix_a", {}, 4_121_626, 4_119_708, 4_218_089_952),
    ("nas_appendix_a", {"variant": "survey"}, 4_121_626, 4_119_708, 2_307_724_176),
    # Row 23: stem of 64 channels, then of 256 (multiply-adds computed here).
    ("resnext29_16x64d", {}, 68_155_210, 68_054_720, 10_688_866_304),
    ("resnext29_16x64d", {"variant": "survey"}, 68_340_490, 68_240_128, 10_878_724_096),
    # The same family with fewer paths.
    ("resnext29_8x64d", {}, 34_426_698, 34_369_216, 5_387_266_048),
    ("resnext29_2x64d", {}, 9_130_314, 9_105_088, 1_411_065_856),
    # Row 24, widths rounded down.
    ("pyramid_sepdrop182_a150", {}, 16_529_001, 16_479_517, 2_919_770_428),
    # Controlled comparisons. ResNet-20 in other orders and without its shortcuts; with
    # convolutions as shortcuts, which repeat the first convolution of every block.
    ("ordered_resnet20", {}, 269_722, 268_336, 40_551_040),
    ("ordered_resnet20", {"order": "full_preactivation"}, 269_722, 268_336, 40_551_040),
    (
        "ordered_resnet20",
        {"order": "mean", "learned": True},
        392_506,
        390_448,
        59_425_408,
    ),
    ("plain20", {}, 269_722, 268_336, 40_551_040),
    # WRN-40-1 with 1, 3 or 4 convolutions in a block, always 36 of them.
    *(
        ("wrn40_1", {"convs": convs}, 563_930, 561_200, 83_280_512)
        for convs in (1, 3, 4)
    ),
    # Row 20 less 972,800 weights of its projections and 4,272 of their BN.
    ("xception", {"residual": False}, 19_850_370, 19_800_104, 1_319_023_616),
    # Stages of 16, 32 and 64 channels. In parallel a pooling makes half of the
    # channels after a reduction, which saves 2,304 and 9,216 weights.
    ("widening_net", {}, 170_170, 169_264, 24_035_968),
    ("widening_net", {"way": "before"}, 170_170, 169_264, 31_113_856),
    ("widening_net", {"way": "parallel"}, 158_554, 157_744, 22_856_320),
]

# Name, arguments, side of the image, all parameters, weights, multiply-adds.
COUNTS_OF_LARGE_IMAGES: list[tuple[str, dict[str, Any], int, int, int, int]] = [
    # row 2, 7,605 M
    ("vgg_a", {"plan": "224"}, 224, 128_807_306, 128_796_352, 7_605_035_008),
    # row 3, 1,581.7 M
    ("googlenet", {"plan": "224"}, 224, 5_983_802, 5_976_512, 1_581_658_112),
    # row 4, 2,031.6 M
    ("inception_v2", {"plan": "224"}, 224, 10_270_474, 10_250_432, 2_031_586_304),
    # row 5, the survey author's code at 224: 2,995 M
    (
        "inception_v3",
        {"variant": "survey", "plan": "299"},
        224,
        21_584_074,
        21_549_920,
        2_995_008_512,
    ),
    # row 5, library form with 1,000 classes: all stated, the others computed
    (
        "inception_v3",
        {"plan": "299", "num_classes": 1000},
        299,
        23_834_568,
        23_799_136,
        5_713_216_096,
    ),
    # row 9, 12,252 M
    ("inception_v4", {"plan": "299"}, 299, 41_158_186, 41_095_008, 12_252_453_984),
    # row 20, 8,355 M
    ("xception", {"plan": "299"}, 299, 20_827_442, 20_772_904, 8_355_375_976),
]
