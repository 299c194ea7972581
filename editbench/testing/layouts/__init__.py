"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.edits import (
    write_any,
    write_anyedit,
    write_compbench,
    write_compbench_turns,
    write_emuedit,
    write_humanedit,
    write_humanedit_core,
)
from editbench.testing.layouts.magicbrush import write_magicbrush, write_magicbrush_tables
from editbench.testing.layouts.pie import write_piebench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "anyedit:PATH,split=validation": Written(write_anyedit),
    "compbench:PATH": Written(write_compbench),
    "compbench:PATH,split=multi_turn": Written(write_compbench_turns),
    "emuedit:PATH": Written(write_emuedit),
    "hub:PATH,source=picture,instruction=prompt,mask=region,polarity=black=edit,target=truth,"
    "source_prompt=before,target_prompt=after,id=number,split=test": Written(write_any),
    "humanedit:PATH": Written(write_humanedit),
    "humanedit:PATH,core=true": Written(write_humanedit_core),
    "magicbrush:PATH": Written(write_magicbrush),
    "magicbrush:PATH,split=dev": Written(write_magicbrush_tables),
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
}
"""By the spec that loads what is written."""
