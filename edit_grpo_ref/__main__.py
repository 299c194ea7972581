"""`python -m edit_grpo_ref` is the `edit-grpo-ref` program, as torchrun needs it."""

from edit_grpo_ref.cli import main

if __name__ == "__main__":
    main()
