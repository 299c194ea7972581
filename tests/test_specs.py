import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editbench import registry
from editbench.built_in import BUILT_IN
from editbench.editors.command import Command
from editbench.editors.controls import Blur, Paste
from editbench.editors.folder import FolderAnswers
from editbench.metrics.pixel import Changed
from editbench.registry import create, lookup, names, spec_of
from editbench.specs import SpecError, did_you_mean, parse, printable, quote, slug, split_list
from editbench.suites import published_terms
from editbench.testing.layouts import WRITERS
from editbench.types import EditbenchError

# What the grammar gives a meaning to, drawn often, beside any other text.
values = st.text() | st.text(st.sampled_from('ab,[]"=: \\\n{.'), max_size=12)
names_of_options = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)


def refusal(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a Python file; what importing it adds to the search path goes away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(code, name="mine.py"):
        path = tmp_path / name
        path.write_text(dedent(code))
        return path

    return written


# ------------------------------------------------------------------------------------------------------ grammar


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("psnr", ["psnr"]),
        ("mae, mse ,noop", ["mae", "mse", "noop"]),
        ("mae,,mse,", ["mae", "mse"]),
        ("psnr:region=keep,mae:region=edit", ["psnr:region=keep", "mae:region=edit"]),
        ("changed:region=edit,tau=0.1,success", ["changed:region=edit,tau=0.1", "success"]),
        ("mae,region=edit,mse", ["mae:region=edit", "mse"]),
        ("target:mae,region=edit,noop", ["target:mae,region=edit", "noop"]),
        ("paste:editor=[jpeg:quality=5],feather=2,blur", ["paste:editor=[jpeg:quality=5],feather=2", "blur"]),
        ("paste:editor=[command:[a, b]],blur", ["paste:editor=[command:[a, b]]", "blur"]),
        ('command:"a,b=[",batch_size=2,blur', ['command:"a,b=[",batch_size=2', "blur"]),
        ("m.py:Mine,region=edit,tau=1,mae", ["m.py:Mine:region=edit,tau=1", "mae"]),
        ("pkg.metrics:Mine,region=edit,mae", ["pkg.metrics:Mine:region=edit", "mae"]),
        ("m.py:Mine:region=edit,tau=1,mae", ["m.py:Mine:region=edit,tau=1", "mae"]),
    ],
)
def test_a_list_is_split_at_commas_and_an_option_continues_its_item(text, items):
    assert split_list(text) == items


@pytest.mark.parametrize(
    ("text", "name", "bare", "options"),
    [
        ("psnr", "psnr", None, {}),
        ("psnr:", "psnr", None, {}),
        ("shapes@1:size=64", "shapes@1", None, {"size": "64"}),
        ("changed:region=keep,tau=0.1", "changed", None, {"region": "keep", "tau": "0.1"}),
        ("changed: region=keep , tau=0.1", "changed", None, {"region": "keep", "tau": "0.1"}),
        ("folder:some/where", "folder", "some/where", {}),
        ("folder:a, b,mask_access=hint", "folder", "a,b", {"mask_access": "hint"}),
        ("folder:[a, b],mask_access=hint", "folder", "a, b", {"mask_access": "hint"}),
        ("folder:[a=b]", "folder", "a=b", {}),
        ('folder:""', "folder", "", {}),
        ('folder:"a\\n\\"b"', "folder", 'a\n"b', {}),
        ("x:url=http://host:80/?a=b", "x", None, {"url": "http://host:80/?a=b"}),
        ("x:a=[b],c=[d][e]", "x", None, {"a": "b", "c": "[d][e]"}),
        ('x:a=b "c" d', "x", None, {"a": 'b "c" d'}),
        ("x:a=", "x", None, {"a": ""}),
        (
            "paste:editor=[paste:editor=[recolor:leak=0.3],feather=1],feather=4",
            "paste",
            None,
            {"editor": "paste:editor=[recolor:leak=0.3],feather=1", "feather": "4"},
        ),
        ("mine.py:Editor", "mine.py:Editor", None, {}),
        ("/a b/mine.py:Editor:strength=2", "/a b/mine.py:Editor", None, {"strength": "2"}),
        ("./mine.py:Editor:some,strength=2", "./mine.py:Editor", "some", {"strength": "2"}),
        ("pkg.mod:Editor:strength=2", "pkg.mod:Editor", None, {"strength": "2"}),
        ("folder:/data/mine.py:Editor", "folder", "/data/mine.py:Editor", {}),
    ],
)
def test_a_spec_is_taken_apart(text, name, bare, options):
    spec = parse(text)
    assert (spec.name, spec.bare, dict(spec.options)) == (name, bare, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no name"),
        ("  :a=1", "has no name"),
        ("x:a=1,b=2,a=3", "gives option 'a' twice"),
        ("x:a=1,2", "'2' follows an option; a value with commas stands in brackets"),
        ("x:a=1,", "'' follows an option"),
        ("x:a=[b", "unbalanced brackets"),
        ("x:a=b]", "unbalanced brackets"),
        ("x:a=][", "unbalanced brackets"),
        ("x:a=[b]],c=[d", "unbalanced brackets"),
        ('x:a="b', "unfinished quoted value"),
        ('x:"b', "unfinished quoted value"),
        ('x:a="b"c', "goes on after its closing quote: put the whole value in brackets"),
        ('x:"b" c', "goes on after its closing quote: put the whole value in brackets"),
    ],
)
def test_a_malformed_spec_is_refused(text, message):
    assert message in refusal(parse, text)


def test_a_malformed_list_is_refused():
    assert "unbalanced brackets" in refusal(split_list, "paste:editor=[blur,noise")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("0.3", "0.3"),
        ("a:b/c d", "a:b/c d"),
        ("a,b", "[a,b]"),
        ("[a]", "[[a]]"),
        ("a=b", "[a=b]"),
        ("python x.py --n=1 {out}", "python x.py --n=1 {out}"),
        ("", '""'),
        (" a", '" a"'),
        ('"a"', '"\\"a\\""'),
        ("a]", '"a]"'),
        ('x --n="a', '"x --n=\\"a"'),
        ("größe", "größe"),
    ],
)
def test_a_value_is_written_as_plainly_as_it_can_be_read(value, written):
    assert quote(value) == written
    assert parse(f"x:a={written}").options["a"] == value


@given(values, values)
@settings(deadline=None)
def test_any_value_survives_being_written_and_read(first, second):
    spec = parse(f"x:a={quote(first)},b={quote(second)}")
    assert (spec.name, spec.bare, dict(spec.options)) == ("x", None, {"a": first, "b": second})


@given(values, st.dictionaries(names_of_options, values, max_size=3))
@settings(deadline=None)
def test_any_bare_value_survives_too(bare, options):
    written = ",".join([quote(bare), *(f"{name}={quote(value)}" for name, value in options.items())])
    spec = parse(f"x:{written}")
    assert (spec.bare, dict(spec.options)) == (bare, options)


@given(st.lists(st.tuples(values, values), max_size=4))
@settings(deadline=None)
def test_any_list_of_specs_comes_apart_where_it_was_joined(pairs):
    specs = [f"x:{quote(bare)},a={quote(value)}" for bare, value in pairs]
    assert split_list(",".join(specs)) == specs


@given(values)
@settings(deadline=None)
def test_text_is_parsed_or_refused_and_nothing_else(text):
    for read in (parse, split_list):
        try:
            read(text)
        except SpecError:
            continue


# ---------------------------------------------------------------------------------------------------- file names


@pytest.mark.parametrize("spec", ["identity", "shapes@1", "a-b_c.d"])
def test_a_plain_name_is_its_own_file_name(spec):
    assert slug(spec) == spec


@pytest.mark.parametrize(
    "spec", ["psnr:region=keep", "../../etc/passwd", "/", "..", ".hidden", "-rf", "a" * 300, "a\0b\n", "größe", "a b"]
)
def test_any_other_spec_gives_a_safe_file_name(spec):
    name = slug(spec)
    assert len(name) <= 57 and name.isascii() and name[:1] != "."
    assert not set(name) & set("/\\:\0\n ") and slug(spec) == name


@given(values, values)
@settings(deadline=None)
def test_distinct_specs_have_distinct_file_names(first, second):
    assert (slug(first) == slug(second)) == (first == second)


@pytest.mark.parametrize("spec", ["é", "<>", "-", "…x"])
def test_a_file_name_never_looks_like_an_option(spec):
    assert not slug(spec).startswith("-")


def test_specs_that_differ_in_punctuation_alone_have_distinct_file_names():
    alike = ["blur:sigma=1.0", "blur-sigma-1.0", "blur;sigma;1.0", "blur:sigma=1.0-"]
    assert len({slug(spec) for spec in alike}) == 4
    assert slug("blur:sigma=1.0").startswith("blur-sigma-1.0-")


def test_escape_sequences_do_not_reach_the_terminal():
    assert printable("\x1b[31mred\x07\r\u202e") == "\ufffd[31mred\ufffd\ufffd\ufffd"
    assert printable("größe 🎨 a\nb") == "größe 🎨 a\nb"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("pnsr", ": did you mean 'psnr'?"),
        ("shapes", ": did you mean 'shapes@1'?"),
        ("mxe", ": did you mean 'mse' or 'mae'?"),
        ("largest_chnage", ": did you mean 'largest_change'?"),
        ("cub", ": did you mean 'cub@2026.11'?"),
        ("zzzzz", ""),
    ],
)
def test_near_words_are_offered(word, hint):
    assert did_you_mean(word, ["psnr", "mse", "mae", "shapes@1", "cub@2026.11", "largest_change", "far_change"]) == hint


# ------------------------------------------------------------------------------------------ components and specs

CANONICAL = [
    ("suite", "shapes@1"),
    ("suite", "shapes@1:size=64"),
    ("suite", "photos@1"),
    ("suite", "anyedit:some/where,split=validation,visual=true"),
    ("suite", "compbench:some/where,polarity=[black=edit]"),
    ("suite", "emuedit:some/where"),
    ("suite", "hub:owner/name,revision=v2,split=test,threshold=128,source=picture,instruction=[p, q],id=none_such"),
    ("suite", "humanedit:some/where,core=true"),
    ("suite", "magicbrush:some/where,captions=global"),
    ("suite", "piebench:some/where"),
    ("editor", "identity"),
    ("editor", "target"),
    ("editor", "noise"),
    ("editor", "noise:sigma=0.25"),
    ("editor", "blur"),
    ("editor", "blur:sigma=1e-05"),
    ("editor", "jpeg"),
    ("editor", "jpeg:quality=20"),
    ("editor", "fill"),
    ("editor", "shuffle"),
    ("editor", "biharmonic"),
    ("editor", "biharmonic:max_pixels=500"),
    ("editor", "recolor"),
    ("editor", "recolor:leak=0.3"),
    ("editor", "harmonise"),
    ("editor", "paste:editor=identity"),
    ("editor", "paste:editor=[recolor:leak=0.3],feather=4"),
    ("editor", "paste:editor=[paste:editor=[blur:sigma=1.5],feather=1]"),
    ("editor", "paste:editor=[folder:some/where,mask_access=hint],feather=2"),
    ("editor", "paste:editor=[folder:[a, b]]"),
    ("editor", 'paste:editor=[folder:"a] [b"]'),
    ("editor", "folder:some/where"),
    ("editor", "folder:[a=b, c],mask_access=region"),
    ("editor", 'folder:" odd "'),
    ("editor", "table:some/where,id=idx+hash,model=emu"),
    ("editor", "command:env edit.py {request} {out}"),
    ("editor", "command:[env edit.py --lora=a,b {request} {out}],mask_access=hint,batch_size=4"),
    ("editor", 'command:"\\"env\\" {request} {out}"'),
    ("editor", "command:[env edit.py --lora=a,b],mask_access=hint,mode=worker"),
    ("editor", "http://127.0.0.1:8377"),
    ("editor", "https://host.example/a/path,mask_access=hint,batch_size=4,concurrency=2,timeout=9.0,token=MY_TOKEN"),
    ("editor", "http:[http://[::1]:8377/edit],retries=0"),
    ("editor", "paste:editor=[http://127.0.0.1:8377,timeout=9.0],feather=2"),
    ("editor", "openai_images:gpt-image-1"),
    ("editor", "openai_images:flux/kontext,url=http://127.0.0.1:8000/v1,sizes=512x512/768x512,send_seed=true"),
    ("metric", "psnr:region=all"),
    ("metric", "mae:region=keep"),
    ("metric", "mse:region=edit"),
    ("metric", "changed:region=keep"),
    ("metric", "changed:region=keep,tau=0.1"),
    ("metric", "delta_e:region=band"),
    ("metric", "ssim:region=edit"),
    ("metric", "judge:viescore,model=Qwen/Qwen2.5-VL-7B-Instruct"),
    ("metric", "judge:region_edit,model=qwen2.5vl:7b,passes=5,seed=3,temperature=0.7,date=2026-01-31"),
    ("metric", "dino_structure:region=keep"),
    ("metric", "dino_structure:region=all,model=facebook/dinov2-base,layer=5"),
    ("metric", "legacy_pie:psnr_unedit"),
    ("metric", "legacy_pie:lpips_unedit,trunk=squeezenet.pth"),
    ("metric", "legacy_brushnet:psnr"),
    ("metric", "legacy_gie:ssim"),
    ("metric", "legacy_magicbrush:clip_t"),
    ("metric", "st_lpips:region=keep,net=vgg,margin=8"),
    ("metric", "lpips:region=all,net=squeeze,trunk=some/where.pth"),
    ("metric", "ring:width=12.0"),
    ("metric", "gms:region=keep"),
    ("metric", "seam"),
    ("metric", "seam_z"),
    ("metric", "band_jump"),
    ("metric", "leak_profile"),
    ("metric", "leak_auc"),
    ("metric", "far_change"),
    ("metric", "global_shift"),
    ("metric", "global_shift:part=translation"),
    ("metric", "target:mae,region=edit"),
    ("metric", "clip_score:region=all,model=shapes-tiny"),
    ("metric", "clip_directional:region=edit,model=ViT-B-32,pretrained=openai,context=0.5"),
    ("metric", "clip_image:region=all,model=hf-hub:owner/name"),
    ("metric", "conse_score:region=edit"),
    ("metric", "success"),
    ("metric", "success_graded"),
    ("metric", "composite"),
    ("metric", "noop"),
]


@pytest.mark.parametrize(("kind", "spec"), CANONICAL)
def test_a_canonical_spec_comes_back(kind, spec):
    component = create(kind, spec)
    assert spec_of(component) == spec
    assert create(kind, spec) == component


def test_the_folder_suite_comes_back(tmp_path):
    (tmp_path / "scenarios.jsonl").write_text('{"id": "x", "source": "a.png", "instruction": "Go."}\n')
    assert spec_of(create("suite", f"folder:{tmp_path}")) == f"folder:{tmp_path}"


@pytest.mark.parametrize("spec", [f"{name}:data" for name in published_terms()] + [*WRITERS])
def test_a_published_benchmark_comes_back(spec):
    layout = create("suite", spec)
    assert create("suite", spec_of(layout)) == layout
    if "," not in spec:
        assert spec_of(layout) == spec


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_built_in_component_is_in_the_table(kind):
    tested = {parse(spec).name for of_kind, spec in CANONICAL if of_kind == kind}
    elsewhere = {  # they need data, or a model
        "suite": {"folder", *published_terms()},
        "editor": {"diffusers", "geditv2_gallery", "icebench_outputs", "vae"},
    }
    assert set(BUILT_IN[kind]) == tested | elsewhere.get(kind, set())


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_name_is_listed_with_a_line_about_it(kind):
    assert set(names(kind)) >= set(BUILT_IN[kind])
    assert all(about and "\n" not in about for about in names(kind).values())
    assert all(isinstance(lookup(kind, name), type) for name in BUILT_IN[kind])


@pytest.mark.parametrize(
    ("kind", "spec", "canonical"),
    [
        ("editor", "recolor:leak=0.0", "recolor"),
        ("editor", "recolor:leak=.30", "recolor:leak=0.3"),
        ("editor", "blur:sigma=5", "blur:sigma=5.0"),
        ("editor", "paste:feather=4,editor=[recolor:leak=3e-1]", "paste:editor=[recolor:leak=0.3],feather=4"),
        ("editor", "paste:editor=[blur],feather=0", "paste:editor=blur"),
        ("editor", "folder:path=a,b=", None),
        ("editor", "folder:path=[a,b]", "folder:[a,b]"),
        ("metric", "changed:tau=0.03,region=keep", "changed:region=keep"),
        ("metric", "target:region=edit,metric=mae", "target:mae,region=edit"),
        ("suite", "shapes@1:size=256", "shapes@1"),
    ],
)
def test_other_spellings_have_one_canonical_form(kind, spec, canonical):
    if canonical is None:
        assert "has no option 'b'" in refusal(create, kind, spec)
    else:
        assert spec_of(create(kind, spec)) == canonical
        assert create(kind, spec) == create(kind, canonical)


@pytest.mark.parametrize(
    ("component", "spec"),
    [
        (Blur(), "blur"),
        (Blur(sigma=5), "blur:sigma=5.0"),
        (Changed("keep", tau=0), "changed:region=keep,tau=0.0"),
        (Paste(Blur(2.5), feather=3), "paste:editor=[blur:sigma=2.5],feather=3"),
    ],
)
def test_a_component_made_in_python_has_the_spec_it_has_on_the_command_line(component, spec, monkeypatch):
    monkeypatch.setattr(registry, "_names", {})  # as if no name had been looked up
    assert spec_of(component) == spec


@given(values)
@settings(deadline=None)
def test_any_path_and_any_program_survive_even_nested(text):
    for editor in (FolderAnswers(Path(text)), Command(f"echo {shlex.quote(text)} {{request}}{{out}}")):
        assert create("editor", spec_of(editor)) == editor
        assert create("editor", spec_of(Paste(Paste(editor), feather=2))) == Paste(Paste(editor), feather=2)
        assert split_list(f"blur,{spec_of(Paste(editor))}") == ["blur", spec_of(Paste(editor))]


# -------------------------------------------------------------------------------------------------- refused specs


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("editor", "identty", "unknown editor 'identty': did you mean 'identity'?"),
        ("editor", "Blur", "unknown editor 'Blur': did you mean 'blur'?"),
        ("editor", "psnr", "unknown editor 'psnr': `editbench list editors` shows all"),
        ("suite", "shapes", "unknown suite 'shapes': did you mean 'shapes@1'?"),
        ("suite", "shapes@2", "unknown suite 'shapes@2': did you mean 'shapes@1'?"),
        ("metric", "psnr:regoin=keep", "metric 'psnr' has no option 'regoin': did you mean 'region'?"),
        ("metric", "changed:xyz=1", "metric 'changed' has no option 'xyz' (it has: region, tau)"),
        ("editor", "identity:x=1", "editor 'identity' has no option 'x' (it has: none)"),
        ("editor", "shuffle:_suite=1", "editor 'shuffle' has no option '_suite' (it has: none)"),
        ("metric", "psnr:keep", "metric 'psnr' has no bare option 'keep', expected option=value"),
        ("metric", "psnr:regio", "metric 'psnr' has no bare option 'regio', expected option=value: did you mean 'reg"),
        ("metric", "psnr", "metric 'psnr' needs region: write psnr:region=…"),
        ("editor", "paste:feather=1", "editor 'paste' needs editor: write paste:editor=…"),
        ("editor", "folder", "editor 'folder' needs path: write folder:PATH"),
        ("metric", "target", "metric 'target' needs region, metric: write target:METRIC,region=…"),
        ("editor", "folder:a,path=b", "editor 'folder' has option 'path' twice: 'a' and 'b'"),
        ("metric", "psnr:region=edit,region=keep", "spec 'psnr:region=edit,region=keep' gives option 'region' twice"),
        (
            "metric",
            "psnr:region=keap",
            "metric 'psnr': region='keap', expected one of edit, keep, all, band: did you mean 'keep'?",
        ),
        ("editor", "jpeg:quality=high", "editor 'jpeg': quality='high', expected a whole number"),
        ("editor", "jpeg:quality=75.0", "editor 'jpeg': quality='75.0', expected a whole number"),
        ("editor", "jpeg:quality=", "editor 'jpeg': quality='', expected a whole number"),
        ("editor", "blur:sigma=wide", "editor 'blur': sigma='wide', expected a finite number"),
        ("editor", "blur:sigma=nan", "editor 'blur': sigma='nan', expected a finite number"),
        ("editor", "blur:sigma=-inf", "editor 'blur': sigma='-inf', expected a finite number"),
        ("editor", "blur:sigma=1e999", "editor 'blur': sigma='1e999', expected a finite number"),
        ("editor", "recolor:leak=2", "editor 'recolor:leak=2': leak=2.0, expected 0 to 1"),
        ("editor", "paste:editor=[recolr]", "unknown editor 'recolr': did you mean 'recolor'?"),
        ("editor", "paste:editor=[recolor:leek=1]", "editor 'recolor' has no option 'leek': did you mean 'leak'?"),
        ("editor", "paste:editor=recolor:leak=x", "editor 'recolor': leak='x', expected a finite number"),
        ("editor", "missing.py:Editor", "no file 'missing.py'"),
        ("editor", "m.py", "unknown editor 'm.py': write m.py:NAME for what is called NAME in that file"),
        ("editor", "nosuchmodule:edit", "unknown editor 'nosuchmodule': `editbench list editors` shows all"),
        ("editor", "__main__:edit", "unknown editor '__main__'"),
        ("editor", "json:edti", "json has no 'edti'"),
        ("metric", "legacy_pi:psnr_unedit", "unknown metric 'legacy_pi': did you mean 'legacy_pie' or "),
    ],
)
def test_what_is_wrong_with_a_spec_is_said_in_one_line(kind, spec, message):
    said = refusal(create, kind, spec)
    assert said.startswith(message) and "\n" not in said


def test_what_a_suite_says_about_its_options_gets_through():
    with pytest.raises(EditbenchError, match="size=65, expected a multiple of 16"):
        create("suite", "shapes@1:size=65")


# --------------------------------------------------------------------------------------------- anybody's own code

OPTIONS = """
    from __future__ import annotations

    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import TYPE_CHECKING, ClassVar, Literal, Optional

    from editbench.registry import bare

    if TYPE_CHECKING:
        from nowhere import Never

    @dataclass(frozen=True)
    class Mine:
        text: str = bare("")
        path: Path = Path("a")
        whole: int = 1
        number: float = 0.5
        switch: bool = False
        choice: Literal["one", "two"] = "one"
        level: Literal[8, 16] = 8
        maybe: int | None = None
        perhaps: Optional[float] = 0.5
        either: Literal["a", "b"] | None = None
        state: Never = field(default=None, init=False)
        shared: ClassVar[Never] = None
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "options.py"
    path.write_text(dedent(OPTIONS))
    spec = f"{path}:Mine"
    return spec, lookup("editor", spec)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("text", "a, [b"),
        ("path", Path("/x/y.z")),
        ("whole", -3),
        ("number", 2.0),
        ("switch", True),
        ("choice", "two"),
        ("level", 16),
        ("maybe", 0),
        ("perhaps", None),
        ("perhaps", 0.25),
        ("either", "b"),
    ],
)
def test_options_of_every_type_are_read_and_written(mine, option, value):
    spec, cls = mine
    component = create("editor", f"{spec}:{option}={quote('none' if value is None else str(value).lower())}")
    assert getattr(component, option) == value and type(getattr(component, option)) is type(value)
    assert component == cls(**{option: value})
    assert create("editor", spec_of(component)) == component


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("whole=1.5", "whole='1.5', expected a whole number"),
        ("whole=none", "whole='none', expected a whole number"),
        ("switch=yes", "switch='yes', expected true or false"),
        ("switch=True", "switch='True', expected true or false"),
        ("choice=tow", "choice='tow', expected one of one, two: did you mean 'two'?"),
        ("level=32", "level='32', expected one of 8, 16"),
        ("maybe=x", "maybe='x', expected a whole number or none"),
        ("perhaps=x", "perhaps='x', expected a finite number or none"),
        ("either=c", "either='c', expected one of a, b or none"),
        ("state=1", "has no option 'state'"),
        ("shared=1", "has no option 'shared'"),
    ],
)
def test_options_of_the_wrong_type_are_refused_with_the_right_one(mine, option, message):
    said = refusal(create, "editor", f"{mine[0]}:{option}")
    assert message in said and said.startswith(f"editor {mine[0]!r}")


@given(
    text=values,
    whole=st.integers(),
    number=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300),
    switch=st.booleans(),
    choice=st.sampled_from(["one", "two"]),
    maybe=st.none() | st.integers(),
)
@settings(deadline=None)
def test_any_component_can_be_made_again_from_its_spec(mine, **options):
    component = mine[1](**options)
    assert create("editor", spec_of(component)) == component
    assert spec_of(create("editor", spec_of(component))) == spec_of(component)


def test_a_file_is_imported_once_and_can_import_its_neighbours(write):
    write("NAME = 'neighbour'\n", "neighbour_of_mine.py")
    path = write("""
        from neighbour_of_mine import NAME

        class Editor:
            name = NAME
    """)
    first, second = create("editor", f"{path}:Editor"), create("editor", f"{path}:Editor")
    assert first.name == "neighbour" and type(first) is type(second)
    assert spec_of(first) == f"{path}:Editor"


def test_a_file_cannot_hide_an_installed_module(write, monkeypatch):
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    write("raise RuntimeError('the wrong one')\n", "sched.py")
    path = write("from sched import scheduler as Editor\n")
    assert lookup("editor", f"{path}:Editor").__module__ == "sched"


def test_a_module_is_looked_up_by_its_dotted_name(write, monkeypatch):
    assert lookup("metric", "editbench.metrics.pixel:_difference").__name__ == "_difference"
    said = refusal(lookup, "editor", "os.path:jion")
    assert said == "os.path has no 'jion': did you mean 'join'?"
    said = refusal(lookup, "editor", "no_such_package.editors:Mine")
    assert said.startswith("editor 'no_such_package.editors:Mine' cannot be imported: ModuleNotFoundError")


def test_a_module_at_the_top_is_looked_up_where_no_component_has_its_name(write, monkeypatch, tmp_path):
    code = """
        from dataclasses import dataclass

        def edit(source):
            return source

        @dataclass(frozen=True)
        class Editor:
            strength: float = 0.5
            path: str = ""
    """
    write(code, "top_of_mine.py")
    write(code, "blur.py")
    monkeypatch.chdir(tmp_path)
    assert refusal(create, "editor", "top_of_mine:edit") == (
        "unknown editor 'top_of_mine': write top_of_mine.py:NAME for what is called NAME in that file"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert create("editor", "top_of_mine:edit")("image") == "image"
    for spec in ("top_of_mine:Editor", "top_of_mine:Editor:strength=0.25,path=a"):
        assert spec_of(create("editor", spec)) == spec
        assert spec_of(create("editor", f"paste:editor=[{spec}]").editor) == spec
    listed = split_list("top_of_mine:Editor,strength=0.25,identity")
    assert [spec_of(create("editor", item)) for item in listed] == ["top_of_mine:Editor:strength=0.25", "identity"]
    assert spec_of(create("editor", "blur:sigma=5")) == "blur:sigma=5.0"
    assert "has no bare option 'edit'" in refusal(create, "editor", "blur:edit")


def test_an_object_in_a_file_has_the_name_that_it_was_found_by(write):
    path = write("""
        from dataclasses import dataclass
        from editbench.editors.controls import Blur

        class Plain:
            def __init__(self, strength):
                self.strength = strength

        @dataclass
        class Listed:
            strength: int = 1

        plain, listed, blurred = Plain(0.5), Listed(3), Blur(2.0)
    """)
    for name in ("plain", "listed", "blurred"):
        component = create("editor", f"{path}:{name}")
        assert spec_of(component) == f"{path}:{name}" and create("editor", spec_of(component)) is component
    assert spec_of(type(component)(2.0)) == "blur:sigma=2.0"
    assert spec_of(type(create("editor", f"{path}:listed"))(4)) == f"{path}:Listed:strength=4"


def test_a_function_is_returned_as_it_is_and_takes_no_options(write):
    path = write("def edit(source):\n    return source\n")
    assert create("editor", f"{path}:edit")("image") == "image"
    assert refusal(create, "editor", f"{path}:edit:a=1") == f"editor '{path}:edit' is a function and takes no options"
    assert refusal(create, "editor", f"{path}:edti") == f"{path} has no 'edti': did you mean 'edit'?"


def test_a_plain_class_takes_no_options(write):
    path = write("class Editor:\n    pass\n\nclass Needy:\n    def __init__(self, weights):\n        pass\n")
    assert type(create("editor", f"{path}:Editor")).__name__ == "Editor"
    for option in ("a=1", "a"):
        said = refusal(create, "editor", f"{path}:Editor:{option}")
        assert said == f"editor '{path}:Editor' has no option 'a': options are the fields of a dataclass"
    assert "missing 1 required positional argument: 'weights'" in refusal(create, "editor", f"{path}:Needy")


def test_a_subclass_of_a_built_in_metric_has_its_options_without_importing_their_types(write):
    path = write("""
        from dataclasses import dataclass
        from editbench.metrics.pixel import Changed

        class Plain(Changed):
            pass

        @dataclass(frozen=True)
        class Stricter(Changed):
            tau: float = 0.01
            twice: bool = False
    """)
    assert spec_of(create("metric", f"{path}:Plain:region=keep,tau=0.5")) == f"{path}:Plain:region=keep,tau=0.5"
    assert create("metric", f"{path}:Stricter:region=keep,twice=true").tau == 0.01
    assert "expected one of edit, keep" in refusal(create, "metric", f"{path}:Stricter:region=x")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def broken(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise RuntimeError('first line\\n  second line')", "RuntimeError: first line second line"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_imported_is_reported_in_one_line(write, code, reason):
    path = write(code)
    for _ in range(2):  # nothing half-imported is left behind
        assert refusal(create, "editor", f"{path}:Editor") == f"editor '{path}:Editor' cannot be imported: {reason}"


def test_a_mended_file_can_be_imported_after_a_failure(write):
    path = write("raise RuntimeError\n")
    refusal(create, "editor", f"{path}:Editor")
    write("class Editor:\n    mended_since = True\n")
    assert create("editor", f"{path}:Editor").mended_since


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("ValueError('strength=3, expected 0 to 1')", "strength=3, expected 0 to 1"),
        ("RuntimeError('no accelerator\\nfound')", "RuntimeError: no accelerator found"),
        ("FileNotFoundError(2, 'No such file', 'w.safetensors')", "FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_a_constructor_that_fails_is_reported_in_one_line(write, error, reason):
    path = write(f"class Editor:\n    def __init__(self):\n        raise {error}\n")
    said = refusal(create, "editor", f"{path}:Editor")
    assert said.startswith(f"editor '{path}:Editor': {reason}") and "\n" not in said


def test_an_error_meant_for_the_user_is_passed_on_as_it_is(write):
    path = write("""
        from editbench.types import EditbenchError

        class Editor:
            def __init__(self):
                raise EditbenchError("get the weights with: make weights")
    """)
    with pytest.raises(EditbenchError) as caught:
        create("editor", f"{path}:Editor")
    assert str(caught.value) == "get the weights with: make weights"


def test_a_region_is_written_even_where_it_is_the_default(write):
    path = write("""
        from dataclasses import dataclass
        from editbench.regions import RegionName

        @dataclass(frozen=True)
        class Metric:
            region: RegionName = "all"
            power: int = 2
    """)
    assert spec_of(create("metric", f"{path}:Metric")) == f"{path}:Metric:region=all"


def test_a_component_that_names_itself_keeps_its_name():
    @dataclass(frozen=True)
    class Named:
        spec: str

    assert spec_of(Named("me:at=home")) == "me:at=home"


def test_listing_and_parsing_import_no_component():
    code = """
        import sys
        from editbench.built_in import BUILT_IN
        from editbench.registry import names
        from editbench.specs import parse
        for kind in BUILT_IN:
            names(kind)
        parse("paste:editor=[recolor:leak=0.3]")
        found = [name for name in sys.modules if name.startswith(("editbench.suites.", "editbench.editors.", "torch"))]
        print(sorted(found))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
