"""Loaders of MagicBrush and of tables: HumanEdit, CompBench, Emu Edit, AnyEdit, any dataset of the hub."""

import json
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench import load_suite
from editbench.images import InvalidImage
from editbench.png import encode_png
from editbench.registry import create, spec_of
from editbench.suites.mask_forms import unpainted
from editbench.testing import check_loader
from editbench.testing.examples import examples
from editbench.testing.layouts import WRITERS
from editbench.testing.layouts.edits import write_any, write_compbench, write_emuedit, write_humanedit
from editbench.testing.layouts.magicbrush import transparent, write_magicbrush
from editbench.testing.layouts.tables import png, split_path, write_table
from editbench.types import EditbenchError, Task

HUB = next(spec for spec in WRITERS if spec.startswith("hub:"))


@pytest.fixture
def items():
    return examples(4, 32, 48)


def rewrite(path, change):
    """Write a table again with columns changed; None takes one away."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {name: table.column(name) for name in table.column_names} | change(table)
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)


def pictures(files):
    import pyarrow as pa

    cells = [None if data is None else {"bytes": data, "path": None} for data in files]
    return pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


# --------------------------------------------------------------------------------------------------- MagicBrush


def edit_sessions(folder, change):
    path = folder / "edit_sessions.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_global_captions_describe_source_and_target(tmp_path, items):
    write_magicbrush(tmp_path, items)
    first, second, *_ = load_suite(f"magicbrush:{tmp_path},captions=global")
    assert (first.source_prompt, first.target_prompt) == (
        items[0].source_prompt,
        f"the whole: {items[0].target_prompt}",
    )
    assert second.source_prompt == first.target_prompt
    assert next(iter(load_suite(f"magicbrush:{tmp_path},captions=none"))).target_prompt is None
    assert [s.cluster for s in (first, second)] == [items[0].id] * 2, "turns share the photograph"
    np.testing.assert_array_equal(second.source, first.target)


def test_captions_that_are_missing_are_told_and_can_be_done_without(tmp_path, items):
    write_magicbrush(tmp_path, items)
    (tmp_path / "local_captions.json").unlink()
    with pytest.raises(EditbenchError, match=r"no file .*local_captions.json: captions=none"):
        load_suite(f"magicbrush:{tmp_path}")
    assert len(load_suite(f"magicbrush:{tmp_path},captions=none")) == 4


def test_a_turn_that_goes_on_from_another_picture_is_marked(tmp_path, items):
    write_magicbrush(tmp_path, items)
    name = items[0].id
    edit_sessions(tmp_path, lambda data: data[name][1].update(input=f"{name}-input.png"))
    marks = [scenario.metadata for scenario in load_suite(f"magicbrush:{tmp_path}")]
    assert marks == [{}, {"defects": ["its input is not the output of the turn before"]}, {}, {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["000000000003"][0].pop("mask"), "'000000000003': no field '0.mask'"),
        (
            lambda data: data["000000000003"][0].update(instruction=3),
            r"'000000000003': 0.instruction=3, expected a valid",
        ),
        (lambda data: data.update({"000000000003": {}}), "'000000000003'"),
        (lambda data: data.clear(), "has no scenarios"),
    ],
)
def test_a_wrong_session_is_told_with_its_name(tmp_path, items, change, message):
    write_magicbrush(tmp_path, items)
    edit_sessions(tmp_path, change)
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"magicbrush:{tmp_path}")


def test_a_session_that_occurs_twice_is_refused_and_windows_files_are_read(tmp_path, items):
    write_magicbrush(tmp_path, items)
    path = tmp_path / "edit_sessions.json"
    text = json.dumps(json.loads(path.read_text()), indent=1)
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(load_suite(f"magicbrush:{tmp_path}")) == 4
    path.write_text(f'{text[:-2]},"{items[0].id}": []}}')
    with pytest.raises(EditbenchError, match=rf"edit_sessions.json: malformed JSON .*{items[0].id}"):
        load_suite(f"magicbrush:{tmp_path}")


def test_broken_pictures_cost_their_own_turn(tmp_path, items):
    write_magicbrush(tmp_path, items)
    a, c, d = (tmp_path / "images" / items[number].id for number in (0, 2, 3))
    output = a / f"{a.name}-output2.png"
    output.write_bytes(output.read_bytes()[:300])
    (c / f"{c.name}-mask1.png").write_bytes(png(items[2].mask))
    (d / f"{d.name}-mask1.png").write_bytes(transparent(examples(1, 32, 40)[0]))
    result = eb.run(
        "identity", suite=f"magicbrush:{tmp_path}", output_dir=str(tmp_path / "run"), metrics="mae:region=keep"
    )
    first, *others = result.records().records
    assert first.edit_status == "ok" and first.values["mae:region=keep"] == 0
    reasons = [record.reason.partition(": ") for record in others]
    assert [record.edit_status for record in others] == ["input_invalid"] * 3
    assert reasons[0][0] == f"target 'images/{a.name}/{a.name}-output2.png'" and "truncated" in reasons[0][2]
    assert "no alpha channel" in reasons[1][2]
    assert "".join(reasons[2]) == "mask: size 40x32, but the source is 48x32"


def test_tables_of_an_early_revision_have_no_masks(tmp_path, items):
    texts = {"img_id": ["1"], "turn_index": [1], "instruction": ["Go."]}
    write_table(split_path(tmp_path, "dev"), texts, {"input_img": [png(items[0].source)]})
    with pytest.raises(EditbenchError, match=r"early revision, without 'mask_img' .*input_img.*: download a later one"):
        load_suite(f"magicbrush:{tmp_path}")


def test_tables_with_captions_give_prompts_and_turns_count_from_one(tmp_path, items):
    spec = "magicbrush:PATH,split=dev"
    WRITERS[spec].write(tmp_path, items)
    path = split_path(tmp_path, "dev")
    captions = {f"{name}_caption": [name] * 4 for name in ("source_global", "target_global", "target_local")}
    rewrite(path, lambda table: captions)
    for kind, prompts in (("local", (None, "target_local")), ("global", ("source_global", "target_global"))):
        scenario = load_suite(f"magicbrush:{tmp_path},captions={kind}")[0]
        assert (scenario.source_prompt, scenario.target_prompt) == prompts
    rewrite(path, lambda table: {"turn_index": [0, 1, 0, 0]})
    with pytest.raises(EditbenchError, match=r"dev-.*parquet, row 0: turn_index=0, expected 1 for the first"):
        load_suite(f"magicbrush:{tmp_path}")


def test_files_that_another_system_leaves_beside_tables_are_no_tables(tmp_path, items):
    WRITERS["magicbrush:PATH,split=dev"].write(tmp_path, items)
    (table,) = tmp_path.rglob("*.parquet")
    table.with_name(f"._{table.name}").write_bytes(b"Mac OS X")
    assert len(load_suite(f"magicbrush:{tmp_path}")) == len(items)
    with pytest.raises(EditbenchError, match=r"no folder .*nowhere"):
        load_suite(f"magicbrush:{tmp_path}/nowhere")


def test_a_split_that_is_mistyped_is_told(tmp_path, items):
    WRITERS["magicbrush:PATH,split=dev"].write(tmp_path, items)
    with pytest.raises(EditbenchError, match=r"no split 'deb': did you mean 'dev'"):
        load_suite(f"magicbrush:{tmp_path},split=deb")


# ---------------------------------------------------------------------------------------------------- HumanEdit


def drawing(text):
    """`#` black in source and copy, `p` painted, `.` neither."""
    rows = np.array([list(line) for line in text.split()])
    source = np.full((*rows.shape, 3), 200, np.uint8)
    source[rows == "#"] = 0
    return rows != ".", source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("..... .ppp. .p#p. .ppp. .....", "..... .ppp. .ppp. .ppp. ....."),  # surrounded: painted over
        ("..... .ppp. .pp#. .ppp. .....", "..... .ppp. .ppp. .ppp. ....."),  # on the region's border
        ("##... #.ppp ..ppp ..ppp ....#", "..... ..ppp ..ppp ..ppp ....."),  # somewhere else
        ("..... .pp## .pp## ...## ...##", "..... .pp.. .pp.. ..... ....."),  # a black thing beside the region
        ("##### ##p## ##### #####", "..... ..p.. ..... ....."),  # the moon in a black sky
        ("##### #####", "..... ....."),
    ],
)
def test_what_is_black_in_the_source_counts_where_its_outline_is_painted(text, expected):
    black, source = drawing(text)
    np.testing.assert_array_equal(unpainted(black, source).mask, drawing(expected)[0])


def test_a_guess_is_flagged_and_a_certainty_is_not():
    assert unpainted(*drawing("..... .pp## .pp## ...## ...##")).flags == (
        "8 black pixels may be painted or the source's own",
    )
    assert unpainted(*drawing("##... #.ppp ..p#p ..ppp #....")).flags == ()


def test_the_colours_under_transparency_count_as_the_authors_count_them(tmp_path, items):
    write_humanedit(tmp_path, items)
    item = items[0]
    rgba = np.dstack([np.where(item.mask[..., None], 0, item.source), np.where(item.mask, 0, 255)]).astype(np.uint8)
    files = [encode_png(rgba), png(items[1].source)]
    rewrite(split_path(tmp_path, "train", 0, 2), lambda table: {"MASK_IMG": pictures(files)})
    np.testing.assert_array_equal(load_suite(f"humanedit:{tmp_path}")[0].mask, item.mask)


def test_a_painted_region_that_was_stored_with_loss_is_refused_and_a_soft_edge_told(tmp_path, items):
    write_humanedit(tmp_path, items)
    light = np.full((32, 48, 3), (200, 150, 90), np.uint8)
    light[::2, ::3] = (120, 180, 200)
    copy = light.copy()
    copy[8:24, 10:30] = 0
    soft = copy.copy()
    soft[8, 10:30] = 9
    lossy = BytesIO()
    PILImage.fromarray(copy).save(lossy, "JPEG", quality=75)

    def masks(*files):
        cells = {"INPUT_IMG": pictures([png(light)] * 2), "OUTPUT_IMG": pictures([png(light)] * 2)}
        rewrite(split_path(tmp_path, "train", 0, 2), lambda table: {**cells, "MASK_IMG": pictures(files)})
        return load_suite(f"humanedit:{tmp_path}")

    suite = masks(lossy.getvalue(), png(soft))
    with pytest.raises(
        InvalidImage, match=r"MASK_IMG': \d+ near-black pixels beside \d+ painted ones: stored with loss"
    ):
        _ = suite[0].mask
    assert suite.oddities(1) == ["mask: near-black pixels beside painted ones"]
    assert masks(png(copy), png(soft)).oddities(0) == []


def test_one_photograph_may_be_edited_twice(tmp_path, items):
    write_humanedit(tmp_path, [items[0], replace(items[1], id=items[0].id), *items[2:]])
    suite = load_suite(f"humanedit:{tmp_path}")
    assert [scenario.id for scenario in suite][:2] == ["000000000001", "000000000001-2"]
    assert suite[1].cluster == suite[0].cluster
    assert suite[0].metadata == {"core": 1, "mask": 1, "output_description": "what a person wrote"}


# ---------------------------------------------------------------------------------------------------- CompBench


def test_masks_that_look_inverted_are_told_before_a_run_and_can_be_turned_round(tmp_path, items):
    write_compbench(tmp_path, items)
    (inferred,) = load_suite(f"compbench:{tmp_path}").warnings
    assert inferred.startswith("that masks are white=edit is inferred, not documented: by it, 3 masks looked at cover")
    (inverted,) = load_suite(f"compbench:{tmp_path},polarity=black=edit").warnings
    assert "are they inverted?" in inverted
    masks = [*(png(~item.mask) for item in items[:-1]), None]
    rewrite(split_path(tmp_path, "train"), lambda table: {"mask": pictures(masks)})
    turned = load_suite(f"compbench:{tmp_path},polarity=black=edit")
    np.testing.assert_array_equal(turned[0].mask, items[0].mask)
    assert turned.name == "compbench:polarity=[black=edit]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: {"input_image": None, "original_image": table["input_image"]},
            "early revision, without 'input_image'",
        ),
        (lambda table: {"instruction": [1, 2, 3, 4]}, "row 0: instruction=1, expected a valid string"),
        (lambda table: {"image_path": None}, "no column 'image_path'"),
        (lambda table: {"edited_image": ["a.jpg"] * 4}, "column 'edited_image' has string, expected pictures"),
        (
            lambda table: {"edited_image": None, "edited_imge": table["mask"]},
            "'edited_image': did you mean 'edited_imge'",
        ),
    ],
)
def test_a_wrong_column_is_told(tmp_path, items, change, message):
    write_compbench(tmp_path, items)
    rewrite(split_path(tmp_path, "train"), change)
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"compbench:{tmp_path}")


def test_a_table_without_a_mask_in_it_is_whole_images(tmp_path, items):
    import pyarrow as pa

    write_compbench(tmp_path, items)
    rewrite(split_path(tmp_path, "train"), lambda table: {"mask": pa.nulls(4)})
    assert all(scenario.mask.all() for scenario in load_suite(f"compbench:{tmp_path}"))


def test_turns_that_lead_nowhere_are_alone(tmp_path, items):
    spec = "compbench:PATH,split=multi_turn"
    WRITERS[spec].write(tmp_path, items)
    path = split_path(tmp_path, "multi_turn")
    before = [(s.chain, s.turn, s.cluster) for s in load_suite(f"compbench:{tmp_path}")]
    assert before[1] == ("multi_turn-0000000", 2, before[0][2]) and before[2][:2] == (None, 1)
    rewrite(path, lambda table: {"edited_image": table["input_image"]})  # each goes on from itself
    assert [s.chain for s in load_suite(f"compbench:{tmp_path}")] == [None] * 4


# ------------------------------------------------------------------------------------- Emu Edit and its answers


def test_equal_captions_are_a_known_defect(tmp_path, items):
    write_emuedit(tmp_path, [items[0], replace(items[1], target_prompt=items[1].source_prompt), *items[2:]])
    found = [scenario.metadata for scenario in load_suite(f"emuedit:{tmp_path}")]
    assert found == [{}, {"defects": ["the caption after the edit is the one before it"]}, {}, {}]
    assert len(load_suite(f"emuedit:{tmp_path},split=test")) == 3


def write_generations(folder, items, split, models=("emu",), leave_out=0):
    chosen = [(item, model) for item in items[leave_out:] for model in models]
    texts = {
        "idx": [int(item.id.partition("-")[0]) for item, _ in chosen],
        "hash": [item.id.partition("-")[2] for item, _ in chosen],
        "model": [model for _, model in chosen],
    }
    images = [png(np.full_like(item.source, 7 + len(model))) for item, model in chosen]
    write_table(split_path(folder, split), texts, {"edited_image": images})


def test_finished_images_of_a_table_are_matched_by_id_and_not_by_split(tmp_path, items):
    written = write_emuedit(tmp_path / "data", items)
    write_generations(tmp_path / "made", written[:-1], "validation")  # as published: the names are swapped
    write_generations(tmp_path / "made", written[-1:], "test")
    spec = f"table:{tmp_path}/made,id=idx+hash"
    suite = f"emuedit:{tmp_path}/data"
    result = eb.run(spec, suite=suite, output_dir=str(tmp_path / "run"), metrics="mae:region=all")
    records = result.records().records
    means = [float(np.abs(scenario.source.astype(int) - 10).mean()) / 255 for scenario in load_suite(suite)]
    assert [record.values["mae:region=all"] for record in records] == pytest.approx(means)
    assert create("editor", spec).prepare(load_suite(suite)) == []


def test_images_that_are_missing_are_told_and_are_no_edits(tmp_path, items):
    written = write_emuedit(tmp_path / "data", items)
    write_generations(tmp_path / "made", written, "test", leave_out=1)
    answers, suite = (
        create("editor", f"table:{tmp_path}/made,id=idx+hash"),
        load_suite(f"emuedit:{tmp_path}/data,split=test"),
    )
    warnings = answers.prepare(suite)
    assert [text.partition(": ")[2] for text in warnings] == [
        "1 of 3 scenarios have no image: 0-hash0",
        "1 of 3 images are of no scenario: 3-hash3",
    ]
    assert answers.answer(Task(suite[0], 0, 0)) is None
    assert answers.answer(Task(suite[1], 1, 0)) is None, "there is one image, and this is another repeat"
    assert answers.answer(Task(suite[1], 0, 0)).image.shape == items[1].source.shape


def test_an_empty_cell_is_a_missing_image(tmp_path, items):
    written = write_emuedit(tmp_path / "data", items)
    write_generations(tmp_path / "made", written, "test")
    files = [None, *(png(item.source) for item in items[1:])]
    rewrite(split_path(tmp_path / "made", "test"), lambda table: {"edited_image": pictures(files)})
    result = eb.run(
        f"table:{tmp_path}/made,id=idx+hash",
        suite=f"emuedit:{tmp_path}/data",
        output_dir=str(tmp_path / "run"),
        metrics="mae:region=all",
    )
    assert [record.edit_status for record in result.records().records] == ["output_missing", "ok", "ok", "ok"]


def test_whose_images_must_be_said_where_there_are_several(tmp_path, items):
    written = write_emuedit(tmp_path / "data", items)
    write_generations(tmp_path / "made", written, "test", ("emu", "magic"))
    suite, spec = load_suite(f"emuedit:{tmp_path}/data"), f"table:{tmp_path}/made,id=idx+hash"
    with pytest.raises(
        EditbenchError, match=r"row 0 and .*row 1 both answer '0-hash0'; say model=NAME, one of emu, magic"
    ):
        create("editor", spec).prepare(suite)
    with pytest.raises(EditbenchError, match=r"no images of model 'magix': did you mean 'magic'"):
        create("editor", f"{spec},model=magix").prepare(suite)
    answers = create("editor", f"{spec},model=magic")
    assert answers.prepare(suite) == [] and answers.answer(Task(suite[0], 0, 0)).image.max() == 12
    with pytest.raises(
        EditbenchError, match=r"no image for any of the 4 scenarios: .*'0', those of the suite like '0-hash0'"
    ):
        create("editor", f"table:{tmp_path}/made,id=idx,model=magic").prepare(suite)


# ------------------------------------------------------------------------------------------------------ AnyEdit


def test_edits_that_need_a_second_picture_are_left_out_unless_asked_for(tmp_path, items):
    spec = "anyedit:PATH,split=validation"
    WRITERS[spec].write(tmp_path, items)
    some, every = load_suite(f"anyedit:{tmp_path}"), load_suite(f"anyedit:{tmp_path},visual=true")
    assert [scenario.id for scenario in some] == [f"validation-{number:07d}" for number in (1, 2, 3)]
    assert "left out: 1, edits that need a second picture" in some.warnings[0]
    assert len(every) == 4 and every[0].metadata == {"second_picture": True} and every[0].category == "visual_reference"
    path = split_path(tmp_path, "validation")
    rewrite(path, lambda table: {"edit_instruction": None, "edit": table["edit_instruction"]})
    assert [s.instruction for s in load_suite(f"anyedit:{tmp_path}")] == [s.instruction for s in some]
    rewrite(path, lambda table: {"edit": None})
    with pytest.raises(EditbenchError, match="row 1: no column 'edit_instruction' or 'edit'"):
        load_suite(f"anyedit:{tmp_path}")


# ------------------------------------------------------------------------------------------------ any of the hub


def test_values_with_signs_of_the_grammar_are_quoted(tmp_path, items):
    write_any(tmp_path / "a,b=[c", items)
    rewrite(split_path(tmp_path / "a,b=[c", "test"), lambda table: {"p, q=r": table["prompt"], "prompt": None})
    spec = f'hub:"{tmp_path}/a,b=[c",source=picture,instruction=[p, q=r]'
    suite = load_suite(spec)
    assert [scenario.instruction for scenario in suite] == [item.instruction for item in items]
    assert spec_of(create("suite", suite.spec)) == suite.spec
    assert suite.name == "hub:source=picture,instruction=[p, q=r]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("source=pictur,instruction=prompt", "no column 'pictur': did you mean 'picture'"),
        ("source=picture,instruction=promt", "no column 'promt': did you mean 'prompt'"),
        ("source=picture,instruction=prompt,mask=regio", "no column 'regio': did you mean 'region'"),
        ("source=prompt,instruction=prompt", "'prompt' has string, expected pictures"),
        ("source=picture,instruction=prompt,id=before", "id 'a_picture' occurs twice"),
        ("source=picture,instruction=prompt,turn=number", "row 0: number=0, expected a whole number from 1"),
        ("source=picture,instruction=prompt,category=weight", r"row 0: weight=0.5, expected text"),
        ("source=picture,instruction=nothing", "row 0: nothing is empty, expected an instruction"),
        ("source=picture,instruction=prompt,threshold=0", "threshold=0, expected a grey level"),
        ("source=picture,instruction=prompt,sourse=x", "no option 'sourse': did you mean 'source'"),
    ],
)
def test_a_wrong_column_map_is_told(tmp_path, items, options, message):
    import pyarrow as pa

    write_any(tmp_path, [items[0], *[replace(item, source_prompt="a picture") for item in items[1:]]])
    rewrite(split_path(tmp_path, "test"), lambda table: {"weight": [0.5] * 4, "nothing": pa.nulls(4, pa.string())})
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"hub:{tmp_path},{options}")


def test_a_dataset_is_downloaded_into_the_librarys_cache_and_named_by_its_commit(tmp_path, items, monkeypatch):
    import huggingface_hub

    commit, blobs, asked = "0123456789abcdef" * 2, tmp_path / "blobs", []
    snapshot = tmp_path / "snapshots" / commit / "default" / "test"
    write_any(blobs, items)
    snapshot.mkdir(parents=True)
    (snapshot / "0000.parquet").symlink_to(split_path(blobs, "test"))  # the cache is made of links

    def pretend(name, **options):
        asked.append((name, options))
        return str(tmp_path / "snapshots" / commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", pretend)
    options = HUB.partition(",")[2]
    suite = load_suite(f"hub:owner/name,{options}")
    assert suite.name == f"hub:owner/name,revision=0123456789ab,{options.rpartition('split=')[0]}".replace(
        "polarity=black=edit,", ""
    ).replace("source=picture", "split=test,polarity=[black=edit],source=picture").rstrip(",")
    np.testing.assert_array_equal(suite[0].mask, items[0].mask)
    assert suite.spec.startswith("hub:owner/name,split=test"), "what was asked for, not where it is"
    (name, given), *_ = asked
    assert name == "owner/name" and given["repo_type"] == "dataset" and given["revision"] == "main"
    assert "*/test-*.parquet" in given["allow_patterns"] and "*/test/*.parquet" in given["allow_patterns"]


def test_without_network_there_is_one_line(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        raise LocalEntryNotFoundError("no network,\nno cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(EditbenchError) as caught:
        load_suite("hub:owner/name,revision=v2")
    assert "no dataset 'owner/name' at revision 'v2'" in str(caught.value) and "\n" not in str(caught.value)
    assert "`hf download --repo-type dataset owner/name`" in str(caught.value)
    monkeypatch.undo()
    with pytest.raises(EditbenchError, match="no dataset 'not a name': neither a folder nor owner/name"):
        load_suite("hub:not a name")


# -------------------------------------------------------------------------------------------------------- tables


def test_a_folder_of_the_table_and_its_parts_are_counted_through(tmp_path, items):
    for part in range(2):
        texts = {"instruction": [item.instruction for item in items[:2]]}
        images = {"image": [png(item.source) for item in items[2 * part : 2 * part + 2]]}
        write_table(split_path(tmp_path / "english", "test", part, 2), texts, images)
    write_table(split_path(tmp_path / "german", "test"), {"instruction": ["Los."]}, {"image": [png(items[0].source)]})
    suite = load_suite(f"hub:{tmp_path},folder=english,split=test")
    assert [scenario.id for scenario in suite] == [f"test-{number:07d}" for number in range(4)]
    for scenario, item in zip(suite, items, strict=True):
        np.testing.assert_array_equal(scenario.source, item.source)
    every = [scenario.id for scenario in load_suite(f"hub:{tmp_path}")]
    assert every == [f"test-{number:07d}" for number in range(5)], "no id twice in folders that both have the split"


def test_a_cell_without_a_picture_costs_its_own_scenario(tmp_path, items):
    files = [png(items[0].source), None, b"", png(items[3].source)[:200]]
    write_table(split_path(tmp_path, "test"), {"instruction": ["Go."] * 4}, {"image": files})
    suite = load_suite(f"hub:{tmp_path}")
    assert suite[0].source.shape == (32, 48, 3)
    for number, reason in ((1, "the cell holds no picture"), (2, "not a PNG"), (3, "truncated or corrupt")):
        with pytest.raises(InvalidImage, match=rf"source 'data/test-.*parquet, row {number}, image': .*{reason}"):
            _ = suite[number].source


def test_pictures_are_found_in_any_order(tmp_path, items):
    shades = [np.full((16, 16, 3), number, np.uint8) for number in range(40)]
    write_table(split_path(tmp_path, "test"), {"instruction": ["Go."] * 40}, {"image": list(map(png, shades))}, group=9)
    suite = load_suite(f"hub:{tmp_path}")
    order = np.random.default_rng(0).permutation(40)
    assert [int(suite[int(number)].source[0, 0, 0]) for number in order] == order.tolist()


def test_a_table_that_is_cut_off_is_told(tmp_path, items):
    write_any(tmp_path, items)
    path = split_path(tmp_path, "test")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EditbenchError, match=r"test-.*parquet cannot be read"):
        load_suite(HUB.replace("PATH", str(tmp_path)))


def test_without_pyarrow_there_is_one_line(tmp_path, items, monkeypatch):
    write_any(tmp_path, items)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(EditbenchError, match=r"needs pyarrow: pip install 'editbench\[parquet\]'"):
        load_suite(HUB.replace("PATH", str(tmp_path)))


FLAT = """
import re, sys
from editbench import load_suite
from editbench.images import decode
from editbench.png import encode_png
def peak():
    return int(re.search("VmHWM:(.*)kB", open("/proc/self/status").read())[1]) / 2**10
suite = load_suite("hub:" + sys.argv[1] + ",target=target")
decode(sys.stdin.buffer.read())
before = peak()
for scenario in suite:
    assert scenario.source.shape == scenario.target.shape == (32, 48, 3)
print(len(suite), peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory where Linux tells it")
def test_a_table_of_many_pictures_is_read_in_flat_memory(tmp_path):
    """Twice 300 pictures of 250 kB, 150 MB in all, in groups of 20: what stays in memory is a group a column."""
    small, random = png(examples(1, 32, 48)[0].source), np.random.default_rng(0)
    files = [small + random.bytes(250_000) for _ in range(300)]  # what follows a PNG's end is not decoded
    texts = {"instruction": ["Go."] * 300}
    write_table(split_path(tmp_path, "test"), texts, {"image": files, "target": files}, group=20)
    assert split_path(tmp_path, "test").stat().st_size > 150e6
    code = [sys.executable, "-c", FLAT, str(tmp_path)]
    done = subprocess.run(code, input=small, capture_output=True, check=True, cwd=Path(__file__).parents[1])
    count, megabytes = done.stdout.split()
    assert int(count) == 300 and float(megabytes) < 80


def test_the_check_of_a_loader_sees_an_inverted_mask(tmp_path):
    findings = check_loader(HUB.replace("black=edit", "white=edit"), WRITERS[HUB], tmp_path)
    assert [finding.text.partition(": ")[2] for finding in findings] == ["the mask is inverted"] * 3
