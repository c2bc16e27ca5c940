"""The pages of the documentation that are made from the code, and the hooks that add them."""
