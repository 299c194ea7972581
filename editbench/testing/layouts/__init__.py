"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.coco import write_coco, write_editval
from editbench.testing.layouts.edits import (
    write_any,
    write_anyedit,
    write_compbench,
    write_compbench_turns,
    write_emuedit,
    write_humanedit,
    write_humanedit_core,
)
from editbench.testing.layouts.gie import write_giebench
from editbench.testing.layouts.hatie import write_hatie
from editbench.testing.layouts.hub import write_gedit, write_gedit_chinese, write_gedit_masked, write_geditv2
from editbench.testing.layouts.imagen import write_editbench_imagen
from editbench.testing.layouts.imgedit import write_imgedit, write_imgedit_masked, write_imgedit_sessions
from editbench.testing.layouts.magicbrush import write_magicbrush, write_magicbrush_tables
from editbench.testing.layouts.pie import write_brushbench, write_piebench, write_piebench_pp
from editbench.testing.layouts.reasoning import write_icebench, write_krisbench, write_risebench
from editbench.testing.layouts.ted import write_tedbench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "anyedit:PATH,split=validation": Written(write_anyedit),
    "brushbench:PATH": Written(write_brushbench, size=(512, 512)),
    "coco:PATH": Written(write_coco),
    "compbench:PATH": Written(write_compbench),
    "compbench:PATH,split=multi_turn": Written(write_compbench_turns),
    "editbench_imagen:PATH": Written(write_editbench_imagen),
    "editval:PATH": Written(write_editval),
    "emuedit:PATH": Written(write_emuedit),
    "gedit:PATH": Written(write_gedit),
    "gedit:PATH,language=cn": Written(write_gedit_chinese),
    "gedit:PATH,masks=cocoedit": Written(write_gedit_masked),
    "geditv2:PATH": Written(write_geditv2),
    "giebench:PATH": Written(write_giebench, size=(448, 448)),
    "hatie:PATH": Written(write_hatie),
    "hub:PATH,source=picture,instruction=prompt,mask=region,polarity=black=edit,target=truth,"
    "source_prompt=before,target_prompt=after,id=number,split=test": Written(write_any),
    "humanedit:PATH": Written(write_humanedit),
    "humanedit:PATH,core=true": Written(write_humanedit_core),
    "icebench:PATH": Written(write_icebench),
    "imgedit:PATH": Written(write_imgedit),
    "imgedit:PATH,masks=cocoedit": Written(write_imgedit_masked),
    "imgedit:PATH,part=multiturn": Written(write_imgedit_sessions, count=3),
    "krisbench:PATH": Written(write_krisbench),
    "magicbrush:PATH": Written(write_magicbrush),
    "magicbrush:PATH,split=dev": Written(write_magicbrush_tables),
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
    "piebench_pp:PATH": Written(write_piebench_pp, size=(512, 512)),
    "risebench:PATH": Written(write_risebench),
    "tedbench:PATH": Written(write_tedbench),
}
"""By the spec that loads what is written."""
