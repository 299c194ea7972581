"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.coco import write_coco, write_editval
from editbench.testing.layouts.gie import write_giebench
from editbench.testing.layouts.hatie import write_hatie
from editbench.testing.layouts.hub import write_gedit, write_gedit_chinese, write_gedit_masked, write_geditv2
from editbench.testing.layouts.imagen import write_editbench_imagen
from editbench.testing.layouts.imgedit import write_imgedit, write_imgedit_masked, write_imgedit_sessions
from editbench.testing.layouts.pie import write_brushbench, write_piebench, write_piebench_pp
from editbench.testing.layouts.reasoning import write_icebench, write_krisbench, write_risebench
from editbench.testing.layouts.ted import write_tedbench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "brushbench:PATH": Written(write_brushbench, size=(512, 512)),
    "coco:PATH": Written(write_coco),
    "editbench_imagen:PATH": Written(write_editbench_imagen),
    "editval:PATH": Written(write_editval),
    "gedit:PATH": Written(write_gedit),
    "gedit:PATH,language=cn": Written(write_gedit_chinese),
    "gedit:PATH,masks=cocoedit": Written(write_gedit_masked),
    "geditv2:PATH": Written(write_geditv2),
    "giebench:PATH": Written(write_giebench, size=(448, 448)),
    "hatie:PATH": Written(write_hatie),
    "icebench:PATH": Written(write_icebench),
    "imgedit:PATH": Written(write_imgedit),
    "imgedit:PATH,masks=cocoedit": Written(write_imgedit_masked),
    "imgedit:PATH,part=multiturn": Written(write_imgedit_sessions, count=3),
    "krisbench:PATH": Written(write_krisbench),
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
    "piebench_pp:PATH": Written(write_piebench_pp, size=(512, 512)),
    "risebench:PATH": Written(write_risebench),
    "tedbench:PATH": Written(write_tedbench),
}
"""By the spec that loads what is written."""
