"""The parts of the benchmark other than timing: formulas, texts, report."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import flops, report, texts


def test_dense_flops_are_those_of_the_matrices():
    # By hand, for MiniLM: 6 layers of 384 x 1152, 384 x 384, 384 x 1536 and 1536 x 384.
    assert flops.MINILM.dense_per_token == 2 * 6 * (384 * 1152 + 384 * 384 + 2 * 384 * 1536) == 21_233_664
    # 12 H^2 weights a layer, where I = 4 H.
    assert flops.BASE.dense_per_token == 2 * 12 * 12 * 768**2


def test_attention_counts_every_pair_of_tokens():
    heads, size, tokens = 12, 32, 10
    query, key = np.ones((heads, tokens, size)), np.ones((heads, tokens, size))
    products = (query[:, :, None] * key[:, None]).size  # multiplications of the scores
    assert flops.MINILM.attention(tokens) == 6 * 2 * 2 * products
    assert flops.MINILM.total([10, 20]) == 30 * 21_233_664 + flops.MINILM.attention(10) + flops.MINILM.attention(20)


@pytest.mark.parametrize(
    ("name", "number", "low", "high"), [("mixed", 512, 38, 40), ("short", 512, 8, 9), ("full", 128, 128, 128)]
)
def test_texts_have_the_lengths_that_the_page_says(minilm_folder, name, number, low, high):
    loaded = texts.load(name, minilm_folder)
    assert len(set(loaded.texts)) == number
    assert low <= np.mean(list(loaded.tokens.values())) <= high
    assert all(text.isascii() and text for text in loaded.texts)


def test_calls_have_no_text_twice_and_differ_from_round_to_round(minilm_folder):
    loaded = texts.load("short", minilm_folder)
    first, second = loaded.calls(32, 128, 0), loaded.calls(32, 128, 1)
    assert [len(set(call)) for call in first] == [32] * 4
    assert first != second
    assert first == loaded.calls(32, 128, 0)


def cell(**seconds):
    seconds = {name.replace("_", "-") + "/float32": each for name, each in seconds.items()}
    return {
        "set": "mixed", "size": 32, "texts": [64, 64, 64], "tokens": [640] * 3, "flops": [1] * 3,
        "seconds": seconds, "call_seconds": {name: [each / 2 for each in all_] for name, all_ in seconds.items()},
    }  # fmt: skip


def test_ratios_are_to_the_best_peer_by_round():
    # The machine was three times as slow in the second round: that must not show in any ratio.
    rows = {
        row.contestant: row
        for row in report.rows(
            cell(
                rawbert=[1, 3, 1],
                openvino=[2, 6, 2],
                onnxruntime=[4, 12, 4],
                hub_recipe=[8, 24, 8],
                gemm=[0.5, 1.5, 0.5],
            )
        )
    }
    ours = rows["rawbert/float32"]
    assert (ours.rate, ours.low, ours.high, ours.call) == (64, 64 / 3, 64, 500)
    assert (ours.to_best, ours.to_recipe, ours.of_limit) == (2, 8, 0.5)
    assert rows["openvino/float32"].to_best == 2  # the best other peer
    assert rows["gemm/float32"].to_best is None


def test_of_two_runs_the_later_cells_count():
    def results(size, rate):
        return {
            "machine": {}, "loaded": {}, "agreement": {"rawbert/float32": {"mixed": {}}},
            "cells": [cell(rawbert=[rate] * 3) | {"size": size}],
        }  # fmt: skip

    both = report.joined(results(0, 1), results(1, 2))
    assert [each["size"] for each in both["cells"]] == [1, 0]
    again = report.joined(both, results(0, 3))
    assert [each["seconds"]["rawbert/float32"][0] for each in again["cells"]] == [2, 3]


def test_growth_says_what_longer_texts_cost_beside_their_flops_and_what_memory_is_allowed():
    def point(contestant, tokens, flops, seconds, peak):
        return {
            "contestant": f"{contestant}/float32", "tokens": tokens, "size": 8, "flops": flops, "seconds": seconds,
            "peak_rss": peak,
        }  # fmt: skip

    mega = 10**6
    grown = {
        "shape": {"name": "Small"}, "weights": 100 * mega, "tensorflow_rss": 600 * mega,
        "export": {"seconds": 7.0, "peak_rss_of_one": 900 * mega, "peak_rss_of_all": 1400 * mega},
        "loaded": {
            "rawbert/float32": {"seconds": 5.0, "rss": 750 * mega},
            "onnxruntime/float32": {"seconds": 2.0, "rss": 300 * mega},
        },
        "points": [
            point("rawbert", 128, 10**11, 0.5, 800 * mega), point("onnxruntime", 128, 10**11, 0.25, 340 * mega),
            point("rawbert", 512, 5 * 10**11, 3.0, 900 * mega), point("onnxruntime", 512, 5 * 10**11, 3.0, 400 * mega),
        ],
    }  # fmt: skip
    lines = report.growth_text([grown]).splitlines()
    assert "300 MB (3.00x) in one process, 800 MB (8.00x) in all" in lines[2]
    # 8 texts in 0.5 s; 200 MB above TensorFlow; ONNX Runtime grew by 40 MB, so 2.5 * 100 + 1.5 * 40 are allowed.
    row = next(line.split() for line in lines if line.split()[:2] == ["128", "8"])
    assert row[2:] == ["16.0", "200", "200", "M", "40", "M", "310", "M", "0.50"]
    # Five times the operations in six times the time.
    assert lines[-1].split()[:4] == ["8", "x", "512", "tokens:"]
    assert "1.20x" in lines[-1]
