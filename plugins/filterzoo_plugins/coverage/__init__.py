"""docs/zoos.md: what each zoo lists, what this project lists of it, what is known of that, and what is left out."""
