"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.hub import write_gedit, write_gedit_chinese, write_gedit_masked, write_geditv2
from editbench.testing.layouts.imagen import write_editbench_imagen
from editbench.testing.layouts.imgedit import write_imgedit, write_imgedit_masked, write_imgedit_sessions
from editbench.testing.layouts.pie import write_piebench
from editbench.testing.layouts.reasoning import write_icebench, write_krisbench, write_risebench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "editbench_imagen:PATH": Written(write_editbench_imagen),
    "gedit:PATH": Written(write_gedit),
    "gedit:PATH,language=cn": Written(write_gedit_chinese),
    "gedit:PATH,masks=cocoedit": Written(write_gedit_masked),
    "geditv2:PATH": Written(write_geditv2),
    "icebench:PATH": Written(write_icebench),
    "imgedit:PATH": Written(write_imgedit),
    "imgedit:PATH,masks=cocoedit": Written(write_imgedit_masked),
    "imgedit:PATH,part=multiturn": Written(write_imgedit_sessions, count=3),
    "krisbench:PATH": Written(write_krisbench),
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
    "risebench:PATH": Written(write_risebench),
}
"""By the spec that loads what is written."""
