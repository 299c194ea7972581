"""edit_grpo_ref: the reference trainer of editbench, in the spirit of Edit-GRPO (arXiv 2605.16951)."""
