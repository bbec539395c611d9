"""Predict over HTTP: answers, byte by byte, and refusals.

The expected texts are written by hand from the rules on the page, not by a formatter.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import base_paths
import pytest
from cases import row


def _echo(calls: Any, signature: str, value: str, key: str = "instances") -> Any:
    return calls.post("echo", f'{{"signature_name": "{signature}", "{key}": {value}}}')


def _rows(text: str) -> bytes:
    return f'{{\n    "predictions": [{text}\n    ]\n}}'.encode()


@row("REST", "Values of rows are on one line, and the list of rows ends on a new line")
@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("[1.5]", "1.5"),
        ("[[1.5, 2.0], [3, 4]]", "[1.5, 2.0], [3.0, 4.0]"),
        ("[[[1], [2]], [[3], [4]]]", "[[1.0], [2.0]], [[3.0], [4.0]]"),
        ("[[], []]", "[], []"),
        ("[[[], []]]", "[[], []]"),
    ],
)
def test_layout_of_rows(rest: Any, given: str, written: str) -> None:
    assert _echo(rest, "float32", given).body == _rows(written)


@row("REST", "In columns each value has its own line")
@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("1.5", "1.5"),
        ("[1.5]", "[\n        1.5\n    ]"),
        ("[[1, 2], [3, 4]]",
         "[\n        [\n            1.0,\n            2.0\n        ],\n        [\n            3.0,\n            4.0\n"
         "        ]\n    ]"),
        ("[]", "[]"),
        ("[[], []]", "[\n        [],\n        []\n    ]"),
    ],
)  # fmt: skip
def test_layout_of_columns(rest: Any, given: str, written: str) -> None:
    assert _echo(rest, "float32", given, "inputs").body == f'{{\n    "outputs": {written}\n}}'.encode()


PAIR = {"signature_name": "pair", "instances": [{"x": 3, "q": 1}, {"x": 5, "q": 2.5}]}


@row("REST", "with an object for each row if there are several outputs")
def test_rows_of_several_outputs(rest: Any) -> None:
    texts = []
    for values in ({"sum": "4.0", "difference": "2.0"}, {"sum": "7.5", "difference": "2.5"}):
        members = [f'            "{name}": {value}' for name, value in values.items()]
        texts.append(["        {\n" + ",\n".join(each) + "\n        }" for each in itertools.permutations(members)])
    possible = [
        ('{\n    "predictions": [\n' + ",\n".join(each) + "\n    ]\n}").encode() for each in itertools.product(*texts)
    ]
    assert rest.post("arithmetic", PAIR).body in possible


@row("REST", "an object if there are several outputs")
def test_columns_of_several_outputs(rest: Any) -> None:
    answer = rest.post("arithmetic", {"signature_name": "pair", "inputs": {"x": [3, 5], "q": [1, 2.5]}})
    members = [
        '        "sum": [\n            4.0,\n            7.5\n        ]',
        '        "difference": [\n            2.0,\n            2.5\n        ]',
    ]
    possible = [",\n".join(each) for each in itertools.permutations(members)]
    assert answer.body in [f'{{\n    "outputs": {{\n{each}\n    }}\n}}'.encode() for each in possible]


#: Dtype -> JSON of a request -> JSON of its answer.
NUMBERS = {
    "float32": {
        "1": "1.0", "-3": "-3.0", "0": "0.0", "-0.0": "-0.0", "0.1": "0.1", "0.2": "0.2", "2.5e-1": "0.25",
        "100000": "100000.0", "1000000": "1e+06", "1234567": "1234567.0", "16777216": "16777216.0", "1e10": "1e+10",
        "0.0001": "0.0001", "0.00001": "1e-05", "0.333333333333": "0.333333343", "123456.789": "123456.789",
        "3.4028234663852886e38": "3.40282347e+38", "1e39": "Infinity", "-1e39": "-Infinity", "1e-45": "1.4013e-45",
        "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "Inf": "Infinity",
        "1435774380": "1.43577434e+09",
    },
    "float64": {
        "1": "1.0", "0.1": "0.1", "0.30000000000000004": "0.30000000000000004", "1e300": "1e+300",
        "123456789": "123456789.0", "1234567.5": "1234567.5", "1e-7": "1e-07", "0.333333333333333315":
        "0.33333333333333331", "NaN": "NaN", "-Infinity": "-Infinity", "1e16": "1e+16",
    },
    "int8": {"-128": "-128", "127": "127"},
    "int16": {"-32768": "-32768"},
    "int32": {"-2147483648": "-2147483648", "2147483647": "2147483647"},
    "int64": {"-9223372036854775808": "-9223372036854775808", "9223372036854775807": "9223372036854775807"},
    "uint8": {"255": "255"},
    "uint32": {"4294967295": "4294967295"},
    "uint64": {"18446744073709551615": "18446744073709551615"},
    "bool": {"true": "true", "false": "false"},
}  # fmt: skip


@row("REST", "a float has six significant digits")
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_in_rows(rest: Any, dtype: str) -> None:
    given, written = NUMBERS[dtype].keys(), NUMBERS[dtype].values()
    assert _echo(rest, dtype, f"[{','.join(given)}]").body == _rows(", ".join(written))


@row("REST", "NaN and Infinity are written and read without quotes")
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_in_columns(rest: Any, dtype: str) -> None:
    given, written = NUMBERS[dtype].keys(), NUMBERS[dtype].values()
    lines = "".join(f"\n        {each}," for each in written).removesuffix(",")
    assert (
        _echo(rest, dtype, f"[{','.join(given)}]", "inputs").body == f'{{\n    "outputs": [{lines}\n    ]\n}}'.encode()
    )


#: JSON of a request -> JSON of its answer.
STRINGS = {
    b'"plain"': b'"plain"',
    b'"quote \\" backslash \\\\ slash \\/"': b'"quote \\" backslash \\\\ slash /"',
    b'"\\b\\f\\n\\r\\t"': b'"\\b\\f\\n\\r\\t"',
    b'"\\u0000\\u001f\\u007f"': b'"\\u0000\\u001F\x7f"',
    '"\\u00fc \\ud83d\\ude00 ü"'.encode(): '"ü 😀 ü"'.encode(),
    b'"no UTF-8: \xff\xfe"': b'"no UTF-8: \xff\xfe"',
    b'{"b64": "aGVsbG8="}': b'"hello"',
    b'{"b64": "/wA="}': b'"\xff\\u0000"',
    b'{"b64": ""}': b'""',
}


@row("REST", "Strings are written with the escapes that JSON requires")
@pytest.mark.parametrize("given", STRINGS)
def test_strings(rest: Any, given: bytes) -> None:
    body = b'{"signature_name": "string", "instances": [' + given + b"]}"
    assert rest.post("echo", body).body == b'{\n    "predictions": [' + STRINGS[given] + b"\n    ]\n}"


@row("REST", 'An output whose name ends in `_bytes` is written as `{"b64": "..."}`')
def test_bytes(rest: Any) -> None:
    answer = _echo(rest, "bytes_alone", '["hi", "\\u00fc"]')
    objects = [f'{{\n            "b64": "{text}"\n        }}' for text in ("aGk=", "w7w=")]
    assert answer.body == _rows(", ".join(objects))
    both = _echo(rest, "bytes", '[["a", "bc"]]').json["predictions"]
    assert both == [{"y": ["a", "bc"], "y_bytes": [{"b64": "YQ=="}, {"b64": "YmM="}]}]
    (column,) = _echo(rest, "bytes", '["abc"]', "inputs").json["outputs"]["y_bytes"]
    assert base64.b64decode(column["b64"]) == b"abc"


@row("REST", "float16, bfloat16 and uint16 outputs cannot be written")
@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize("dtype", base_paths.UNWRITABLE)
def test_dtypes_that_cannot_be_written(rest: Any, dtype: str, key: str) -> None:
    answer = _echo(rest, dtype, "[1]", key)
    name = base_paths.UNWRITABLE[dtype]
    assert (answer.status, answer.json) == (400, {"error": f"Failed to write JSON value for tensor type: {name}"})


@row("REST", "without it `serving_default` answers")
def test_versions_and_labels(rest: Any) -> None:
    body = '{"instances": [[4]]}'
    expected = {"half": 4, "half/versions/1": 3, "half/versions/2": 4, "half/labels/stable": 3, "half/labels/canary": 4}
    assert {path: rest.post(path, body).json["predictions"][0][0] for path in expected} == expected
    assert rest.post("h%61lf/labels/st%61ble", body).json == {"predictions": [[3.0]]}


@row("REST", "each a value of the only input or an object of values by input name")
def test_forms_of_one_input(rest: Any) -> None:
    plain, named = {"instances": [1, 2]}, {"instances": [{"x": 1}, {"x": 2}]}
    assert rest.post("arithmetic", plain).body == rest.post("arithmetic", named).body == _rows("2.5, 3.0")
    plain, named = {"inputs": [1, 2]}, {"inputs": {"x": [1, 2], "ignored": 1}}
    assert rest.post("arithmetic", plain).body == rest.post("arithmetic", named).body


@row("REST", "Requests may be compressed with gzip")
def test_gzip(rest: Any) -> None:
    packed = gzip.compress(b'{"instances": [1]}')
    assert rest.post("arithmetic", packed, **{"Content-Encoding": "gzip"}).body == _rows("2.5")
    broken = rest.post("arithmetic", b"no gzip", **{"Content-Encoding": "gzip"})
    assert (broken.status, broken.json) == (400, {"error": "JSON Parse error: The document is empty"})


@row("REST", "If two members have the same name, the first counts. Nesting has no limit")
@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [1]} and what follows',
        '{"instances": [1], "instances": [2]}',
        '{"other": ' + "[" * 100_000 + "]" * 100_000 + ', "instances": [1]}',
        '\ufeff \t\r\n{"instances":[1]}',
        '{"instances": [1], "signature_name": "serving_default"}',
        '{"instances": [1], "signature_name": ""}',
    ],
    ids=["more", "twice", "deep", "byte order mark", "named", "empty name"],
)
def test_forms_of_json(rest: Any, body: str) -> None:
    assert rest.post("arithmetic", body.encode()).body == _rows("2.5")


_SECOND = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
_FIRST = _SECOND.replace("1", "0")

#: Name -> (row, model, body, status, error).
REFUSED: dict[str, tuple[str, str, str, int, str]] = {
    "model": ("an unknown model or version", "nope", '{"instances": [1]}', 404,
              "Servable not found for request: Latest(nope)"),
    "version": ("an unknown model or version", "half/versions/9", '{"instances": [1]}', 404,
                "Servable not found for request: Specific(half, 9)"),
    "label": ("an unknown label", "half/labels/nolabel", '{"instances": [1]}', 400,
              "Unrecognized servable version label: nolabel"),
    "signature": ("an unknown signature", "arithmetic", '{"signature_name": "nope", "instances": [1]}', 400,
                  'Serving signature name: "nope" not found in signature def'),
    "nothing": ("a body that is not JSON", "arithmetic", "", 400, "JSON Parse error: The document is empty"),
    "blanks": ("a body that is not JSON", "arithmetic", " \n", 400,
               "JSON Parse error: The document is empty. at offset: 2"),
    "no value": ("a body that is not JSON", "arithmetic", '{"instances": [1,}', 400,
                 "JSON Parse error: Invalid value. at offset: 17"),
    "no value at all": ("a body that is not JSON", "arithmetic", "nonsense", 400,
                        "JSON Parse error: Invalid value. at offset: 1"),
    "no end": ("a body that is not JSON", "arithmetic", '{"instances": [1', 400,
               "JSON Parse error: Missing a comma or ']' after an array element. at offset: 16"),
    "no end of an object": ("a body that is not JSON", "arithmetic", '{"instances": [1]', 400,
                            "JSON Parse error: Missing a comma or '}' after an object member. at offset: 17"),
    "no name": ("a body that is not JSON", "arithmetic", "{1: 2}", 400,
                "JSON Parse error: Missing a name for object member. at offset: 1"),
    "a comma too many": ("a body that is not JSON", "arithmetic", '{"instances": [1],}', 400,
                         "JSON Parse error: Missing a name for object member. at offset: 18"),
    "no colon": ("a body that is not JSON", "arithmetic", '{"instances" [1]}', 400,
                 "JSON Parse error: Missing a colon after a name of object member. at offset: 13"),
    "no end of a string": ("a body that is not JSON", "arithmetic", '{"instances', 400,
                           "JSON Parse error: Missing a closing quotation mark in string. at offset: 11"),
    "escape": ("a body that is not JSON", "arithmetic", '["\\x"]', 400,
               "JSON Parse error: Invalid escape character in string. at offset: 2"),
    "hex": ("a body that is not JSON", "arithmetic", '["a\\u12g4"]', 400,
            "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 3"),
    "surrogate": ("a body that is not JSON", "arithmetic", '["\\ud800"]', 400,
                  "JSON Parse error: The surrogate pair in string is invalid. at offset: 2"),
    "fraction": ("a body that is not JSON", "arithmetic", "[1.]", 400,
                 "JSON Parse error: Miss fraction part in number. at offset: 3"),
    "exponent": ("a body that is not JSON", "arithmetic", "[1e+]", 400,
                 "JSON Parse error: Miss exponent in number. at offset: 4"),
    "too big": ("a body that is not JSON", "arithmetic", "[1, 1e400]", 400,
                "JSON Parse error: Number too big to be stored in double. at offset: 4"),
    "a list": ("a body that is not an object (*source*)", "arithmetic", "[]", 400, "JSON Value: [] Is not object"),
    "a number": ("a body that is not an object (*source*)", "arithmetic", "1.50", 400, "JSON Value: 1.5 Is not object"),
    "no key": ("neither `inputs` nor `instances`", "arithmetic", '{"x": 1}', 400,
               "Missing 'inputs' or 'instances' key"),
    "both": ("both of them", "arithmetic", '{"instances": [1], "inputs": [1]}', 400,
             'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n} Not formatted correctly expecting only one of '
             "'inputs' or 'instances' keys to exist "),
    "no list": ("`instances` that are not a list, or empty", "arithmetic", '{"instances": 1}', 400,
                'JSON Value: {\n    "instances": 1\n} Expecting \'instances\' to be an list/array'),
    "no rows": ("`instances` that are not a list, or empty", "arithmetic", '{"instances": []}', 400,
                'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
    "signature_name": ("a value of another type", "arithmetic", '{"signature_name": 1, "instances": [1]}', 400,
                       'JSON Value: {\n    "signature_name": 1,\n    "instances": [1]\n} not formatted correctly. '
                       "'signature_name' key must be a string value."),
    "type": ("a value of another type", "arithmetic", '{"instances": [1, "a"]}', 400,
             _SECOND + 'JSON Value: "a" Type: String is not of expected type: float'),
    "true": ("a value of another type", "arithmetic", '{"instances": [true]}', 400,
             _FIRST + "JSON Value: true Type: True is not of expected type: float"),
    "null": ("a value of another type", "arithmetic", '{"inputs": [null]}', 400,
             "JSON Value: null Type: Null is not of expected type: float"),
    "object": ("a value of another type", "arithmetic", '{"inputs": [{"a": 1}]}', 400,
               'JSON Value: {\n    "a": 1\n} Type: Object is not of expected type: float'),
    "float for int32": ("a value of another type", "echo", '{"signature_name": "int32", "instances": [1.0]}', 400,
                        _FIRST + "JSON Value: 1.0 Type: Number is not of expected type: int32"),
    "too large for int32": ("a value of another type", "echo",
                            '{"signature_name": "int32", "instances": [2147483648]}', 400,
                            _FIRST + "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
    "negative for uint64": ("a value of another type", "echo", '{"signature_name": "uint64", "inputs": -1}', 400,
                            "JSON Value: -1 Type: Number is not of expected type: uint64"),
    "number for bool": ("a value of another type", "echo", '{"signature_name": "bool", "inputs": 1}', 400,
                        "JSON Value: 1 Type: Number is not of expected type: bool"),
    "number for string": ("a value of another type", "echo", '{"signature_name": "string", "inputs": [1e22]}', 400,
                          "JSON Value: 1e22 Type: Number is not of expected type: string"),
    "ragged": ("lists of unequal length or depth", "arithmetic", '{"instances": [[[1], [2, 3]]]}', 400,
               _FIRST + "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    "too shallow": ("lists of unequal length or depth", "arithmetic", '{"inputs": [[1], 2]}', 400,
                    "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    "too deep": ("lists of unequal length or depth", "arithmetic", '{"inputs": [1, [2]]}', 400,
                 "Encountered list at unexpected level: 1 expected < 1"),
    "unequal rows": ("lists of unequal length or depth", "arithmetic", '{"instances": [[1], [1, 2]]}', 400,
                     _SECOND + "Expecting tensor size: 1 but got: 2"),
    "unequal shapes": ("lists of unequal length or depth", "arithmetic", '{"instances": [[1], [[1]]]}', 400,
                       _SECOND + "Expecting shape [1] but got: [1,1]"),
    "a list among objects": ("rows of which some are objects", "arithmetic", '{"instances": [{"x": 1}, [2]]}', 400,
                             "Expecting object but got list at item 1 of input list"),
    "an object among lists": ("rows of which some are objects", "arithmetic", '{"instances": [[2], {"x": 1}]}', 400,
                              "Expecting value/list but got object at item 1 of input list"),
    "unknown input": ("input names that do not fit", "arithmetic", '{"instances": [{"z": 1}]}', 400,
                      "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: "
                      "does not have named input: z"),
    "missing input": ("input names that do not fit", "arithmetic",
                      '{"signature_name": "pair", "instances": [{"x": 1}]}', 400,
                      'Failed to process element: 0 of \'instances\' list. JSON object: {\n    "x": 1\n} keys must '
                      "be equal to: q,x"),
    "missing column": ("input names that do not fit", "arithmetic", '{"signature_name": "pair", "inputs": {"x": [1]}}',
                       400, "Missing named input: q in 'inputs' object."),
    "plain rows": ("input names that do not fit", "arithmetic", '{"signature_name": "pair", "instances": [1]}', 400,
                   "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                   "tensorinfo_map"),
    "plain columns": ("input names that do not fit", "arithmetic", '{"signature_name": "pair", "inputs": [1]}', 400,
                      "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                      "tensorinfo_map"),
    "base64": ("text that is not base64", "echo", '{"signature_name": "string", "instances": [{"b64": "a?"}]}', 400,
               _FIRST + "Unable to base64 decode"),
    "no base64 object": ("text that is not base64", "echo", '{"signature_name": "string", "inputs": [{"b64": 1}]}', 400,
                         'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
    "scalar output": ("an output without rows, asked for in rows", "batchable",
                      '{"signature_name": "total", "instances": [1]}', 400, "Tensor name: y has no shape information "),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("REST", REFUSED[name][0])) for name in REFUSED])
def test_refused(rest: Any, name: str) -> None:
    _, model, body, status, message = REFUSED[name]
    answer = rest.post(model, body.encode())
    assert (answer.status, answer.json) == (status, {"error": message})
    assert answer.headers["Content-Type"] == "application/json"


@row("REST", "an assertion of the graph")
def test_an_assertion(rest: Any) -> None:
    answer = rest.post("arithmetic", '{"signature_name": "fails", "instances": [1]}')
    assert answer.status == 400
    assert "positive is not allowed" in answer.json["error"]


@row("REST", "Classify or Regress on a signature that is not theirs")
@pytest.mark.parametrize(("method", "kind"), [("classify", "classification"), ("regress", "regression")])
def test_examples(rest: Any, method: str, kind: str) -> None:
    answer = rest.http("POST", f"/v1/models/half:{method}", '{"examples": [{"x": 1.0}]}')
    assert answer.status == 400
    assert answer.json["error"].startswith(f"No {kind} inputs found in SignatureDef: ")
    answer = rest.http("POST", f"/v1/models/half:{method}", '{"examples": []}')
    assert answer.json == {"error": "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"}


@row("REST", "another method or path below `/v1/`")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/half:predict"), ("POST", "/v1/models/half"), ("PUT", "/v1/models/half:predict"),
        ("DELETE", "/v1/models/half"), ("POST", "/v1/models/half:nope"), ("POST", "/v1/models/half/versions/x:predict"),
        ("GET", "/v1/anything"), ("GET", "/v1/models/half/labels"), ("POST", "/v1/models/half:predict?a=b"),
    ],
)  # fmt: skip
def test_malformed(rest: Any, method: str, path: str) -> None:
    answer = rest.http(method, path, "{}")
    assert (answer.status, answer.json) == (400, {"error": f"Malformed request: {method} {path}"})


@row("REST", "any other path")
@pytest.mark.parametrize("path", ["/", "/v2/models/half", "/v1", "/metrics", "/monitoring"])
def test_other_paths(rest: Any, path: str) -> None:
    for method in ("GET", "POST"):
        answer = rest.http(method, path)
        assert answer.status == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"Not Found" in answer.body


@row("REST", "OPTIONS stays 400")
def test_cors(rest: Any, batched: Any) -> None:
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "POST, GET"}
    for calls, expected in ((batched, headers), (rest, dict.fromkeys(headers))):
        answer = calls.post("half", '{"instances": [[4]]}')
        assert answer.status == 200
        assert {name: answer.headers[name] for name in headers} == expected
        assert calls.http("OPTIONS", "/v1/models/half:predict").status == 400


@row("REST", "Calls beyond `--rest_api_num_threads` wait")
def test_many_at_once(rest: Any) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda at: rest.post("arithmetic", f'{{"instances": [{at}]}}'), range(40)))
    assert [json.loads(each.body)["predictions"] for each in answers] == [[at / 2 + 2] for at in range(40)]


@row("REST", "longer than `--rest_api_timeout_in_ms`")
def test_a_timeout(rest: Any) -> None:
    answer = rest.post("arithmetic", '{"signature_name": "slow", "inputs": [400000]}')
    assert (answer.status, answer.json) == (504, {"error": "Timed out waiting for notification"})


@row("REST", "a full queue of the batcher")
def test_a_batch_that_is_too_large(batched: Any) -> None:
    answer = batched.post("batchable", '{"signature_name": "rows", "instances": [1, 2, 3, 4, 5]}')
    assert answer.status == 400
    assert answer.json == {"error": "Task size 5 is larger than maximum input batch size 4"}
