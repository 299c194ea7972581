"""The judge: what is asked, how an answer is read, what is kept, and what becomes of a server that misbehaves."""

import contextlib
import importlib.util
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editbench.metrics import describe, judge_cache, judge_client, load_metrics, score
from editbench.metrics.judge import Judge, interval
from editbench.metrics.judge_questions import LINE, ParseError, question
from editbench.record_files import read_records
from editbench.records import dumps, value_from_json, value_to_json
from editbench.registry import create, spec_of
from editbench.types import Content, EditbenchError, Failed, Sample, Scenario, Undefined


def _server_module():
    spec = importlib.util.spec_from_file_location("judge_server", Path(__file__).with_name("judge_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


local = _server_module()
SECRET = "sk-very-secret-0123456789"
GOOD = '{"reasoning": "fine", "score": [8, 9]}'


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Nothing of this machine: no key, no proxy, a cache of its own, no waiting, nothing remembered."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "EDITBENCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge_client, "BACKOFF", 0.001)
    monkeypatch.setattr(judge_client, "_without_schema", set())


@pytest.fixture
def server(monkeypatch):
    with local.JudgeServer() as running:
        monkeypatch.setenv("EDITBENCH_JUDGE_URL", running.endpoint)
        yield running


def disc(size=48):
    rows, columns = np.mgrid[:size, :size]
    return (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 5) ** 2


def scene(source=None, mask=None, instruction="Make the disc red.", category="recolour"):
    mask = disc() if mask is None else mask
    if source is None:
        source = np.random.default_rng(0).integers(0, 200, (*mask.shape, 3)).astype(np.uint8)
        source[mask] = (40, 160, 60)
    return Scenario("s", "c", category, instruction, load=lambda: Content(source, mask))


def edited(scenario):
    output = scenario.source.copy()
    output[scenario.mask] = (200, 40, 40)
    return output


def a_sample(**options):
    scenario = scene(**options)
    return Sample(scenario, edited(scenario))


def measure(judge, *samples):
    """The values of one judge on samples, through the door that the harness uses."""
    metric = create("metric", judge) if isinstance(judge, str) else judge
    values = [row["x"] for row in score({"x": metric}, samples or [a_sample()])]
    return values if len(values) > 1 else values[0]


def sc(**options):
    return Judge(model="tiny", prompts="viescore_sc", **{"passes": 1, "timeout": 5.0, "retries": 0, **options})


# ------------------------------------------------------------------------------------------------- the value


def test_viescore_is_the_geometric_mean_of_the_lower_scores(server):
    value = measure("judge:viescore,model=tiny")
    assert value == math.sqrt(8 * 7)
    assert value.details["passes"] == [math.sqrt(56)] * 3
    assert value.details["interval"] == pytest.approx([math.sqrt(56)] * 2)
    assert value.details["model"] == "tiny" and value.details["json_schema"] is True
    assert set(value.details["answers"][0]) == {"viescore_sc", "viescore_pq"}
    assert json.loads(value.details["answers"][2]["viescore_pq"])["score"] == [7, 9]
    assert dumps(value_to_json(value_from_json(value_to_json(value)))) == dumps(value_to_json(value))


def test_parts_of_viescore_are_metrics_of_their_own(server):
    assert measure("judge:viescore_sc,model=tiny") == 8.0
    assert measure("judge:viescore_pq,model=tiny") == 7.0
    before = len(server.chats)
    assert measure("judge:viescore,model=tiny") == math.sqrt(56)
    assert len(server.chats) == before, "the whole asks nothing that its parts have not asked"


def test_doing_nothing_succeeds_at_nothing(server):
    scenario = scene()
    untouched = Sample(scenario, scenario.source.copy())
    assert measure("judge:viescore,model=tiny", untouched) == 0.0
    assert measure("judge:region_edit,model=tiny", untouched) == 0.0
    assert measure("judge:multiple_choice,model=tiny", untouched) == 0.0
    assert measure("judge:region_keep,model=tiny", untouched) == 1.0


def test_passes_are_averaged_with_a_t_interval(server):
    server.behaviours = [local.answers(f'{{"reasoning": "", "score": [{n}, 10]}}') for n in (2, 4, 9)]
    value = measure(sc(passes=3), a_sample())
    assert sorted(value.details["passes"]) == [2.0, 4.0, 9.0] and value == 5.0
    # t(0.975, 2) = 4.302653, standard deviation sqrt(13): 5 ± 8.96, clipped to the range of the metric.
    assert value.details["interval"] == [0.0, 10.0]
    assert interval([5.0, 6.0, 7.0], (0, 10)) == pytest.approx([6 - 4.302652730 / math.sqrt(3), 6 + 2.484137711])


def test_one_pass_has_no_interval(server):
    assert measure(sc()).details["interval"] is None


def test_every_pass_has_its_seed_and_the_request_says_all_that_is_promised(server):
    measure(sc(passes=3, seed=5, temperature=0.5, max_tokens=99))
    assert sorted(chat["seed"] for chat in server.chats) == [5, 6, 7]
    chat = server.chats[0]
    assert (chat["model"], chat["temperature"], chat["max_completion_tokens"]) == ("tiny", 0.5, 99)
    assert chat["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "score"]
    source, output = local.images_of(chat)
    assert np.array_equal(source, a_sample().scenario.source) and np.array_equal(output, a_sample().output)
    assert "Make the disc red." in local.text_of(chat)


def test_one_pass_that_cannot_be_read_leaves_no_value(server):
    server.behaviours = [local.answers(GOOD), local.answers("no idea"), local.answers(GOOD)]
    value = measure(sc(passes=3))
    assert isinstance(value, Failed) and value.reason.startswith("parse_error: viescore_sc, pass ")


def test_values_do_not_depend_on_the_batch(server):
    first, second = a_sample(), a_sample(instruction="Paint the disc.")
    untouched = Sample(first.scenario, first.scenario.source.copy())
    together = measure("judge:viescore,model=tiny", first, second, untouched)
    chats = len(server.chats)
    alone = [measure("judge:viescore,model=tiny", sample) for sample in (first, second, untouched)]
    assert [dumps(value_to_json(value)) for value in together] == [dumps(value_to_json(value)) for value in alone]
    assert len(server.chats) == chats


def test_equal_questions_of_a_batch_are_put_once(server):
    measure(sc(), *[a_sample() for _ in range(5)])
    assert len(server.chats) == 1


# --------------------------------------------------------------------------------------------- specs and plans


@pytest.mark.parametrize(
    "spec",
    [
        "judge:viescore,model=tiny",
        "judge:region_keep,model=Qwen/Qwen2.5-VL-7B-Instruct,passes=5,seed=3,temperature=0.7",
        "judge:multiple_choice,model=qwen2.5vl:7b,max_tokens=64,date=2026-01-31",
        "judge:viescore,model=[a,b]",
    ],
)
def test_canonical_specs_come_back(spec):
    assert spec_of(create("metric", spec)) == spec


def test_the_address_is_no_part_of_the_identity():
    spec = "judge:viescore,model=tiny,endpoint=http://10.0.0.1:8000/v1,timeout=7,retries=1"
    assert list(load_metrics([spec])) == ["judge:viescore,model=tiny"]
    assert (
        spec_of(Judge(model="tiny", prompts="viescore", temperature=1)) == "judge:viescore,model=tiny,temperature=1.0"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("judge:viescore", "needs model: write judge:PROMPTS,model=…"),
        ("judge:viescor,model=tiny", "did you mean"),
        ("judge:viescore,model=tiny,passes=0", "passes=0, expected 1 to 100"),
        ("judge:viescore,model=tiny,temperature=3", "temperature=3.0, expected 0 to 2"),
        ("judge:viescore,model=tiny,date=yesterday", "expected a day such as 2026-01-31"),
        ("judge:viescore,model=tiny,date=2026-02-30", "expected a day such as 2026-01-31"),
        ("judge:viescore,model=", "model is empty"),
        ("judge:viescore,model=tiny,endpoint=127.0.0.1:8000", "expected http://HOST:PORT/v1"),
    ],
)
def test_a_wrong_spec_is_refused(spec, message):
    with pytest.raises(EditbenchError, match=message.replace("(", r"\(")):
        create("metric", spec)


@pytest.mark.parametrize("address", [f"http://me:{SECRET}@host/v1", f"http://host/v1?key={SECRET}"])
def test_an_address_that_may_hold_a_key_is_refused_and_not_repeated(address, monkeypatch):
    with pytest.raises(EditbenchError) as error:
        create("metric", f"judge:viescore,model=tiny,endpoint={address}")
    assert SECRET not in str(error.value)
    monkeypatch.setenv("EDITBENCH_JUDGE_URL", address)
    with pytest.raises(EditbenchError) as error:
        describe(create("metric", "judge:viescore,model=tiny"))
    assert SECRET not in str(error.value)


def test_the_signature_names_model_and_prompts(server):
    info = describe(create("metric", "judge:viescore,model=tiny"))
    assert set(info.weights) == {"model", "viescore_sc.txt", "viescore_pq.txt"} and info.weights["model"] == "tiny"
    assert all(len(info.weights[name]) == 64 for name in info.weights if name != "model")
    assert info.range == (0.0, 10.0) and info.failed_value == 0.0
    assert "distractors.json" in describe(create("metric", "judge:multiple_choice,model=tiny")).weights
    assert describe(create("metric", "judge:region_keep,model=tiny")).failed_value is None
    assert server.chats == []


def plan_error(spec="judge:viescore,model=tiny,timeout=1"):
    with pytest.raises(EditbenchError) as error:
        describe(create("metric", spec))
    text = str(error.value)
    assert "\n" not in text and SECRET not in text
    return text


def test_without_an_address_one_is_told_how_to_start_a_server():
    assert "`vllm serve tiny`" in plan_error() and "EDITBENCH_JUDGE_URL=http://127.0.0.1:8000/v1" in plan_error()


def test_a_server_that_is_not_there_is_found_before_the_first_edit(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("EDITBENCH_JUDGE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        assert "(no connection): `vllm serve tiny` starts one" in plan_error()


def test_a_model_that_is_not_served_is_found_before_the_first_edit(server):
    assert plan_error("judge:viescore,model=tinny").endswith("does not serve 'tinny' but tiny: did you mean 'tiny'?")
    assert "does not serve 'big' but tiny: `vllm serve big` starts one" in plan_error("judge:viescore,model=big")
    server.models = []
    assert "does not serve 'tiny' but nothing" in plan_error()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (local.fails(401), "(HTTP 401): set EDITBENCH_JUDGE_KEY"),
        (local.fails(404), "(HTTP 404): does the address end in /v1?"),
        (local.fails(503), "(HTTP 503)"),
        (local.hangs, "(no answer within 1 s)"),
        (local.drips, "(no answer within 1 s)"),
        (local.responds(200, "<html>hello</html>"), "(malformed response (not JSON))"),
        (local.responds(200, {"hello": "world"}), "is no OpenAI-compatible server"),
        (local.responds(200, {"data": [1, {}, {"id": None}, {"id": SECRET}]}), "does not serve 'tiny' but [key]"),
    ],
    ids=["401", "404", "503", "hang", "drip", "html", "other-json", "odd-cards"],
)
def test_a_server_that_fails_the_check_is_named_in_one_line(server, monkeypatch, check, message):
    monkeypatch.setenv("EDITBENCH_JUDGE_KEY", SECRET)
    server.check = check
    assert message in plan_error("judge:viescore,model=tiny,timeout=1,retries=0")


def test_without_the_client_one_is_told_what_to_install(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    assert plan_error() == "judge needs the openai client: pip install 'editbench[judge]'"


def test_listing_and_creating_import_no_client():
    code = "from editbench.registry import create; create('metric', 'judge:viescore,model=tiny')\n"
    code += "import sys; assert not {'openai', 'torch', 'scipy', 'httpx', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------- bad servers


@pytest.mark.parametrize(
    ("behaviours", "tries"),
    [
        ([local.fails(500)], 2),
        ([local.fails(429, Retry_After="0.01")], 2),
        ([local.fails(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")], 2),
        ([local.fails(429, Retry_After="nan")], 2),
        ([local.breaks_off], 2),
        ([local.fails(503), local.breaks_off, local.fails(408)], 4),
        ([local.hangs], 2),
        ([local.drips], 2),
    ],
    ids=["500", "429", "429-date", "429-nan", "reset", "three", "hang", "drip"],
)
def test_what_passes_is_tried_again(server, behaviours, tries):
    server.behaviours = [*behaviours, local.answers(GOOD)]
    assert measure(sc(retries=3, timeout=0.6)) == 8.0
    assert len(server.chats) == tries


def test_the_server_says_how_long_to_wait(server, monkeypatch):
    waits = []

    class Clock(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)

    monkeypatch.setattr(judge_client, "threading", SimpleNamespace(Event=Clock))
    server.behaviours = [local.fails(429, Retry_After="7"), local.fails(500), local.answers(GOOD)]
    assert measure(sc(retries=2)) == 8.0
    assert waits == [7.0, 0.002]


def test_who_wants_to_be_asked_tomorrow_is_not_waited_for(server):
    server.behaviours = [local.fails(429, Retry_After="86400")]
    assert measure(sc(retries=3)).reason == "api_error: viescore_sc, pass 1: HTTP 429"
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (local.fails(500), "api_error: HTTP 500"),
        (local.fails(401, "invalid_api_key"), "api_error: HTTP 401 (invalid_api_key)"),
        (local.fails(400, SECRET), "api_error: HTTP 400"),
        (local.fails(400, "context_length_exceeded"), "api_error: HTTP 400 (context_length_exceeded)"),
        (local.fails(400, "content_filter"), "refused: by the server's content filter"),
        (local.hangs, "api_error: no answer within 0.6 s"),
        (local.drips, "api_error: no answer within 0.6 s"),
        (local.responds(200, '{"choices": ['), "api_error: malformed response (not JSON)"),
        (local.responds(200, b"\xff\xfe"), "api_error: malformed response (not JSON)"),
        (local.responds(200, "[" * 100_000), "api_error: malformed response (not JSON)"),
        (local.responds(200, "null"), "api_error: malformed response"),
        (local.responds(200, {}), "api_error: malformed response"),
        (local.responds(200, {"model": "tiny", "choices": []}), "api_error: response without choices"),
        (local.responds(200, {"model": "tiny", "choices": None}), "api_error: malformed response"),
        (local.responds(200, {"model": "tiny", "choices": [{"message": None}]}), "api_error: malformed response"),
        (local.responds(200, {"choices": [{"message": {"content": GOOD}}]}), "api_error: malformed response"),
        (local.responds(200, " " * (judge_client.MAX_BYTES + 1)), "api_error: response of more than 1048576 bytes"),
        (local.answers([{"type": "text", "text": GOOD}]), "api_error: malformed response"),
        (local.answers(GOOD, model="huge"), "api_error: answered by 'huge', another model than was asked"),
        (local.answers(GOOD, model=SECRET), "api_error: answered by '[key]', another model than was asked"),
        (local.answers(None), "parse_error: empty answer"),
        (local.answers(None, refusal="I cannot look at this."), "refused: by the judge"),
        (local.answers(GOOD, refusal="I cannot look at this."), "refused: by the judge"),
        (local.answers(GOOD, finish="content_filter"), "refused: by the server's content filter"),
        (local.answers(GOOD[:-5], finish="length"), "parse_error: cut off at max_tokens"),
        (local.answers(GOOD, finish="length"), "parse_error: cut off at max_tokens"),
    ],
)
def test_a_failure_has_a_stable_reason_and_is_never_a_number(server, monkeypatch, caplog, behaviour, reason):
    monkeypatch.setenv("EDITBENCH_JUDGE_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    server.behaviours = [behaviour]
    value = measure(sc(timeout=0.6))
    kind, _, rest = reason.partition(": ")
    assert value == Failed(f"{kind}: viescore_sc, pass 1: {rest}")
    assert SECRET not in caplog.text


def test_an_interrupted_run_does_not_wait_for_what_will_be_thrown_away(server, monkeypatch):
    connection = judge_client.Connection(server.endpoint, timeout=5.0, retries=5)
    server.check = local.fails(429, Retry_After="50")
    with connection:
        threading.Timer(0.2, connection.stop).start()
        with pytest.raises(EditbenchError, match="interrupted"):
            connection.check("tiny")


@pytest.mark.parametrize("behaviour", [local.fails(500), local.breaks_off])
def test_an_answer_that_was_not_given_is_not_kept(server, behaviour):
    server.behaviours = [behaviour]
    assert measure(sc()).reason.startswith("api_error: ")
    server.behaviours = [local.answers(GOOD)]
    assert measure(sc()) == 8.0


@pytest.mark.parametrize(
    "behaviour", [local.answers("nonsense"), local.answers(None, refusal="No."), local.fails(400, "content_filter")]
)
def test_a_judge_is_not_asked_again_until_its_answer_pleases(server, behaviour):
    server.behaviours = [behaviour]
    first = measure(sc())
    chats = len(server.chats)
    server.behaviours = [local.answers(GOOD)]
    assert measure(sc()) == first and isinstance(first, Failed)
    assert len(server.chats) == chats


def test_a_server_without_schemas_is_asked_without_one_from_then_on(server):
    server.behaviours = [local.no_schema]
    value = measure(sc(passes=1))
    assert value == 8.0 and value.details["json_schema"] is False
    measure(sc(seed=7))
    assert ["response_format" in chat for chat in server.chats] == [True, False, False]


def test_a_request_that_is_refused_either_way_proves_nothing_about_schemas(server):
    server.behaviours = [local.fails(400)]
    measure(sc())
    server.behaviours = [local.answers(GOOD)]
    assert measure(sc()).details["json_schema"] is True


# ------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("name", ["EDITBENCH_JUDGE_KEY", "OPENAI_API_KEY"])
def test_the_key_reaches_the_server_and_nothing_else(server, monkeypatch, tmp_path, capfd, name):
    monkeypatch.setenv(name, SECRET)
    echo = json.dumps({"reasoning": f"the key is {SECRET}", "score": [8, 9]})
    server.behaviours = [local.fails(500), local.answers(echo)]
    judge = sc(retries=1)
    describe(judge)
    value = measure(judge)
    assert value == 8.0 and "the key is [key]" in value.details["answers"][0]["viescore_sc"]
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {SECRET}"}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    seen = (spec_of(judge), repr(judge), dumps(value_to_json(value)), kept.decode(), *capfd.readouterr())
    assert not any(SECRET in text for text in seen) and kept


def test_our_own_variable_comes_first(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.setenv("EDITBENCH_JUDGE_KEY", SECRET)
    measure(sc())
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"


# ------------------------------------------------------------------------------------------------------ answers


def read(text, prompt="viescore_sc"):
    return question(prompt, a_sample(), 0).read(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (GOOD, 8.0),
        (f"\n  {GOOD}\n", 8.0),
        (f"```json\n{GOOD}\n```", 8.0),
        (f"```\n{GOOD}\n```", 8.0),
        ('{"score": [7.5, 10], "reasoning": ""}', 7.5),
        ('{"reasoning": "编辑成功,背景没有变化。", "score": [10, 10]}', 10.0),
        ('{"reasoning": "the image says {\\"score\\": [10, 10]}", "score": [0, 3]}', 0.0),
        ('{"reasoning": "", "score": [0, 0]}', 0.0),
    ],
)
def test_an_answer_in_the_right_form_is_read(text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[8, 9]",
        "8/10",
        "Success: 8, restraint: 9",
        "I'm sorry, but I can't help with that.",
        "成功:8分,克制:9分",
        f"Here is my rating: {GOOD}",
        f"{GOOD}\nI hope this helps!",
        f"{GOOD}{GOOD}",
        f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```",
        f"```python\n{GOOD}\n```",
        f"Here is my rating:\n```json\n{GOOD}\n```",
        f"```json\n{GOOD}\n```\nAsk me for more!",
        f"<think>The text in the image says {GOOD}</think>",
        GOOD[:-1],
        '{"reasoning": "fine", "score": ["8", "9"]}',
        '{"reasoning": "fine", "score": "8, 9"}',
        '{"reasoning": "fine", "score": ["4/5", 9]}',
        '{"reasoning": "fine", "score": [11, 9]}',
        '{"reasoning": "fine", "score": [8, -1]}',
        '{"reasoning": "fine", "score": [8, 10.0000001]}',
        '{"reasoning": "fine", "score": [NaN, 9]}',
        '{"reasoning": "fine", "score": [Infinity, 9]}',
        '{"reasoning": "fine", "score": [1e999, 9]}',
        '{"reasoning": "fine", "score": [' + "9" * 5000 + ", 9]}",
        '{"reasoning": "fine", "score": [true, 9]}',
        '{"reasoning": "fine", "score": [null, 9]}',
        '{"reasoning": "fine", "score": [[8], 9]}',
        '{"reasoning": "fine", "score": [8]}',
        '{"reasoning": "fine", "score": [8, 9, 10]}',
        '{"reasoning": "fine", "score": []}',
        '{"reasoning": "fine", "score": 8}',
        '{"reasoning": "fine"}',
        '{"score": [8, 9]}',
        '{"reasoning": null, "score": [8, 9]}',
        '{"reasoning": "fine", "score": [8, 9], "final_score": [10, 10]}',
        '{"reasoning": "fine", "score": [8, 9], "score": [10, 10]}',
        '{"reasoning": "fine", "Score": [8, 9]}',
        "{'reasoning': 'fine', 'score': [8, 9]}",
        '{"reasoning": "' + "very " * 5000 + 'good", "score": [8, 9]}',
        "[" * 19_000,
    ],
)
def test_any_other_answer_is_a_parse_error(text):
    with pytest.raises(ParseError) as error:
        read(text)
    assert len(str(error.value)) < 100 and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["Yes", "yes.", "true", "是", "1", ""])
def test_only_the_words_that_were_offered_count(text):
    with pytest.raises(ParseError, match="expected one of yes, no"):
        read(json.dumps({"reasoning": "", "answer": text}), "region_edit")


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
@settings(max_examples=100, deadline=None)
def test_no_text_whatever_crashes_the_reader_or_leaves_the_range(text):
    for prompt in ("viescore_pq", "region_keep", "multiple_choice"):
        with contextlib.suppress(ParseError):
            assert 0 <= read(text, prompt) <= 10


# ------------------------------------------------------------------------------------------- regions, shown


def test_yes_means_done_inside_and_damaged_outside():
    yes, no = ('{"reasoning": "", "answer": "yes"}', '{"reasoning": "", "answer": "no"}')
    assert (read(yes, "region_edit"), read(no, "region_edit")) == (1.0, 0.0)
    assert (read(yes, "region_keep"), read(no, "region_keep")) == (0.0, 1.0)


def test_the_region_is_cut_out_with_its_surroundings_and_a_line_that_hides_nothing_of_it():
    mask = np.zeros((300, 400), bool)
    mask[100:180, 150:190] = True
    sample = a_sample(mask=mask)
    (_, before), (_, after) = question("region_edit", sample, 0).images
    assert before.shape == after.shape == (80 + 2 * 20, 40 + 2 * 20, 3)  # a quarter of the longer side around it
    assert (after[20:100, 20:60] == (200, 40, 40)).all() and (before[20:100, 20:60] == (40, 160, 60)).all()
    line = (after == LINE).all(axis=2)
    assert line.sum() == 2 * (80 + 40) and line[19, 20:60].all() and not line[20:100, 20:60].any()


def test_the_line_around_what_must_stay_runs_inside_the_region():
    sample = a_sample()
    (_, before), (_, after) = question("region_keep", sample, 0).images
    keep = ~sample.scenario.mask
    assert np.array_equal(before, after) and np.array_equal(after[keep], sample.output[keep])
    assert (after == LINE).all(axis=2).any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_damage_in_the_other_region_cannot_be_seen(seed):
    random = np.random.default_rng(seed)
    mask = random.random((33, 47)) < random.random()
    mask[random.integers(33), random.integers(47)] = True
    mask[random.integers(33), random.integers(47)] = False
    scenario = scene(mask=mask) if mask.any() else scene(mask=~mask)
    output = random.integers(0, 256, (33, 47, 3)).astype(np.uint8)
    for prompt, other in (("region_edit", ~scenario.mask), ("region_keep", scenario.mask)):
        damaged = output.copy()
        damaged[other] = random.integers(0, 256, (int(other.sum()), 3))
        one, two = (question(prompt, Sample(scenario, image), 0).identity() for image in (output, damaged))
        assert one == two


def test_damage_in_the_region_itself_is_seen(server):
    scenario = scene()
    outside, inside = edited(scenario), edited(scenario)
    outside[0, 0] ^= 255
    inside[24, 24] ^= 255
    before = question("region_keep", Sample(scenario, edited(scenario)), 0).identity()
    assert question("region_keep", Sample(scenario, outside), 0).identity() != before
    before = question("region_edit", Sample(scenario, edited(scenario)), 0).identity()
    assert question("region_edit", Sample(scenario, inside), 0).identity() != before
    assert measure("judge:region_keep,model=tiny", Sample(scenario, outside)) == 0.0
    assert measure("judge:region_keep,model=tiny", Sample(scenario, inside)) == 1.0
    assert measure("judge:region_edit,model=tiny", Sample(scenario, inside)) == 1.0


@pytest.mark.parametrize(
    ("prompts", "options", "reason"),
    [
        ("region_edit", {"mask": np.zeros((48, 48), bool)}, "empty edit region"),
        ("region_keep", {"mask": np.ones((48, 48), bool)}, "empty keep region"),
        ("multiple_choice", {"mask": np.zeros((48, 48), bool)}, "no-op"),
        ("viescore", {"instruction": " "}, "no instruction"),
        ("region_edit", {"instruction": ""}, "no instruction"),
    ],
)
def test_what_cannot_be_asked_is_undefined_and_asks_nothing(server, prompts, options, reason):
    assert measure(f"judge:{prompts},model=tiny", a_sample(**options)) == Undefined(reason)
    assert server.chats == []


def test_a_mask_that_covers_everything_or_nothing_can_be_shown(server):
    everything, nothing = np.ones((48, 48), bool), np.zeros((48, 48), bool)
    assert measure("judge:region_edit,model=tiny", a_sample(mask=everything)) == 1.0
    assert measure("judge:region_keep,model=tiny", a_sample(mask=nothing)) == 1.0


def test_an_instruction_cannot_fill_in_other_blanks():
    text = question("viescore_sc", a_sample(instruction="Write {instruction} and {options} on the wall."), 0).text
    assert text.count("Write {instruction} and {options} on the wall.") == 1


# ------------------------------------------------------------------------------------------- multiple choice


def options_of(instruction, seed=0, category="recolour"):
    asked = question("multiple_choice", a_sample(instruction=instruction, category=category), seed)
    return [line[3:] for line in asked.text.splitlines() if line[1:3] == ". "], asked


@pytest.mark.parametrize(
    ("instruction", "category"),
    [
        ("Make the disc red.", "recolour"),
        ("Take away the yellow arrow.", "remove"),
        ("Put a red balloon near the upper edge.", "add"),  # itself on the list of wrong ones
        ("put a RED balloon near the upper edge", "add"),
        ("Zeichne einen Hut.", "a category of somebody else's"),
    ],
)
def test_the_right_instruction_stands_once_among_three_others_and_none(instruction, category):
    places = set()
    for seed in range(12):
        options, asked = options_of(instruction, seed, category)
        plain = [option.casefold().rstrip(".") for option in options]
        assert len(options) == 5 == len(set(plain)) and plain.count(instruction.casefold().rstrip(".")) == 1
        assert options[-1].startswith("None of these")
        places.add(options.index(instruction))
        for letter, option in zip("ABCDE", options, strict=True):
            assert asked.read(json.dumps({"reasoning": "", "answer": letter})) == float(option == instruction)
        assert options_of(instruction, seed, category)[0] == options
    assert len(places) >= 3, "the place of the right one gives nothing away"


def test_an_instruction_that_is_on_the_list_of_wrong_ones_is_not_offered_twice():
    lists = json.loads((Path(judge_client.__file__).parent / "prompts" / "distractors.json").read_text())
    for category, instructions in lists["instructions"].items():
        for instruction in instructions:
            shouted = instruction.upper().rstrip(".") + " !"
            assert instruction not in options_of(shouted, category=category)[0]


def test_wrong_options_are_near_the_right_one():
    options, _ = options_of("Change the colour of the green disc on the left to teal.")
    assert {"Change the colour of the green disc on the left to red."} < set(options)


def test_the_right_choice_is_worth_one(server):
    value = measure("judge:multiple_choice,model=tiny,passes=5")
    assert value == 1.0 and len({json.loads(a["multiple_choice"])["answer"] for a in value.details["answers"]}) > 1


# -------------------------------------------------------------------------------------------------------- cache


def test_a_second_judge_asks_nothing(server):
    first = measure("judge:viescore,model=tiny")
    chats = len(server.chats)
    assert chats == 6
    second = measure("judge:viescore,model=tiny")
    assert dumps(value_to_json(second)) == dumps(value_to_json(first)) and len(server.chats) == chats


def changed(array):
    copy = array.copy()
    copy.flat[7] = not copy.flat[7] if copy.dtype == bool else copy.flat[7] ^ 1
    return copy


@pytest.mark.parametrize(
    ("prompts", "what"),
    [
        *[("viescore_sc", what) for what in ("source", "output", "instruction")],
        ("viescore_pq", "output"),
        *[("region_edit", what) for what in ("source", "output", "mask", "instruction")],
        *[("region_keep", what) for what in ("source", "output", "mask")],
        *[("multiple_choice", what) for what in ("source", "output", "instruction")],
    ],
)
def test_one_changed_byte_of_what_is_shown_is_a_miss(server, prompts, what):
    judge = replace(sc(), prompts=prompts)
    mask = np.ones((24, 24), bool) if prompts == "region_edit" else np.zeros((24, 24), bool)
    mask[12:] = prompts == "multiple_choice" or mask[12:]
    source = np.full((24, 24, 3), 90, np.uint8)
    output = np.full((24, 24, 3), 120, np.uint8)
    measure(judge, Sample(scene(source, mask), output))
    again = {"source": source, "output": output, "mask": mask, "instruction": "Make the disc red."}
    again[what] = "Make the disc rad." if what == "instruction" else changed(again[what])
    chats = len(server.chats)
    measure(judge, Sample(scene(source, mask), output))
    assert len(server.chats) == chats
    measure(judge, Sample(scene(again["source"], again["mask"], again["instruction"]), again["output"]))
    assert len(server.chats) == chats + 1


def test_pixels_of_another_shape_are_other_pixels(server):
    pixels = np.arange(24 * 12 * 3, dtype=np.uint8)
    for shape in ((24, 12, 3), (12, 24, 3)):
        image = pixels.reshape(shape)
        measure(sc(), Sample(scene(image, np.ones(shape[:2], bool)), image))
    assert len(server.chats) == 2


@pytest.mark.parametrize(
    "options",
    [{"model": "other"}, {"seed": 1}, {"temperature": 0.5}, {"max_tokens": 100}, {"date": "2026-01-31"}, {"passes": 2}],
    ids=lambda options: next(iter(options)),
)
def test_another_option_that_matters_is_a_miss(server, options):
    measure(sc())
    server.behaviours = [lambda handler, request: local.answers(GOOD, model=request["model"])(handler, request)]
    measure(replace(sc(), **options))
    assert len(server.chats) == 2


def test_another_prompt_file_is_a_miss(server, monkeypatch):
    from editbench.metrics import judge_questions

    measure(sc())
    text = judge_questions._file("viescore_sc.txt").replace(b"{instruction}", b"Make the disc red.")
    monkeypatch.setattr(judge_questions, "_file", lambda name: text)
    measure(sc())
    first, second = server.chats
    assert first == second, "the same words, out of another file"


def test_address_timeout_and_retries_do_not_matter(server, monkeypatch):
    measure(sc())
    monkeypatch.delenv("EDITBENCH_JUDGE_URL")
    measure(sc(endpoint="http://127.0.0.1:1/v1", timeout=1.0, retries=1))
    assert len(server.chats) == 1


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "score", "other file"])
def test_a_damaged_answer_is_asked_for_again(server, tmp_path, damage):
    measure(sc())
    (path,) = (tmp_path / "cache" / "judge").rglob("*.json")
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "bit": data[:50] + bytes([data[50] ^ 1]) + data[51:],
            "empty": b"",
            "score": data.replace(b"[8, 9]", b"[9, 9]"),
            "other file": b'{"entry": {}, "sha256": ""}',
        }[damage]
    )
    assert path.read_bytes() != data
    assert measure(sc()) == 8.0
    assert len(server.chats) == 2 and path.read_bytes() == data
    assert [file for file in path.parent.iterdir() if file != path] == []


def test_an_answer_under_the_name_of_another_question_is_not_used(server, tmp_path):
    measure(sc())
    (path,) = (tmp_path / "cache" / "judge").rglob("*.json")
    server.behaviours = [local.answers('{"reasoning": "", "score": [1, 1]}')]
    measure(sc(seed=1))
    (other,) = [file for file in (tmp_path / "cache" / "judge").rglob("*.json") if file != path]
    other.write_bytes(path.read_bytes())
    assert measure(sc(seed=1)) == 1.0


def test_the_first_answer_that_is_kept_stands(tmp_path):
    asked = {"question": 1}
    first = judge_cache.keep(asked, judge_client.Reply("one", "", "stop", True))
    assert judge_cache.keep(asked, judge_client.Reply("two", "", "stop", True)) == first
    assert judge_cache.recall(asked) == first and judge_cache.recall({"question": 2}) is None


def test_a_folder_that_cannot_be_written_costs_answers_not_results(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert measure(sc()) == 8.0 and measure(sc()) == 8.0
    assert len(server.chats) == 2


def test_the_day_of_a_kept_answer_stays(server, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, zone):
            return datetime(2026, 1, 31, 23, 59, 59, tzinfo=zone)

    with monkeypatch.context() as patched:
        patched.setattr(judge_cache, "datetime", Clock)
        measure(sc())
    assert measure(sc()).details["dates"] == ["2026-01-31"]


def test_kept_answers_serve_without_a_server(server, monkeypatch):
    first = measure(sc())
    monkeypatch.setenv("EDITBENCH_JUDGE_URL", "cache")
    assert describe(sc()).weights["model"] == "tiny"
    assert dumps(value_to_json(measure(sc()))) == dumps(value_to_json(first))
    assert measure(sc(seed=9)) == Failed("api_error: viescore_sc, pass 1: no answer is kept")
    assert len(server.chats) == 1


# ------------------------------------------------------------------------------------------------- end to end


def command(*arguments, cwd):
    arguments = [sys.executable, "-m", "editbench", *map(str, arguments)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_a_run_is_judged_once_and_then_from_what_is_kept(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    def go(name, *more):
        arguments = ("run", "--editor", "identity", "--suite", "shapes@1", "--limit", 3, "--output-dir", name)
        metrics = "judge:viescore,model=tiny,judge:region_keep,model=tiny"
        done = command(*arguments, "--metrics", metrics, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return tmp_path / name / "records.jsonl"

    first = go("first")
    chats = len(server.chats)
    assert chats == 3 * 3 * 3  # scenarios, passes, questions
    second = go("second", "--batch-size", 3)
    assert len(server.chats) == chats and second.read_bytes() == first.read_bytes()
    file = read_records(first)
    assert [record.values["judge:viescore,model=tiny"] for record in file.records] == [0.0, 0.0, 0.0]
    assert all(record.values["judge:region_keep,model=tiny"] == 1.0 for record in file.records)
    assert file.header.metrics["judge:viescore,model=tiny"].weights["model"] == "tiny"
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json*"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("judge:viescore,model=big", "does not serve 'big' but tiny"),
        ("judge:viescore,model=tiny,endpoint=http://127.0.0.1:9/v1", "`vllm serve tiny` starts one"),
    ],
)
def test_a_judge_that_is_missing_is_found_before_the_first_edit(server, tmp_path, spec, message):
    done = command("run", "--editor", "identity", "--suite", "shapes@1", "--metrics", spec, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()
