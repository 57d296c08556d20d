"""docs/zoos.md: what each zoo lists, what this project lists of it, which facts are known, and what is left out."""
